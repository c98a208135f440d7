"""What a task leaves behind: files that match its globs, files that an operator returned, large values.

Puts them into the store under the holder "task:<id>", before the end of the task is told, and hands files that are
the task's alone on to whoever takes them next on this machine.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgspec.structs import replace

from services.agent.config import Places
from services.agent.keeping.handover import Handover
from services.agent.preparation.artifacts import Artifacts, TransferFailed
from services.agent.tasks.model import Cause, Exit, LeftFile, StoredOutput, Task, TaskError

OUTPUTS_MOST = 1_000


class OutputKeeper:
    """Keeps the outputs of tasks of one node."""

    def __init__(self, places: Places, artifacts: Artifacts, handover: Handover) -> None:
        self._places = places
        self._artifacts = artifacts
        self._handover = handover

    async def keep(self, task: Task, end: Exit) -> Exit:
        """The end with its outputs in it, or with the reason why they could not be kept."""
        try:
            return await self._keep(task, end)
        except TransferFailed as error:
            return replace(end, value_json="", error=_failed(str(error), error.next_step))
        except OSError as error:
            reason = f"its outputs could not be read: {error}"
            return replace(end, value_json="", error=_failed(reason, "check the paths that it returns"))

    async def _keep(self, task: Task, end: Exit) -> Exit:
        work = self._places.task(task.key) / "work"
        files = list(end.files)
        globs = (*task.body.outputs, *end.kept)
        if globs:
            found = await asyncio.to_thread(matches, work, globs)
            files += [LeftFile(name, path) for name, path in found]
        if len(files) > OUTPUTS_MOST:
            raise TransferFailed(
                f"its outputs match {len(files)} files; at most {OUTPUTS_MOST} are kept",
                "pack them into one archive, or narrow the globs",
            )
        outputs = [await self._put(task, file) for file in files]
        if not end.value_path:
            return replace(end, outputs=tuple(outputs))
        value = await self._put(task, LeftFile("value.json", end.value_path, is_value=True))
        return replace(end, outputs=tuple(outputs), value_json="", value_digest=value.digest)

    async def _put(self, task: Task, file: LeftFile) -> StoredOutput:
        path, holder = Path(file.path), f"task:{task.task_id}"
        room = self._places.task(task.key)
        is_settled = await asyncio.to_thread(self._handover.settle, path, room)
        tasks = self._places.tasks if is_settled else None
        stored = await self._artifacts.put(path, file.name, task.body.account, holder, tasks)
        if is_settled:
            await asyncio.to_thread(self._handover.take, path, stored.digest)
        return replace(stored, is_value=file.is_value)


def matches(work: Path, globs: tuple[str, ...]) -> list[tuple[str, str]]:
    """Regular files below the working directory that match, by name; links out of it do not count."""
    root = work.resolve()
    found: dict[str, str] = {}
    for pattern in globs:
        for path in work.glob(pattern) if pattern and not pattern.startswith("/") else ():
            candidates = path.rglob("*") if path.is_dir() else (path,)
            for file in candidates:
                if file.is_file() and file.resolve().is_relative_to(root):
                    found[str(file.relative_to(work))] = str(file)
    return sorted(found.items())


def _failed(message: str, next_step: str) -> TaskError:
    return TaskError(Cause.SETUP, message, next_step=next_step)
