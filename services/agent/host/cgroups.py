"""Control groups of this machine: where they can be made, and their small files, in both versions.

Owns names and formats of the kernel's interface. Which worker gets which limit is decided in `limits`.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from services.agent.tasks.model import LimitSet
from services.chassis.logs import get_logger

_log = get_logger("agent.cgroups")
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


def write_limit(version: int, controller: str, directory: Path, limits: LimitSet) -> None:
    """Sets one controller's limit; 0 lifts it. A limit that cannot be set is logged."""
    if version == 2:
        _write_unified(controller, directory, limits)
    elif controller == "memory":
        most = str(limits.memory_bytes or -1)
        swap = directory / "memory.memsw.limit_in_bytes"
        if swap.exists():
            write_file(swap, "-1")
        write_file(directory / "memory.limit_in_bytes", most)
        if swap.exists():
            write_file(swap, most)
    elif controller == "cpu":
        write_file(directory / "cpu.cfs_period_us", str(PERIOD_US))
        write_file(directory / "cpu.cfs_quota_us", str(_quota(limits) or -1))
    else:
        write_file(directory / "pids.max", str(limits.pids or "max"))


def _quota(limits: LimitSet) -> int:
    return max(1_000, round(limits.cpu * PERIOD_US)) if limits.cpu else 0


def _write_unified(controller: str, directory: Path, limits: LimitSet) -> None:
    if controller == "memory":
        write_file(directory / "memory.max", str(limits.memory_bytes or "max"))
        if (directory / "memory.swap.max").exists():
            write_file(directory / "memory.swap.max", "0" if limits.memory_bytes else "max")
    elif controller == "cpu":
        write_file(directory / "cpu.max", f"{_quota(limits) or 'max'} {PERIOD_US}")
    else:
        write_file(directory / "pids.max", str(limits.pids or "max"))


def write_file(path: Path, text: str) -> bool:
    """Whether the kernel has taken it; logged if not, except where the process has just ended."""
    try:
        path.write_text(text, encoding="ascii")
    except OSError as error:
        if not isinstance(error, ProcessLookupError):
            _log.warning("limit_not_set", path=str(path), value=text, reason=error.strerror)
        return False
    return True


def anonymous_bytes(directory: Path) -> int:
    """What the processes of a memory cgroup hold themselves, caches not counted."""
    for line in _lines(directory / "memory.stat"):
        name, _, value = line.partition(" ")
        if name in ("anon", "total_rss"):
            return int(value)
    return 0


def remove_group(directory: Path) -> bool:
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
