"""From the submission of a task to its message at a webhook and at a mail server, on loopback, warm."""

import asyncio
import contextlib
import os
import time

from bench.figures import Figure, percentile
from bench.yard import Yard, running_yard
from modelyard.client import Client
from modelyard.client.specs import command_spec
from modelyard.errors import YardError

TASKS = 60
RUNS = 3
ALLOW = "YARD_SCHEDULER_NOTIFY_ALLOW"


class Arrivals:
    """Servers that take every message, and when each came."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[float] = asyncio.Queue()

    async def web(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One POST."""
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
        self.queue.put_nowait(time.perf_counter())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async def mail(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As much of SMTP as taking a message needs."""
        writer.write(b"220 ready\r\n")
        # The last connection may still be open when the measurement ends.
        with contextlib.suppress(asyncio.CancelledError):
            await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            word = line[:4].upper()
            if word == b"DATA":
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                self.queue.put_nowait(time.perf_counter())
            if word == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            writer.write(b"250 OK\r\n")


async def one_ms(client: Client, contact: str, arrivals: Arrivals) -> float:
    """Milliseconds from submit to arrival."""
    begun = time.perf_counter()
    await client.tasks.submit(command_spec(["true"], {"contact": contact}))
    async with asyncio.timeout(30):
        return (await arrivals.queue.get() - begun) * 1e3


async def _contact(client: Client, name: str, url: str, arrivals: Arrivals) -> None:
    await client.contacts.add(name, url)
    answer = await client.contacts.test(name)
    if not answer.contact.HasField("verify_time"):
        raise YardError(answer.delivery.error)
    await arrivals.queue.get()


async def _measure(yard: Yard) -> list[Figure]:
    figures = []
    async with Client(state=yard.state) as client:
        for name, scheme in (("webhook", "json"), ("mail", "mailto")):
            arrivals = Arrivals()
            server = await asyncio.start_server(
                arrivals.web if name == "webhook" else arrivals.mail, "127.0.0.1", 0
            )
            port = server.sockets[0].getsockname()[1]
            more = "?from=yard@example.org&to=a@example.org" if name == "mail" else ""
            await _contact(client, name, f"{scheme}://127.0.0.1:{port}{more}", arrivals)
            p95 = []
            for _ in range(RUNS):
                times = [await one_ms(client, name, arrivals) for _ in range(TASKS)]
                p95.append(percentile(times, 0.95))
            figures.append(Figure(f"submit → notified by {name}, p95", "ms", tuple(p95), "≤ 1,000"))
            server.close()
    return figures


def measure() -> list[Figure]:
    os.environ[ALLOW] = "127.0.0.1"
    try:
        with running_yard() as yard:
            return asyncio.run(_measure(yard))
    finally:
        del os.environ[ALLOW]
