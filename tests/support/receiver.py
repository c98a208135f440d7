"""Where notifications arrive in tests: a real HTTP server that can fail in every way, and a real mail server."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.wait import wait_until

HANG = 0
"""An answer that never comes."""


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def event_id(self) -> str:
        return self.headers["x-yard-event-id"]


class Receiver:
    """Answers with the next of ``answers``, 200 when there is none; ``location`` is where a redirect leads."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: deque[int] = deque()
        self.location = ""
        self.port = 0
        self._server: asyncio.Server
        self._stopped = asyncio.Event()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/hook"

    async def start(self) -> None:
        self._stopped.clear()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        self._stopped.set()
        await self._server.wait_closed()

    async def wait(self, count: int, timeout_s: float = 20) -> list[Received]:
        """Until so many messages have come."""
        await wait_until(lambda: len(self.received) >= count, f"{count} messages", timeout_s=timeout_s)
        return self.received

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = (await reader.readline()).decode().split()
            headers = {}
            while line := (await reader.readline()).decode().strip():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.received.append(Received(first[1], headers, body))
            status = self.answers.popleft() if self.answers else 200
            if status == HANG:
                await self._stopped.wait()
                return
            more = f"Location: {self.location}\r\n" if self.location else ""
            writer.write(
                f"HTTP/1.1 {status} Said\r\n{more}Content-Length: 2\r\nConnection: close\r\n\r\nok".encode()
            )
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, IndexError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """One that listens for the block."""
    made = Receiver()
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


class Mailbox:
    """What a mail server took."""

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=yard@example.org&to=ada@example.org"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(message_from_bytes(content))
        return "250 OK"

    async def wait(self, count: int, timeout_s: float = 20) -> list[Message]:
        await wait_until(lambda: len(self.mails) >= count, f"{count} mails", timeout_s=timeout_s)
        return self.mails


@asynccontextmanager
async def mailbox() -> AsyncIterator[Mailbox]:
    """A mail server that listens for the block."""
    made = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(made, hostname="127.0.0.1"), "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()
