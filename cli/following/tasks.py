"""A task followed to its end: log bytes as they come, progress, and why it waits.

Owns what is shown between submission and outcome. Results go to the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

from cli.output.logs import LogWriter
from cli.output.progress import Progress
from modelyard.errors import YardError
from modelyard.v1 import task_pb2

if TYPE_CHECKING:
    from cli.invocation import Invocation
    from modelyard.client.aio import Client

EXPLAIN_AFTER_S = 2.0
"""A task that has not started by then gets an explanation."""
REST_OF_LOGS_S = 30.0
"""How long the last bytes may take after the outcome."""


class Follower:
    """Follows one task; logs to stdout and stderr, everything else to stderr."""

    def __init__(self, yard: Invocation, client: Client, task_id: str) -> None:
        self._yard = yard
        self._client = client
        self._task_id = task_id
        self._progress = Progress(task_id)
        self._writer = LogWriter(json_on_stdout=yard.output not in ("table", "name"))

    async def follow(self) -> task_pb2.Task:
        """The ended task, after its last byte was written. Cancelling leaves the task running."""
        logs = asyncio.create_task(self._logs())
        changes = asyncio.create_task(self._changes())
        waiting = asyncio.create_task(self._explain_waiting())
        try:
            outcome = await self._client.outcome(self._task_id)
            await self._rest_of_logs(logs)
            return await self._client.tasks.get(outcome.task_id)
        finally:
            for task in (logs, changes, waiting):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            self._progress.clear()

    async def _rest_of_logs(self, logs: asyncio.Task[None]) -> None:
        try:
            await asyncio.wait_for(asyncio.shield(logs), REST_OF_LOGS_S)
        except TimeoutError:
            self._yard.say(f"warning: the end of the logs is late; next: yard tasks logs {self._task_id}")

    async def _logs(self) -> None:
        try:
            async for chunk in self._client.tasks.logs(self._task_id, follow=True):
                self._progress.clear()
                self._writer.write(chunk)
        except YardError as error:
            self._yard.say(f"warning: no more logs: {error.message}")

    async def _changes(self) -> None:
        """Progress reports; without them the follower still works."""
        while True:
            try:
                async for task in self._client.tasks.watch(self._task_id):
                    if task.progress.ratio:
                        self._progress.update(task.progress.ratio, task.progress.message)
                    elif task.progress.message:
                        self._progress.tell(task.progress.message)
                return
            except YardError as error:
                if error.code != "OUT_OF_RANGE":
                    self._yard.say(f"warning: no more progress: {error.message}")
                    return
                # Another scheduler process does not remember that revision; its present is enough here.

    async def _explain_waiting(self) -> None:
        await asyncio.sleep(EXPLAIN_AFTER_S)
        try:
            task = await self._client.tasks.get(self._task_id)
            if task.state not in (task_pb2.TASK_STATE_QUEUED, task_pb2.TASK_STATE_HELD):
                return
            answer = await self._client.tasks.explain(self._task_id)
        except YardError as error:
            self._yard.say(f"warning: {error.message}")
            return
        sys.stderr.write(f"{self._task_id} waits: {answer.summary}\n")
        if answer.next_step:
            sys.stderr.write(f"  next: {answer.next_step}\n")
