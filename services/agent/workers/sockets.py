"""Frames over a Unix socket, for asyncio.

Owns framing and JSON on the agent's side (`modelyard.worker.frames` is the other side's). Must not know what
the messages mean.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import msgspec

from modelyard.worker.frames import HEADER, MAX_BYTES

Message = dict[str, Any]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Message)


class FrameProtocol(asyncio.Protocol):
    """One connection. Callbacks run on the loop; ``on_lost`` comes exactly once, also after `close`."""

    def __init__(self, on_message: Callable[[Message], None], on_lost: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._pending = bytearray()
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, message: Message) -> None:
        """Writes one message; without effect once the connection is lost."""
        if self._transport is not None:
            body = _encoder.encode(message)
            self._transport.write(HEADER.pack(len(body)) + body)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        pending = self._pending
        pending += data
        messages, start = [], 0
        while len(pending) - start >= 4:
            (size,) = HEADER.unpack_from(pending, start)
            end = start + 4 + size
            if size > MAX_BYTES:
                self._abort()
                return
            if len(pending) < end:
                break
            try:
                messages.append(_decoder.decode(memoryview(pending)[start + 4 : end]))
            except msgspec.DecodeError:
                self._abort()
                return
            start = end
        del pending[:start]
        for message in messages:
            self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_lost()

    def _abort(self) -> None:
        """The other end does not speak frames; nothing that follows can be understood."""
        if self._transport is not None:
            self._transport.abort()


async def connect(
    path: str, on_message: Callable[[Message], None], on_lost: Callable[[], None]
) -> FrameProtocol:
    """Connects to a socket. Raises OSError."""
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_unix_connection(lambda: FrameProtocol(on_message, on_lost), path)
    return protocol
