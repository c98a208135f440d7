"""How busy the processes below this one are: cores, memory, and since when they have been silent.

Owns one measurement and the one before it.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from modelyard.worker.frames import Message

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Between two searches for processes: each looks at every process of the machine.
_SEARCH_S = 60.0


class Activity:
    """Since the processes started."""

    def __init__(
        self, logs: list[str], spared: Collection[int] = (), outside: Callable[[], list[int]] = list
    ) -> None:
        """``outside``: processes that have not come from this one, and count with all that has come from them."""
        self._logs = logs
        self._outside = outside
        self._known_outside: list[int] = []
        self._spared = spared
        self._began = time.time()
        self._before: dict[int, int] = {}
        self._measured_at = time.monotonic()
        self._search_at = 0.0

    def look(self) -> Message:
        """A SeatActivity: cores since the last look."""
        now = time.monotonic()
        used = self._used(now)
        ticks = sum(max(0, spent - self._before.get(pid, 0)) for pid, (spent, _) in used.items())
        elapsed = max(now - self._measured_at, 0.001)
        self._before = {pid: spent for pid, (spent, _) in used.items()}
        self._measured_at = now
        return {
            "cpu": round(ticks / _TICKS / elapsed, 3),
            "silent_ms": self._silent_ms(),
            "memory_bytes": sum(pages for _, pages in used.values()) * _PAGE,
        }

    def _used(self, now: float) -> dict[int, tuple[int, int]]:
        """Of those that were found last, and now and then of all."""
        was_outside, self._known_outside = self._known_outside, self._outside()
        if now < self._search_at and self._before and was_outside == self._known_outside:
            known = {pid: _usage(_stat(str(pid))) for pid in self._before}
            return {pid: usage for pid, usage in known.items() if usage is not None}
        self._search_at = now + _SEARCH_S
        return below(self._spared, self._known_outside)

    def _silent_ms(self) -> int:
        last = self._began
        for path in self._logs:
            try:
                last = max(last, os.stat(path).st_mtime)  # noqa: PTH116 - of each instance, for ever
            except OSError:
                continue
        return max(0, int((time.time() - last) * 1000))


def below(spared: Collection[int] = (), outside: Iterable[int] = ()) -> dict[int, tuple[int, int]]:
    """Clock ticks and resident pages of every process that has come from this one, but for the spared ones; and of
    those outside, with what has come from them."""
    parents: dict[int, list[int]] = {}
    found: dict[int, tuple[int, int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            fields = _stat(entry.name)
            usage = _usage(fields)
            if usage is not None:
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
                found[int(entry.name)] = usage
    mine = {pid: found[pid] for pid in outside if pid in found}
    queue = [os.getpid(), *mine]
    while queue:
        for pid in parents.get(queue.pop(), ()):
            if pid not in spared:
                mine[pid] = found[pid]
                queue.append(pid)
    return mine


def _usage(fields: list[bytes]) -> tuple[int, int] | None:
    """Clock ticks and resident pages."""
    return (int(fields[11]) + int(fields[12]), int(fields[21])) if fields else None


def _stat(pid: str) -> list[bytes]:
    """The fields of /proc/PID/stat behind the name, state first."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []
