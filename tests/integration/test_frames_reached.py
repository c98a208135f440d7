"""The way between service and frame, with real frames: its own socket on one machine, else TLS (S2.4, S2.5)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.enclosure.order import SOCKET
from modelyard.sealing import Sealed, dialling
from modelyard.serving.wire import Message, encode
from services.chassis.process.tls import (
    Authority,
    make_ca,
    make_request,
    make_server_certificate,
    sign_request,
)
from services.models.calls.connection import Connection, connection
from services.models.calls.dialling import Dialler, Unsealed
from services.models.seams import Way
from tests.support.addresses import own_address
from tests.support.enclosed_frames import Enclosed, enclosed
from tests.support.model_components import python_component
from tests.support.model_frames import SECRET, arrays_of, tensor, tensors_of
from tests.support.ports import free_port

NODE = "node-7"
LARGE = np.arange(1 << 20, dtype=np.float32)
SAME = """import numpy as np


class Same:
    def predict(self, x: np.ndarray) -> np.ndarray:
        return x
"""


class Authorities:
    """The yard's, with a node's identity, and somebody else's."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.own, self.other = make_ca(), make_ca()
        self.file = place / "ca.pem"
        self.file.write_bytes(self.own.pem)
        self.identity = place / "node.pem"
        self.issue()

    def issue(self, authority: Authority | None = None, node: str = NODE) -> None:
        """The node's identity is another from now on."""
        request, key = make_request(node)
        self.identity.write_bytes(key + sign_request(authority or self.own, request, node))

    def issue_host(self, host: str) -> None:
        """That of a service of the yard."""
        certificate, key = make_server_certificate(self.own, [host])
        self.identity.write_bytes(key + certificate)


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    return Authorities(tmp_path)


@pytest.fixture
def remote(tmp_path: Path, authorities: Authorities) -> Iterator[Enclosed]:
    """A frame that gives tensors back, reached as from another machine."""
    config = python_component(
        tmp_path / "component",
        SAME,
        inputs=[tensor("x", "FP32", [-1])],
        outputs=[tensor("result", "FP32", [-1])],
    )
    listen = f"tcp://{own_address()}:{free_port()}"
    environ = {"YARD_NODE_IDENTITY": str(authorities.identity)}
    with enclosed(
        tmp_path / "component", config, tmp_path / "seat", environ=environ, launch={"listen": listen}
    ) as frame:
        yield frame


