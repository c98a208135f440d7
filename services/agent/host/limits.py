"""Limits of tasks: cgroups where they can be written, else rlimits; which, is told.

Owns the cgroups of this agent: one set per worker, made when its tasks first need one, changed when
the next tasks have other limits, removed with the worker. Reads and writes small files, no more.
"""

from __future__ import annotations

import contextlib
import resource
import signal
from pathlib import Path

from msgspec.structs import replace

from modelyard.worker.processes.cgroups import out_of_memory_count
from services.agent.host.cgroups import (
    CONTROLLERS,
    Hierarchy,
    anonymous_bytes,
    find_hierarchy,
    remove_group,
    write_file,
    write_limit,
)
from services.agent.host.halting import below
from services.agent.tasks.events import WorkerLost
from services.agent.tasks.model import LimitSet
from services.chassis.logs import get_logger

_log = get_logger("agent.limits")
_PIDS = ".pids"
"""Version 2: the group in which a shim stands, so that what it starts cannot become too much, while the limits of
a command do not count the shim."""


class Limiter:
    """Applies limits to workers and to what runs in them."""

    def __init__(self, kind: str, hierarchy: Hierarchy | None) -> None:
        self.kind = kind
        """cgroup, rlimit or none."""
        self._hierarchy = hierarchy
        self._limits: dict[str, LimitSet] = {}
        self._oom: dict[str, int] = {}
        self._left: set[Path] = set()

    @classmethod
    def open(cls, wanted: str, name: str) -> Limiter:
        """wanted: auto, cgroup, rlimit or none. name: unique to the agent on this machine."""
        hierarchy = find_hierarchy(f"modelyard-{name}") if wanted in ("auto", "cgroup") else None
        if wanted == "cgroup" and hierarchy is None:
            _log.warning(
                "cgroups_not_writable", next_step="run with cgroup delegation, or --enforcement auto"
            )
        kind = "cgroup" if hierarchy else ("rlimit" if wanted != "none" else "none")
        _log.info("limits_enforced_by", kind=kind, version=hierarchy.version if hierarchy else 0)
        return cls(kind, hierarchy)

    def apply(self, worker: str, pid: int, limits: LimitSet) -> None:
        """From now on the worker's tasks have these limits. pid 0: it follows by `attach`."""
        had_none = worker not in self._limits
        if limits.is_empty and had_none:
            return
        self._limits[worker] = limits
        for controller, directory in self._directories(worker).items():
            directory.mkdir(exist_ok=True)
            write_limit(self._version, controller, directory, limits)
        if pid:
            self.attach(worker, pid)

    def attach(self, worker: str, pid: int) -> None:
        """Puts the worker's process under the limits that hold for it as a whole."""
        limits = self._limits.get(worker)
        if limits is None:
            return
        directories = self._directories(worker)
        entered = CONTROLLERS if limits.whole_worker else ("pids",)
        if self._version == 2 and not limits.whole_worker:
            self._attach_shim(worker, pid, limits)
        else:
            for path in {directories[name] for name in entered if name in directories}:
                write_file(path / "cgroup.procs", str(pid))
        if self.kind == "rlimit" and limits.whole_worker:
            most = limits.memory_bytes or resource.RLIM_INFINITY
            with contextlib.suppress(ProcessLookupError, PermissionError):
                resource.prlimit(pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        self._oom[worker] = self._oom_count(worker)

    def _attach_shim(self, worker: str, pid: int, limits: LimitSet) -> None:
        assert self._hierarchy is not None
        if limits.pids:
            group = self._hierarchy.bases["pids"] / f"{worker}{_PIDS}"
            group.mkdir(exist_ok=True)
            write_limit(2, "pids", group, limits)
            write_file(group / "cgroup.procs", str(pid))

    def change(self, worker: str, pid: int, limits: LimitSet) -> tuple[bool, str]:
        """Other limits for what runs in the worker: whether they were refused, and why, or how far they hold."""
        if self._hierarchy is None:
            return False, "as a reservation only: the node has no cgroups, so the limits of a process stay"
        used = self._memory_used(worker)
        if limits.memory_bytes and used > limits.memory_bytes:
            return True, f"it uses {used} bytes of memory now, more than {limits.memory_bytes}"
        self.apply(worker, pid, limits)
        if not limits.whole_worker:
            self._enter_all(worker, pid)
        return False, ""

    def _memory_used(self, worker: str) -> int:
        """Of its processes, without what the kernel only caches."""
        directory = self._directories(worker).get("memory")
        return anonymous_bytes(directory) if directory is not None else 0

    def _enter_all(self, worker: str, pid: int) -> None:
        """A command that was started without limits has not entered its cgroups yet."""
        paths = {path for name, path in self._directories(worker).items() if name != "pids"}
        for process in below(pid):
            for path in paths:
                write_file(path / "cgroup.procs", str(process.pid))

    def frame(self, worker: str, limits: LimitSet) -> dict[str, object]:
        """The limits as a RunCommand has them."""
        if self.kind == "none" or not (limits.cpu or limits.memory_bytes):
            return {}
        frame: dict[str, object] = {"cpu": limits.cpu, "memory_bytes": limits.memory_bytes}
        paths = {
            path for name, path in self._directories(worker).items() if name != "pids" or self._version == 2
        }
        if paths:
            frame["cgroup_paths"] = sorted(map(str, paths))
            for path in paths:
                if (path / "memory.max_usage_in_bytes").exists():
                    write_file(path / "memory.max_usage_in_bytes", "0")
        return frame

    def explain(self, lost: WorkerLost) -> WorkerLost:
        """Adds whether the kernel ended the worker for want of memory."""
        if lost.signal == signal.SIGKILL and self._oom_count(lost.worker) > self._oom.get(lost.worker, 0):
            return replace(lost, out_of_memory=True)
        return lost

    def remove(self, worker: str) -> None:
        """The worker is gone: what is left below it ends, and its cgroups go."""
        self._left |= set(self._directories(worker).values())
        if self._hierarchy is not None and self._version == 2:
            self._left.add(self._hierarchy.bases["pids"] / f"{worker}{_PIDS}")
        self._limits.pop(worker, None)
        self._oom.pop(worker, None)
        self.sweep()

    def sweep(self) -> None:
        """Removes cgroups that could not be removed before."""
        for directory in list(self._left):
            if remove_group(directory):
                self._left.discard(directory)

    def adopt(self, workers: set[str]) -> None:
        """After a restart: cgroups of workers that are gone are removed, the others are kept."""
        for base in set(self._hierarchy.bases.values()) if self._hierarchy else ():
            groups = [path for path in base.iterdir() if path.is_dir()]
            self._left |= {path for path in groups if path.name.removesuffix(_PIDS) not in workers}
        self.sweep()

    def close(self) -> None:
        """Removes the agent's own cgroups and those of its workers, which have ended."""
        self.adopt(set())
        for base in set(self._hierarchy.bases.values()) if self._hierarchy else ():
            with contextlib.suppress(OSError):
                base.rmdir()

    @property
    def _version(self) -> int:
        return self._hierarchy.version if self._hierarchy is not None else 0

    def _directories(self, worker: str) -> dict[str, Path]:
        limits = self._limits.get(worker)
        if self._hierarchy is None or limits is None:
            return {}
        asked = {"memory": limits.memory_bytes, "cpu": limits.cpu, "pids": limits.pids}
        wanted = {name for name in CONTROLLERS if asked[name]}
        known = self._hierarchy.directories(worker, set(CONTROLLERS))
        # A limit that held before is lifted in the cgroup that it had.
        return {name: path for name, path in known.items() if name in wanted or path.exists()}

    def _oom_count(self, worker: str) -> int:
        directory = self._directories(worker).get("memory")
        return out_of_memory_count(str(directory)) if directory is not None else 0
