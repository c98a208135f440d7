"""A few facts about the tasks that run, by task: one small file, written whole with every change.

A later agent process reads it before it does anything to them. What cannot be read is as if it had never been written.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from services.agent.tasks.model import Task

Fact = TypeVar("Fact", bound=msgspec.Struct)


class Kept(Generic[Fact]):
    """``kind`` is what the file holds for each task key. Every change is on disk when it returns."""

    def __init__(self, path: Path, kind: type[Fact]) -> None:
        self._path = path
        self.known = _read(path, kind)

    def put(self, key: str, fact: Fact) -> None:
        self.known[key] = fact
        self._save()

    def forget(self, tasks: Iterable[Task]) -> None:
        """They are over."""
        gone = [task.key for task in tasks if task.key in self.known]
        for key in gone:
            del self.known[key]
        if gone:
            self._save()

    def keep(self, keys: Iterable[str]) -> None:
        """Drops those of tasks that nobody has found again."""
        kept = set(keys)
        if not kept.issuperset(self.known):
            self.known = {key: fact for key, fact in self.known.items() if key in kept}
            self._save()

    def _save(self) -> None:
        draft = self._path.with_name(f"{self._path.name}.new")
        draft.write_bytes(msgspec.json.encode(self.known))
        draft.replace(self._path)


def _read(path: Path, kind: type[Fact]) -> dict[str, Fact]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, kind])  # type: ignore[valid-type]
    except (FileNotFoundError, msgspec.DecodeError):
        return {}
