"""Ways to a frame: its own socket on this machine, else its leased port, sealed where others could read along.

Owns the choice. On this machine the process beside the frame is no hop. Beyond loopback nothing is said before the
other end has shown the certificate of its node; what cannot be sealed is not dialled.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from pathlib import Path

from modelyard.addresses import is_loopback
from modelyard.enclosure.passer import dial as dial_socket
from modelyard.sealing import NodeUnproven, Sealed, check_node, dialling
from services.chassis.logs import get_logger
from services.models.seams import Way

_log = get_logger("models.dialling")

HANDSHAKE_S = 5.0
_BUFFER_BYTES = 1 << 20
_PEER = struct.Struct("iII")


class Unsealed(OSError):
    """Somebody answers, and it cannot be made sure that nobody else reads along."""


class Dialler:
    """`authority`: certificate of the yard's; None: it has no TLS."""

    def __init__(self, authority: Path | None = None) -> None:
        self._authority = authority

    async def dial(self, way: Way) -> socket.socket:
        """A socket that does not block; a Sealed one where it has to be. Raises Unsealed, OSError, ValueError."""
        scheme, _, rest = way.address.partition("://")
        if scheme == "unix":
            return _prepared(dial_socket(Path(rest)))
        if scheme != "tcp":
            raise ValueError(f"{way.address!r} is neither tcp:// nor unix://")
        if way.socket and (own := _own(way.socket)):
            return own
        host, _, port = rest.rpartition(":")
        must_seal = not is_loopback(host)
        if must_seal and self._authority is None:
            raise Unsealed(
                f"{way.node} is reached at {host}, and without TLS others could read along: serve the yard with --tls"
            )
        made = await _dial_port(host.strip("[]"), int(port))
        try:
            if way.socket and (own := _own(way.socket)):
                # It listens there first: it has begun between the two attempts.
                made.close()
                return own
            if way.socket:
                _log.warning("socket_not_reached", node=way.node, socket=way.socket, instead=way.address)
            return await self._sealed(made, way.node) if must_seal else made
        except BaseException:  # cancelled, too: nobody else would close it
            made.close()
            raise

    async def _sealed(self, connected: socket.socket, node: str) -> Sealed:
        """Takes the socket over."""
        assert self._authority is not None
        try:
            # Made anew, as it is renewed.
            made = dialling(self._authority).wrap_socket(connected, do_handshake_on_connect=False)
            assert isinstance(made, Sealed)
        except OSError as error:
            raise Unsealed(f"no TLS with {node}: {error.strerror or error}") from error
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                await _shake_hands(made)
            check_node(made, node)
        except NodeUnproven as error:
            made.close()
            raise Unsealed(f"{node} was expected, and somebody else answers: {error}") from error
        except (OSError, TimeoutError) as error:
            made.close()
            why = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
            raise Unsealed(f"no TLS with {node}: {why or 'it does not answer'}") from error
        except BaseException:  # cancelled, too: nobody else would close it
            made.close()
            raise
        return made


def _own(path: str) -> socket.socket | None:
    """The frame's own socket; None: it cannot be connected to. Only its machine's agent can have made it, or root."""
    try:
        made = dial_socket(Path(path))
    except OSError:
        return None
    _, user, _ = _PEER.unpack(made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    if user not in (0, os.geteuid()) and os.geteuid():
        made.close()
        return None
    return _prepared(made)


def _prepared(made: socket.socket) -> socket.socket:
    with contextlib.suppress(OSError):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    return made


async def _dial_port(host: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(_prepared(made), (host, port))
    except BaseException:  # cancelled, too: nobody else would close it
        made.close()
        raise
    return made


async def _shake_hands(made: Sealed) -> None:
    """Raises OSError."""
    while True:
        try:
            made.do_handshake()
            return
        except ssl.SSLWantReadError:
            await _ready(made.fileno(), for_writing=False)
        except ssl.SSLWantWriteError:
            await _ready(made.fileno(), for_writing=True)


async def _ready(descriptor: int, *, for_writing: bool) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    watch, forget = (
        (loop.add_writer, loop.remove_writer) if for_writing else (loop.add_reader, loop.remove_reader)
    )
    watch(descriptor, _settle, ready)
    try:
        await ready
    finally:
        forget(descriptor)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
