"""What a job's instances write, as lines in the log of the task that waits for the job.

Owns how much of it: a task's log is for people; all of a job's is with the trainer.
"""

import asyncio
import contextlib
import sys
from collections import deque
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from modelyard.client import Client
    from modelyard.v1.job_pb2 import StreamJobLogsResponse

BYTES_MOST = 1 << 20
"""Of all instances together; after that the command that shows the rest."""
REST_S = 5.0
"""How long the last lines may take once the job has ended."""
LAST_MOST = 20
_STDERR = 2


class JobLines:
    """Follows a job's output while the block lasts, and remembers the last lines of each instance's stderr."""

    def __init__(self, yard: "Client", job: str) -> None:
        self._yard = yard
        self._job = job
        self._held: dict[tuple[str, int], bytes] = {}
        self._last: dict[str, deque[str]] = {}
        self._written = 0
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> "JobLines":
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def finish(self) -> None:
        """The job has ended: what it wrote last is waited for, a few seconds."""
        await asyncio.wait([self._task], timeout=REST_S)

    def last_words(self, instance: str) -> str:
        """The last line that says something of what "worker-0" wrote as errors, else of what it wrote."""
        for name in (f"{instance}/{_STDERR}", instance):
            said = [line for line in self._last.get(name, ()) if line.strip()]
            if said:
                return said[-1].strip()
        return ""

    async def _follow(self) -> None:
        from modelyard.errors import YardError

        try:
            async for chunk in self._yard.jobs.logs(self._job, follow=True, merge=True):
                self._take(chunk)
        except YardError as error:
            self._write(f"the job's output cannot be followed: {error.message}", sys.stderr)
        for (name, stream), rest in self._held.items():
            self._line(name, stream, rest)

    def _take(self, chunk: "StreamJobLogsResponse") -> None:
        name, stream = f"{chunk.role}-{chunk.index}", int(chunk.stream)
        *whole, rest = (self._held.pop((name, stream), b"") + chunk.data).split(b"\n")
        for line in whole:
            self._line(name, stream, line)
        if rest:
            self._held[name, stream] = rest

    def _line(self, name: str, stream: int, line: bytes) -> None:
        # A bar begins its line anew by a carriage return; its last state counts.
        text = line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
        for key in (f"{name}/{stream}", name):
            self._last.setdefault(key, deque(maxlen=LAST_MOST)).append(text)
        self._write(f"{name} | {text}", sys.stderr if stream == _STDERR else sys.stdout)

    def _write(self, line: str, stream: TextIO) -> None:
        if self._written > BYTES_MOST:
            return
        self._written += len(line) + 1
        is_last = self._written > BYTES_MOST
        print(f"… all of it: yard train logs {self._job}" if is_last else line, file=stream, flush=True)
