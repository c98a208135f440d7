"""Limits of tasks: cgroups where they can be written, else rlimits; which, is told.

Owns the cgroups of this agent: one set per worker, made when its tasks first need one, changed when
the next tasks have other limits, removed with the worker. Reads and writes small files, no more.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from pathlib import Path

from msgspec.structs import replace

from modelyard.worker.cgroups import out_of_memory_count
from services.agent.events import WorkerLost
from services.agent.model import LimitSet
from services.chassis.logs import get_logger

_log = get_logger("agent.limits")
PERIOD_US = 100_000
CONTROLLERS = ("memory", "cpu", "pids")


class Hierarchy:
    """Where cgroups of this agent can be made: one base directory per controller, or one for all (v2)."""

    def __init__(self, version: int, bases: dict[str, Path]) -> None:
        self.version = version
        self.bases = bases

    def directories(self, worker: str, controllers: set[str]) -> dict[str, Path]:
        """The worker's cgroups for these controllers."""
        return {name: base / worker for name, base in self.bases.items() if name in controllers}


def find_hierarchy(name: str, root: Path = Path("/")) -> Hierarchy | None:
    """Version 2 if it has the memory controller, else version 1; None where nothing can be written."""
    own = _own_paths(root / "proc/self/cgroup")
    mounts = _mounts(root / "proc/self/mounts")
    if "" in own and "cgroup2" in mounts and (unified := _unified(mounts["cgroup2"], own[""], name)):
        return Hierarchy(2, dict.fromkeys(CONTROLLERS, unified))
    bases = {}
    for controller in CONTROLLERS:
        if controller in mounts and (base := _make_base(mounts[controller], own.get(controller, "/"), name)):
            bases[controller] = base
    return Hierarchy(1, bases) if "memory" in bases else None


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
            self._write(controller, directory, limits)
        if pid:
            self.attach(worker, pid)

    def attach(self, worker: str, pid: int) -> None:
        """Puts the worker's process under the limits that hold for it as a whole."""
        limits = self._limits.get(worker)
        if limits is None:
            return
        directories = self._directories(worker)
        entered = CONTROLLERS if limits.whole_worker else ("pids",)
        for path in {directories[name] for name in entered if name in directories}:
            if self._hierarchy is not None and (self._hierarchy.version == 1 or limits.whole_worker):
                _write_file(path / "cgroup.procs", str(pid))
        if self.kind == "rlimit" and limits.whole_worker:
            most = limits.memory_bytes or resource.RLIM_INFINITY
            with contextlib.suppress(ProcessLookupError, PermissionError):
                resource.prlimit(pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        self._oom[worker] = self._oom_count(worker)

    def frame(self, worker: str, limits: LimitSet) -> dict[str, object]:
        """The limits as a RunCommand has them."""
        if self.kind == "none" or not (limits.cpu or limits.memory_bytes):
            return {}
        frame: dict[str, object] = {"cpu": limits.cpu, "memory_bytes": limits.memory_bytes}
        paths = {
            path for name, path in self._directories(worker).items() if name != "pids" or self._is_unified
        }
        if paths:
            frame["cgroup_paths"] = sorted(map(str, paths))
            for path in paths:
                if (path / "memory.max_usage_in_bytes").exists():
                    _write_file(path / "memory.max_usage_in_bytes", "0")
        return frame

    def explain(self, lost: WorkerLost) -> WorkerLost:
        """Adds whether the kernel ended the worker for want of memory."""
        if lost.signal == signal.SIGKILL and self._oom_count(lost.worker) > self._oom.get(lost.worker, 0):
            return replace(lost, out_of_memory=True)
        return lost

    def remove(self, worker: str) -> None:
        """The worker is gone: what is left below it ends, and its cgroups go."""
        self._left |= set(self._directories(worker).values())
        self._limits.pop(worker, None)
        self._oom.pop(worker, None)
        self.sweep()

    def sweep(self) -> None:
        """Removes cgroups that could not be removed before."""
        for directory in list(self._left):
            if _remove(directory):
                self._left.discard(directory)

    def adopt(self, workers: set[str]) -> None:
        """After a restart: cgroups of workers that are gone are removed, the others are kept."""
        for base in set(self._hierarchy.bases.values()) if self._hierarchy else ():
            self._left |= {path for path in base.iterdir() if path.is_dir() and path.name not in workers}
        self.sweep()

    def close(self) -> None:
        """Removes the agent's own cgroups and those of its workers, which have ended."""
        self.adopt(set())
        for base in set(self._hierarchy.bases.values()) if self._hierarchy else ():
            with contextlib.suppress(OSError):
                base.rmdir()

    @property
    def _is_unified(self) -> bool:
        return self._hierarchy is not None and self._hierarchy.version == 2

    def _directories(self, worker: str) -> dict[str, Path]:
        limits = self._limits.get(worker)
        if self._hierarchy is None or limits is None:
            return {}
        asked = {"memory": limits.memory_bytes, "cpu": limits.cpu, "pids": limits.pids}
        wanted = {name for name in CONTROLLERS if asked[name]}
        known = self._hierarchy.directories(worker, set(CONTROLLERS))
        # A limit that held before is lifted in the cgroup that it had.
        return {name: path for name, path in known.items() if name in wanted or path.exists()}

    def _write(self, controller: str, directory: Path, limits: LimitSet) -> None:
        if self._is_unified:
            _write_unified(controller, directory, limits)
        elif controller == "memory":
            most = str(limits.memory_bytes or -1)
            swap = directory / "memory.memsw.limit_in_bytes"
            if swap.exists():
                _write_file(swap, "-1")
            _write_file(directory / "memory.limit_in_bytes", most)
            if swap.exists():
                _write_file(swap, most)
        elif controller == "cpu":
            _write_file(directory / "cpu.cfs_period_us", str(PERIOD_US))
            _write_file(directory / "cpu.cfs_quota_us", str(_quota(limits) or -1))
        else:
            _write_file(directory / "pids.max", str(limits.pids or "max"))

    def _oom_count(self, worker: str) -> int:
        directory = self._directories(worker).get("memory")
        return out_of_memory_count(str(directory)) if directory is not None else 0


def _quota(limits: LimitSet) -> int:
    return max(1_000, round(limits.cpu * PERIOD_US)) if limits.cpu else 0


def _write_unified(controller: str, directory: Path, limits: LimitSet) -> None:
    if controller == "memory":
        _write_file(directory / "memory.max", str(limits.memory_bytes or "max"))
        if (directory / "memory.swap.max").exists():
            _write_file(directory / "memory.swap.max", "0" if limits.memory_bytes else "max")
    elif controller == "cpu":
        _write_file(directory / "cpu.max", f"{_quota(limits) or 'max'} {PERIOD_US}")
    else:
        _write_file(directory / "pids.max", str(limits.pids or "max"))


def _write_file(path: Path, text: str) -> bool:
    try:
        path.write_text(text, encoding="ascii")
    except OSError as error:
        if not isinstance(error, ProcessLookupError):
            _log.warning("limit_not_set", path=str(path), value=text, reason=error.strerror)
        return False
    return True


def _remove(directory: Path) -> bool:
    """Ends what is left in a cgroup and removes it; False: it is not empty yet."""
    with contextlib.suppress(OSError):
        for line in (directory / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line), signal.SIGKILL)
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _own_paths(path: Path) -> dict[str, str]:
    """This process's path by controller; "" is version 2."""
    paths = {}
    for line in _lines(path):
        _, controllers, own = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), own))
    return paths


