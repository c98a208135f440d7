"""Bundles, inputs and environments that stay for the next task: kept within a limit, oldest out first.

Owns what goes. What is removed is out of its place, and known to the machine to be missing, before anything
else can happen: a task that arrives meanwhile has it fetched anew.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from services.agent.config import Places
from services.agent.keeping.sweep import remove_path
from services.agent.tasks.events import Event, NeedDropped
from services.agent.tasks.state import State
from services.chassis.logs import get_logger

_log = get_logger("agent.caches")


class Caches:
    """All caches of one node together."""

    def __init__(self, places: Places, state: State, dispatch: Callable[[Event], None]) -> None:
        self._directories = (places.bundles, places.inputs, places.environments)
        self._state = state
        self._dispatch = dispatch

    async def trim(self, most_bytes: int) -> int:
        """Removes what nobody uses, oldest first, until the rest fits; how many entries went."""
        entries = sorted(await asyncio.to_thread(self._entries))
        left = sum(size for _, size, _ in entries)
        count = 0
        for _, size, path in entries:
            if left <= most_bytes:
                break
            if not self.is_used(path):
                removed = self._take_out(path)
                await asyncio.to_thread(remove_path, removed)
                left -= size
                count += 1
        if count:
            _log.info("caches_trimmed", count=count, left_bytes=left)
        return count

    def is_used(self, path: Path) -> bool:
        """Whether a task or a worker counts on an entry."""
        kind, name = _kind(path), path.name
        bodies = {task.body.number: task.body for task in self._state.tasks.values()}
        if any(_names(need, kind, name) for body in bodies.values() for need in body.needs):
            return True
        pools = (worker.pool for worker in self._state.workers.values() if worker.pool is not None)
        return any(name in (pool.environment, pool.bundle) for pool in pools)

    def _take_out(self, path: Path) -> Path:
        for need in [need for need in self._state.ready_needs if _names(need, _kind(path), path.name)]:
            self._dispatch(NeedDropped(need))
        return path.rename(path.with_name(f".{path.name}.old"))

    def _entries(self) -> list[tuple[float, int, Path]]:
        return [
            (_wanted_at(path), _size(path), path)
            for directory in self._directories
            for path in directory.iterdir()
            if not path.name.startswith(".")
        ]


def _wanted_at(path: Path) -> float:
    """When a task last wanted it: of a file the time of access, for that of its change is a seal (see `inputs`)."""
    found = path.stat()
    return found.st_atime if path.is_file() else found.st_mtime


def _kind(path: Path) -> str:
    return path.parent.name.removesuffix("s")


def _names(need: str, kind: str, name: str) -> bool:
    return need.startswith(f"{kind}:") and need.endswith(f":{name}")


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(Path(root, name).lstat().st_size for root, _, names in os.walk(path) for name in names)
