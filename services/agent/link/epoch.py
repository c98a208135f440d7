"""The highest epoch that this agent has met, on disk before anything of it is obeyed."""

from __future__ import annotations

from pathlib import Path

from services.chassis.process.state_dir import write_atomically


class EpochStale(Exception):
    """The scheduler's epoch is below one that this agent has met: another scheduler has replaced it."""


class Epoch:
    """One small file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.number = int(path.read_text())
        except (FileNotFoundError, ValueError):
            self.number = 0

    def meet(self, number: int) -> None:
        """Remembers a higher one. Raises EpochStale for one that is over."""
        if number < self.number:
            raise EpochStale(f"epoch {number} is over; {self.number} has begun")
        if number > self.number:
            write_atomically(self._path, b"%d\n" % number)
            self.number = number