def _mounts(path: Path) -> dict[str, Path]:
    """Mount points by controller; "cgroup2" is version 2."""
    mounts: dict[str, Path] = {}
    for line in _lines(path):
        _, where, kind, options, *_ = line.split(" ")
        if kind == "cgroup2":
            mounts.setdefault("cgroup2", Path(where))
        elif kind == "cgroup":
            for option in options.split(","):
                mounts.setdefault(option, Path(where))
    return mounts


def _make_base(mount: Path, own: str, name: str) -> Path | None:
    """A directory below this process's own cgroup, so that limits of the agent hold for its tasks."""
    parent = mount / own.lstrip("/")
    base = (parent if parent.is_dir() else mount) / name
    try:
        base.mkdir(exist_ok=True)
    except OSError:
        return None
    return base if os.access(base / "cgroup.procs", os.W_OK) else None


def _unified(mount: Path, own: str, name: str) -> Path | None:
    parent = mount / own.lstrip("/")
    if "memory" not in _words(parent / "cgroup.controllers"):
        return None
    if not _delegate(parent):
        return None
    base = _make_base(mount, own, name)
    return base if base is not None and _delegate(base) else None


def _delegate(directory: Path) -> bool:
    """Lets children of a cgroup have limits; the process itself must not stand in it then."""
    enabled = directory / "cgroup.subtree_control"
    if {*CONTROLLERS} <= set(_words(enabled)):
        return True
    wanted = " ".join(f"+{name}" for name in CONTROLLERS)
    try:
        enabled.write_text(wanted)
    except OSError:
        try:
            leaf = directory / "agent"
            leaf.mkdir(exist_ok=True)
            (leaf / "cgroup.procs").write_text(str(os.getpid()))
            enabled.write_text(wanted)
        except OSError:
            return False
    return True


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