class Talk:
    """One connection of the service's kind."""

    def __init__(self, connected: socket.socket) -> None:
        self.messages: asyncio.Queue[Message | str] = asyncio.Queue()
        self.link: Connection = connection(connected, self.messages.put_nowait, self.messages.put_nowait)

    def send(self, header: dict[str, Any], buffers: Any = ()) -> None:
        self.link.send(encode(header, buffers))

    async def next(self) -> Message:
        found = await asyncio.wait_for(self.messages.get(), 30)
        assert isinstance(found, Message), found
        return found

    async def greet(self, secret: str = SECRET) -> None:
        self.send({"kind": "hello", "secret": secret})
        assert (await self.next()).kind == "welcome"
        found = await self.next()
        assert found.kind == "loaded", found.header

    async def same(self, number: int, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        inputs, buffers = tensors_of({"x": values})
        self.send({"kind": "call", "id": number, "left_ms": 0, "inputs": inputs}, buffers)
        found = await self.next()
        assert found.header["id"] == number and found.kind == "result", found.header
        return np.asarray(arrays_of(found)["result"])


async def reached(dialler: Dialler, way: Way) -> socket.socket:
    """As soon as it is there; what cannot be sealed is raised at once."""
    while True:
        try:
            return await dialler.dial(way)
        except Unsealed:
            raise
        except OSError:
            await asyncio.sleep(0.02)


def way_to(frame: Enclosed, node: str = NODE, socket_path: str = "") -> Way:
    return Way(frame.address, node, socket_path)


@pytest.mark.asyncio
async def test_large_tensors_pass_sealed_both_ways(
    remote: Enclosed, authorities: Authorities
) -> None:  # S2.5
    connected = await reached(Dialler(authorities.file), way_to(remote))
    assert isinstance(connected, Sealed) and connected.version() == "TLSv1.3"
    talk = Talk(connected)
    await talk.greet()
    for number in range(1, 4):
        np.testing.assert_array_equal(await talk.same(number, LARGE * number), LARGE * number)
        np.testing.assert_array_equal(await talk.same(number + 10, LARGE[:3]), LARGE[:3])
    talk.link.close()


@pytest.mark.asyncio
async def test_many_large_calls_at_once_pass_sealed(remote: Enclosed, authorities: Authorities) -> None:
    """Both directions are full at the same time: nobody waits for ever for the other."""
    talk = Talk(await reached(Dialler(authorities.file), way_to(remote)))
    await talk.greet()
    for number in range(8):
        inputs, buffers = tensors_of({"x": LARGE + number})
        talk.send({"kind": "call", "id": number, "left_ms": 0, "inputs": inputs}, buffers)
    for _ in range(8):
        found = await talk.next()
        np.testing.assert_array_equal(arrays_of(found)["result"], LARGE + found.header["id"])
    talk.link.close()


@pytest.mark.asyncio
async def test_wrong_certificate_is_refused_before_the_secret_is_shown(
    remote: Enclosed, authorities: Authorities
) -> None:
    dialler = Dialler(authorities.file)
    (await reached(dialler, way_to(remote))).close()
    with pytest.raises(Unsealed, match="modelyard:node:node-7, not of modelyard:node:node-8"):
        await dialler.dial(way_to(remote, "node-8"))
    authorities.issue(authorities.other)
    with pytest.raises(
        Unsealed, match=r"unable to get local issuer certificate|signature failure|self-signed"
    ):
        await dialler.dial(way_to(remote))
    authorities.issue_host(own_address())
    with pytest.raises(Unsealed, match="of no node"):
        await dialler.dial(way_to(remote))
    # A renewed one counts for the next connection.
    authorities.issue()
    talk = Talk(await dialler.dial(way_to(remote)))
    await talk.greet()
    talk.link.close()


@pytest.mark.asyncio
async def test_plain_connection_is_refused_by_both_sides(remote: Enclosed, authorities: Authorities) -> None:
    host, port = remote.address.removeprefix("tcp://").split(":")
    (await reached(Dialler(authorities.file), way_to(remote))).close()
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.writelines([bytes(piece) for piece in encode({"kind": "hello", "secret": SECRET})])
    heard = b""
    with contextlib.suppress(ConnectionResetError):
        heard = await asyncio.wait_for(reader.read(), 30)
    assert b"welcome" not in heard
    writer.close()
    with pytest.raises(Unsealed, match="--tls"):
        await Dialler(None).dial(way_to(remote))
    # What listens in plain is told nothing.
    said = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.extend(await reader.read(65_536))
        writer.write(b"\x08\0\0\0\0\0\0\0welcome!")
        writer.close()

    server = await asyncio.start_server(plain, host, 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Unsealed):
        await Dialler(authorities.file).dial(Way(f"tcp://{host}:{port}", NODE))
    assert said[:1] == b"\x16" and SECRET.encode() not in said
    server.close()
    await server.wait_closed()


@pytest.mark.asyncio
async def test_secret_is_asked_for_inside_too(remote: Enclosed, authorities: Authorities) -> None:
    talk = Talk(await reached(Dialler(authorities.file), way_to(remote)))
    talk.send({"kind": "hello", "secret": "guessed"})
    assert isinstance(await asyncio.wait_for(talk.messages.get(), 30), str)


def test_strangers_who_say_nothing_do_not_keep_others_out(remote: Enclosed, authorities: Authorities) -> None:
    host, port = remote.address.removeprefix("tcp://").split(":")
    remote.dial().close()
    silent = [socket.create_connection((host, int(port))) for _ in range(40)]
    context = dialling(authorities.file)
    context.sslsocket_class = ssl.SSLSocket
    with socket.create_connection((host, int(port)), timeout=15) as sock, context.wrap_socket(sock) as sealed:
        assert sealed.version() == "TLSv1.3"
    for one in silent:
        one.close()


def test_node_without_a_certificate_is_not_reached_from_other_machines(tmp_path: Path) -> None:
    config = python_component(tmp_path / "component", SAME)
    launch = {"listen": f"tcp://0.0.0.0:{free_port()}"}
    with enclosed(tmp_path / "component", config, tmp_path / "seat", launch=launch) as frame:
        trouble = frame.trouble()
        assert trouble.code == "FAILED_PRECONDITION" and "--tls" in trouble.message


@pytest.mark.asyncio
async def test_frame_on_this_machine_is_reached_by_its_own_socket(
    remote: Enclosed, authorities: Authorities, tmp_path: Path
) -> None:
    own = str(tmp_path / "seat" / SOCKET)
    connected = await reached(Dialler(authorities.file), way_to(remote, socket_path=own))
    assert connected.family == socket.AF_UNIX and not isinstance(connected, Sealed)
    talk = Talk(connected)
    await talk.greet()
    np.testing.assert_array_equal(await talk.same(1, LARGE), LARGE)
    talk.link.close()


@pytest.mark.asyncio
async def test_socket_that_is_not_there_leaves_the_port(remote: Enclosed, authorities: Authorities) -> None:
    way = way_to(remote, socket_path="/nowhere/frame.socket")
    talk = Talk(await reached(Dialler(authorities.file), way))
    await talk.greet()
    talk.link.close()
