"""Room on the scheduler's own disk."""

import shutil
from pathlib import Path

from services.scheduler.refusals import LowDisk


class DiskGuard:
    """Refuses new work while the disk is almost full, so that there is room for the outcomes of the old."""

    def __init__(self, path: Path, low_bytes: int) -> None:
        self._path = path
        self._low_bytes = low_bytes
        self._free_bytes = low_bytes

    def look(self) -> None:
        """Measures; called now and then."""
        self._free_bytes = shutil.disk_usage(self._path).free

    def check(self) -> None:
        """Raises `LowDisk`."""
        if self._free_bytes < self._low_bytes:
            raise LowDisk(
                f"{self._free_bytes >> 20} MiB are free on the scheduler's disk, {self._low_bytes >> 20} are kept free",
                next_step="free some space; nothing was submitted",
            )
