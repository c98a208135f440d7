"""How busy the processes below this one are: cores, memory, and since when they have been silent.

Owns one measurement and the one before it.
"""

import os
import time
from collections.abc import Collection
from pathlib import Path

from modelyard.worker.frames import Message

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Activity:
    """Since the processes started."""

    def __init__(self, logs: list[str], spared: Collection[int] = ()) -> None:
        self._logs = logs
        self._spared = spared
        self._began = time.time()
        self._before: dict[int, int] = {}
        self._measured_at = time.monotonic()

    def look(self) -> Message:
        """A SeatActivity: cores since the last look."""
        now = time.monotonic()
        used = below(self._spared)
        ticks = sum(max(0, spent - self._before.get(pid, 0)) for pid, (spent, _) in used.items())
        elapsed = max(now - self._measured_at, 0.001)
        self._before = {pid: spent for pid, (spent, _) in used.items()}
        self._measured_at = now
        return {
            "cpu": round(ticks / _TICKS / elapsed, 3),
            "silent_ms": self._silent_ms(),
            "memory_bytes": sum(pages for _, pages in used.values()) * _PAGE,
        }

    def _silent_ms(self) -> int:
        last = self._began
        for path in self._logs:
            try:
                last = max(last, os.stat(path).st_mtime)  # noqa: PTH116 - of each instance, for ever
            except OSError:
                continue
        return max(0, int((time.time() - last) * 1000))


def below(spared: Collection[int] = ()) -> dict[int, tuple[int, int]]:
    """Clock ticks and resident pages of every process that has come from this one, but for the spared ones."""
    parents: dict[int, list[int]] = {}
    found: dict[int, tuple[int, int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            fields = _stat(entry.name)
            if fields:
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
                found[int(entry.name)] = (int(fields[11]) + int(fields[12]), int(fields[21]))
    mine: dict[int, tuple[int, int]] = {}
    queue = [os.getpid()]
    while queue:
        for pid in parents.get(queue.pop(), ()):
            if pid not in spared:
                mine[pid] = found[pid]
                queue.append(pid)
    return mine


def _stat(pid: str) -> list[bytes]:
    """The fields of /proc/PID/stat behind the name, state first."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []
