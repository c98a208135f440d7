"""What shims keep on disk, of which they own the writing: records of ended commands, an empty room.

Owns the reading of records whose worker is gone, and the removal of both. A record stays until the
scheduler has the outcomes that only it holds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Container, Iterable
from typing import Any

from services.agent.config import Places
from services.agent.preparation.commands import RECORDS, ROOM
from services.agent.tasks.model import Task
from services.chassis.logs import get_logger

_log = get_logger("agent.shims")


class ShimFiles:
    """The files of this node's workers. Small and rare: one set per worker, touched when it comes or goes."""

    def __init__(self, places: Places) -> None:
        self._directory = places.shims
        self._needed: dict[str, set[str]] = {}
        """Keys of tasks whose outcomes are safe nowhere else, by worker."""

    def outcomes(self, alive: Container[str]) -> list[tuple[str, dict[str, Any]]]:
        """(worker, record) of every command that ended in a worker that is gone. A live worker's own
        memory is what counts."""
        found = []
        for path in sorted(self._directory.iterdir()):
            if path.stem in alive:
                continue
            if path.suffix == RECORDS:
                found += [(path.stem, record) for record in _read(path.read_bytes().splitlines(), path.name)]
            else:
                shutil.rmtree(path, ignore_errors=True)
        return found

    def keep(self, worker: str, keys: Iterable[str]) -> None:
        """The worker is gone: its records stay until these tasks are forgotten, its room goes."""
        shutil.rmtree(self._directory / f"{worker}{ROOM}", ignore_errors=True)
        needed = set(keys)
        if needed:
            self._needed[worker] = needed
        else:
            self._remove(worker)

    def forget(self, tasks: Iterable[Task]) -> None:
        """The outcomes of these are safe."""
        if not self._needed:
            return
        keys = {task.key for task in tasks}
        for worker, needed in list(self._needed.items()):
            needed -= keys
            if not needed:
                del self._needed[worker]
                self._remove(worker)

    def clear(self) -> None:
        """Every worker has ended and every outcome is safe."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _remove(self, worker: str) -> None:
        (self._directory / f"{worker}{RECORDS}").unlink(missing_ok=True)


def _read(lines: list[bytes], name: str) -> list[dict[str, Any]]:
    records = []
    for line in lines:
        try:
            records.append(json.loads(line))
        except ValueError as error:
            # The last line of a worker that was killed while it wrote.
            _log.warning("record_unreadable", file=name, reason=str(error))
    return records
