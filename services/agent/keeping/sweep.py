"""Leftovers on this machine's disk: directories of finished tasks, drafts of what was never finished.

Owns the removal, off the hot path and outside the event loop. What a task leaves goes when the
scheduler has its outcome and its logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from services.agent.config import Places, key_of_directory, task_directory_name
from services.agent.tasks.model import Task
from services.chassis.logs import get_logger

_log = get_logger("agent.sweep")


class Cleaner:
    """Collects what may go and removes it in batches."""

    def __init__(self, places: Places, is_pushing: Callable[[str], bool]) -> None:
        self._places = places
        self._is_pushing = is_pushing
        self._waiting: dict[str, None] = {}

    def forget(self, tasks: Iterable[Task]) -> None:
        """The outcomes of these are safe."""
        self._waiting.update((task.key, None) for task in tasks)

    async def remove_finished(self) -> None:
        """Removes the directories of tasks that are over; those with logs under way wait."""
        keys = [key for key in self._waiting if not self._is_pushing(key)]
        for key in keys:
            del self._waiting[key]
        if keys:
            await asyncio.to_thread(self._remove, keys)

    def take_over(self, known: Iterable[str]) -> list[str]:
        """Takes on the directories of tasks that are over and that an earlier agent had not removed yet; their
        keys. What stands in them may not have been told."""
        names = set(map(task_directory_name, known))
        left = [path.name for path in self._places.tasks.iterdir() if path.name not in names]
        keys = [key for name in left if (key := key_of_directory(name))]
        self._waiting.update(dict.fromkeys(keys))
        return keys

    async def remove_unknown(self, known: Iterable[str]) -> None:
        """Removes the directories of tasks that nobody knows any more; after a restart."""
        kept = {self._places.task(key).name for key in (*known, *self._waiting)}
        await asyncio.to_thread(self._remove_unknown, kept)

    def _remove(self, keys: list[str]) -> None:
        """Most tasks have left nothing: one look at what is there spares a look for each."""
        names = set(map(task_directory_name, keys))
        for path in self._places.tasks.iterdir():
            if path.name in names and not _remove_usual(path):
                remove_path(path)

    def _remove_unknown(self, kept: set[str]) -> None:
        for path in self._places.tasks.iterdir():
            if path.name not in kept:
                remove_path(path)
        for directory in (self._places.bundles, self._places.inputs, self._places.environments):
            for path in directory.glob(".*"):
                remove_path(path)


def _remove_usual(path: Path) -> bool:
    """Removes what a command leaves that has written no file, without looking around; whether it could."""
    try:
        (path / "work").rmdir()
        for name in ("stdout", "stderr"):
            (path / name).unlink()
        path.rmdir()
    except OSError:
        return False
    return True


def remove_path(path: Path) -> None:
    """Removes whatever is there, however it was protected; logs what cannot be removed. Blocks."""
    if path.is_dir() and not path.is_symlink():
        _open_up(path)
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    if path.exists():
        _log.warning("leftover_not_removed", path=str(path))


def _open_up(path: Path) -> None:
    """A task may have taken its own directories' write permission away."""
    for root, directories, _ in os.walk(path):
        for name in directories:
            with contextlib.suppress(OSError):
                target = Path(root, name)
                if not target.is_symlink() and not os.access(target, os.W_OK | os.X_OK):
                    target.chmod(0o700)
