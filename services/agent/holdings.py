"""What running tasks hold instead of what their specification says: one small file, written with every change.

A later agent process reads it before it sets any limit: what a task was given in the meantime must not be taken away.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from services.agent.model import Body, Holding, Task


class Holdings:
    """Those of one node."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _read(path)

    def note(self, task: Task, holding: Holding) -> None:
        """On disk when it returns."""
        self._known[task.key] = holding
        self._save()

    def laid_over(self, key: str, body: Body) -> Body:
        """The body of a task that was found again, with what it holds."""
        known = self._known.get(key)
        if known is None:
            return body
        return msgspec.structs.replace(body, resources=known.resources, limits=known.limits)

    def forget(self, tasks: Iterable[Task]) -> None:
        """They are over."""
        gone = [task.key for task in tasks if task.key in self._known]
        for key in gone:
            del self._known[key]
        if gone:
            self._save()

    def keep(self, keys: Iterable[str]) -> None:
        """Drops those of tasks that nobody has found again."""
        kept = set(keys)
        if not kept.issuperset(self._known):
            self._known = {key: known for key, known in self._known.items() if key in kept}
            self._save()

    def _save(self) -> None:
        draft = self._path.with_name(f"{self._path.name}.new")
        draft.write_bytes(msgspec.json.encode(self._known))
        draft.replace(self._path)


def _read(path: Path) -> dict[str, Holding]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Holding])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}
