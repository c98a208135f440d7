"""What the machine is busy with: means over windows of 1, 10 and 60 s, and what each task uses.

Owns the reading of the operating system's counters. A sample costs a fraction of a millisecond; per
task figures are read only while tasks run for longer than a moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

import psutil

WINDOWS_S = (1, 10, 60)


class Sample(NamedTuple):
    """One look. cpu_s: busy core-seconds since the machine booted."""

    at_ms: int
    cpu_s: float
    memory_bytes: int
    gpu: float = 0.0


class Usage(NamedTuple):
    """Means over a window."""

    window_s: int
    cpu: float
    memory_bytes: int
    gpu: float = 0.0


class TaskUsage(NamedTuple):
    """What the processes of a task use now."""

    cpu: float
    memory_bytes: int


class Sampler:
    """Keeps a minute of samples of the whole machine.

    The shares (0 to 1) are what the agent offers of the machine. Who else works there is not known, so each of
    several agents is taken to cause its share of what is measured; nothing is counted twice that way.
    """

    def __init__(
        self, cpu_share: float = 1.0, memory_share: float = 1.0, busy_gpus: Callable[[], float] | None = None
    ) -> None:
        self._busy_gpus = busy_gpus
        self._cpu_share = cpu_share
        self._memory_share = memory_share
        self._samples: deque[Sample] = deque(maxlen=WINDOWS_S[-1] + 2)
        self._cpu_of: dict[int, tuple[int, float]] = {}

    def look(self, now_ms: int) -> None:
        """Takes a sample; call it once a second."""
        times = psutil.cpu_times()
        idle_s = times.idle + getattr(times, "iowait", 0.0)
        # Guest time is part of user time already.
        busy_s = sum(times[:8]) - idle_s
        memory = psutil.virtual_memory()
        gpu = self._busy_gpus() if self._busy_gpus is not None else 0.0
        self._samples.append(Sample(now_ms, busy_s, memory.total - memory.available, gpu))

    def windows(self) -> list[Usage]:
        """Means over what is there of each window."""
        return [usage for window_s in WINDOWS_S if (usage := self._mean(window_s)) is not None]

    def tasks(self, roots: Mapping[str, int], now_ms: int) -> dict[str, TaskUsage]:
        """What the processes below each root use; roots: process by task."""
        if not roots:
            self._cpu_of.clear()
            return {}
        parents, figures = _processes()
        usages: dict[str, TaskUsage] = {}
        seen: dict[int, tuple[int, float]] = {}
        for task, root in roots.items():
            # One that has just ended, and is not known to have, has none.
            known = [figures[pid] for pid in _below(root, parents) if pid in figures]
            cpu_s = sum(cpu_s for cpu_s, _ in known)
            memory_bytes = sum(memory_bytes for _, memory_bytes in known)
            before = self._cpu_of.get(root)
            elapsed_s = (now_ms - before[0]) / 1000 if before else 0.0
            cpu = max(0.0, cpu_s - before[1]) / elapsed_s if before and elapsed_s > 0 else 0.0
            seen[root] = (now_ms, cpu_s)
            usages[task] = TaskUsage(cpu, memory_bytes)
        self._cpu_of = seen
        return usages

    def _mean(self, window_s: int) -> Usage | None:
        if len(self._samples) < 2:
            return None
        last = self._samples[-1]
        inside = [sample for sample in self._samples if last.at_ms - sample.at_ms <= window_s * 1000 + 200]
        first = inside[0] if len(inside) > 1 else self._samples[-2]
        elapsed_s = max((last.at_ms - first.at_ms) / 1000, 0.001)
        memory_bytes = sum(sample.memory_bytes for sample in inside) / len(inside)
        cpu = max(0.0, (last.cpu_s - first.cpu_s) / elapsed_s)
        gpu = sum(sample.gpu for sample in inside) / len(inside)
        return Usage(window_s, cpu * self._cpu_share, round(memory_bytes * self._memory_share), gpu)


def _processes() -> tuple[dict[int, list[int]], dict[int, tuple[float, int]]]:
    """Children by parent, and (cpu seconds, resident bytes) of every process."""
    parents: dict[int, list[int]] = {}
    figures: dict[int, tuple[float, int]] = {}
    for process in psutil.process_iter(["ppid", "cpu_times", "memory_info"]):
        found = process.info
        times, memory = found["cpu_times"], found["memory_info"]
        if times is None or memory is None:
            continue
        parents.setdefault(found["ppid"], []).append(process.pid)
        figures[process.pid] = (times.user + times.system, memory.rss)
    return parents, figures


def _below(root: int, parents: Mapping[int, list[int]]) -> list[int]:
    """A process and all processes below it."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue.extend(parents.get(pid, ()))
    return found
