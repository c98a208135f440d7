"""Limits against directories that look like the kernel's, in both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.agent.host.cgroups import find_hierarchy
from services.agent.host.limits import Limiter
from services.agent.tasks.events import WorkerLost
from services.agent.tasks.model import LimitSet


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    """A root directory that looks like a machine with cgroups of version 1."""
    (tmp_path / "proc/self").mkdir(parents=True)
    lines = []
    for controller in ("memory", "cpu", "pids"):
        (tmp_path / controller / "own").mkdir(parents=True)
        (tmp_path / controller / "own" / "modelyard-a").mkdir()
        (tmp_path / controller / "own" / "modelyard-a" / "cgroup.procs").touch()
        lines.append(f"cgroup {tmp_path}/{controller} cgroup rw,relatime,{controller} 0 0")
    (tmp_path / "proc/self/mounts").write_text("\n".join(lines))
    (tmp_path / "proc/self/cgroup").write_text("3:memory:/own\n2:cpu:/own\n1:pids:/own\n")
    return tmp_path


def test_limits_of_version_1_are_written_below_the_process_own_cgroup(version_1: Path) -> None:
    limiter = Limiter("cgroup", find_hierarchy("modelyard-a", version_1))
    limiter.apply("w1", 0, LimitSet(0.5, 1 << 20, 10))
    assert (version_1 / "cpu/own/modelyard-a/w1/cpu.cfs_quota_us").read_text() == "50000"
    assert (version_1 / "memory/own/modelyard-a/w1/memory.limit_in_bytes").read_text() == str(1 << 20)
    assert (version_1 / "pids/own/modelyard-a/w1/pids.max").read_text() == "10"
    frame = limiter.frame("w1", LimitSet(0.5, 1 << 20, 10))
    assert frame["cgroup_paths"] == [
        f"{version_1}/cpu/own/modelyard-a/w1",
        f"{version_1}/memory/own/modelyard-a/w1",
    ]
    limiter.apply("w1", 0, LimitSet())
    assert (version_1 / "cpu/own/modelyard-a/w1/cpu.cfs_quota_us").read_text() == "-1"


def test_kill_with_a_new_out_of_memory_count_is_explained(version_1: Path) -> None:
    limiter = Limiter("cgroup", find_hierarchy("modelyard-a", version_1))
    limiter.apply("w1", 0, LimitSet(0, 1 << 20, 0, whole_worker=True))
    assert not limiter.explain(WorkerLost("w1", signal=9)).out_of_memory
    (version_1 / "memory/own/modelyard-a/w1/memory.oom_control").write_text("oom_kill 1\n")
    assert limiter.explain(WorkerLost("w1", signal=9)).out_of_memory
    assert not limiter.explain(WorkerLost("w1", signal=15)).out_of_memory


def test_machine_without_cgroups_has_no_hierarchy(tmp_path: Path) -> None:
    assert find_hierarchy("modelyard-a", tmp_path) is None


def test_rlimits_are_told_to_the_command(tmp_path: Path) -> None:
    limits = LimitSet(0, 1 << 20, 0)
    assert Limiter("rlimit", None).frame("w1", limits) == {"cpu": 0, "memory_bytes": 1 << 20}
    assert Limiter("none", None).frame("w1", limits) == {}


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    """A root directory that looks like a machine with cgroups of version 2, delegated to this process."""
    (tmp_path / "proc/self").mkdir(parents=True)
    base = tmp_path / "unified/own/modelyard-a"
    base.mkdir(parents=True)
    for group in (base, base.parent):
        (group / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
        (group / "cgroup.subtree_control").write_text("")
        (group / "cgroup.procs").touch()
    (tmp_path / "proc/self/mounts").write_text(f"cgroup2 {tmp_path}/unified cgroup2 rw,relatime 0 0\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/own\n")
    return base


def limiter_of(base: Path) -> Limiter:
    hierarchy = find_hierarchy("modelyard-a", base.parents[2])
    assert hierarchy is not None
    assert hierarchy.version == 2
    return Limiter("cgroup", hierarchy)


def test_version_2_hands_its_controllers_down(version_2: Path) -> None:
    limiter_of(version_2)
    for group in (version_2, version_2.parent):
        assert (group / "cgroup.subtree_control").read_text() == "+memory +cpu +pids"


def test_version_2_limits_a_command_in_one_group_and_its_shim_in_another(version_2: Path) -> None:
    limiter = limiter_of(version_2)
    limits = LimitSet(0.5, 1 << 20, 10)
    limiter.apply("w1", 4711, limits)
    group = version_2 / "w1"
    assert (group / "cpu.max").read_text() == "50000 100000"
    assert (group / "memory.max").read_text() == str(1 << 20)
    assert (group / "pids.max").read_text() == "10"
    assert not (group / "cgroup.procs").exists()
    assert (version_2 / "w1.pids" / "cgroup.procs").read_text() == "4711"
    assert limiter.frame("w1", limits)["cgroup_paths"] == [str(group)]
    limiter.apply("w1", 4711, LimitSet())
    assert (group / "cpu.max").read_text() == "max 100000"
    assert (group / "memory.max").read_text() == "max"


def test_version_2_puts_the_worker_of_an_operator_under_its_limits(version_2: Path) -> None:
    limiter = limiter_of(version_2)
    limiter.apply("w1", 4711, LimitSet(0, 1 << 20, 0, whole_worker=True))
    assert (version_2 / "w1" / "cgroup.procs").read_text() == "4711"
    assert not (version_2 / "w1.pids").exists()


def test_groups_of_workers_that_are_gone_are_removed(version_2: Path) -> None:
    limiter = limiter_of(version_2)
    for name in ("w1", "w1.pids", "w2", "w2.pids"):
        (version_2 / name).mkdir()
    limiter.adopt({"w2"})
    assert sorted(path.name for path in version_2.iterdir() if path.is_dir()) == ["w2", "w2.pids"]


def test_version_2_without_memory_controller_is_not_used(version_2: Path) -> None:
    (version_2.parent / "cgroup.controllers").write_text("cpu pids\n")
    assert find_hierarchy("modelyard-a", version_2.parents[2]) is None
