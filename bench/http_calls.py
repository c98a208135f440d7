"""Calls over HTTP/1.1 on kept connections, of a server that has no gRPC: lighter than a client of gRPC is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Connection:
    """One request after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def call(self, request: bytes) -> bytes:
        """The answer's body. Raises ConnectionError where the answer is none of 200."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        body = await self._reader.readexactly(length)
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise ConnectionError(body.decode(errors="replace"))
        return body


def posted(path: str, body: bytes, port: int) -> bytes:
    """A request as it goes out."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextlib.asynccontextmanager
async def connections(port: int, count: int) -> AsyncIterator[list[Connection]]:
    made = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    try:
        yield [Connection(*one) for one in made]
    finally:
        for _, writer in made:
            writer.close()
