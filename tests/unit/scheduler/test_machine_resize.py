"""Other resources and attachments for a task on a node: room first, then the agent, then what is over is free."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.scheduler.model import AttachmentChange, Quota, Spec, VerdictKind
from services.scheduler.queues.shares import AccountSettings
from services.scheduler.records.recovery import restore
from services.scheduler.records.store import SchedulerStore
from services.scheduler.resources import amounts
from services.scheduler.state import events as ev
from services.scheduler.state.effects import ModifyTask, RecordModification
from tests.support.scheduler_cluster import MachineCluster, make_spec

_replies = itertools.count(2_000_000)
NEW = (AttachmentChange("a.txt", "d" * 64),)


def variant(spec: Spec, body: bytes, **resources: float) -> Spec:
    asked = amounts({"cpu": 1.0, **resources}) if resources else spec.shape.amounts
    shape = msgspec.structs.replace(spec.shape, amounts=asked)
    return msgspec.structs.replace(spec, number=0, body=spec.body + body, shape=shape)


def modify(cluster: MachineCluster, key: int, *paths: str, **resources: float) -> RecordModification:
    """Asks for other resources, attachments, or both, as the edge does."""
    spec = cluster.state.tasks[key].spec
    wanted = variant(spec, b"+both" + repr(resources).encode(), **resources)
    without = {
        ("attachments",): variant(spec, b"-a" + repr(resources).encode(), **resources),
        ("resources",): variant(spec, b"-r"),
        ("attachments", "resources"): spec,
    }
    fallbacks = tuple((out, made) for out, made in without.items() if set(out) <= set(paths))
    reply = next(_replies)
    added = NEW if "attachments" in paths else ()
    cluster.step(
        ev.ModifyRequested(
            reply, "ada", "", b"", key, 0, paths, "", spec.number, wanted, wanted, added, fallbacks
        )
    )
    first = cluster.answers[reply].first
    return next(r for r in cluster.rows if isinstance(r, RecordModification) and r.revision == first)


def answer(cluster: MachineCluster, key: int, revision: int, *fields: tuple[str, bool, str]) -> None:
    task = cluster.state.tasks[key]
    cluster.report(task.node, ev.TaskModified(key, task.attempt, task.epoch, revision, fields))


def running(cluster: MachineCluster, **resources: float) -> int:
    [key] = cluster.submit(make_spec(**resources))
    cluster.start(key)
    return key


def reserved(cluster: MachineCluster, name: str = "cpu") -> float:
    return cluster.state.cluster.nodes["n0"].reserved.get(name, 0) / 10_000


def kinds(row: RecordModification) -> dict[str, VerdictKind]:
    return {verdict.path: verdict.kind for verdict in row.verdicts}


def told(cluster: MachineCluster) -> list[Any]:
    return [c for c in cluster.effects.commands.get("n0", (0, []))[1] if isinstance(c, ModifyTask)]


def test_more_is_reserved_before_the_agent_is_told() -> None:  # S0.7
    cluster = MachineCluster(cpu=4)
    key = running(cluster, cpu=1)
    row = modify(cluster, key, "resources", cpu=3)
    assert kinds(row) == {"resources": VerdictKind.DEFERRED}
    assert reserved(cluster) == 3
    assert [command.body for command in told(cluster)] == [cluster.task(key).spec.body]
    answer(cluster, key, row.revision, ("resources", True, ""))
    assert (reserved(cluster), cluster.task(key).pending) == (3, ())
    cluster.exit(key)
    assert reserved(cluster) == 0


def test_less_is_free_once_the_agent_has_said_so() -> None:  # S0.7
    cluster = MachineCluster(cpu=4)
    key = running(cluster, cpu=4)
    [other] = cluster.submit(make_spec(cpu=2))
    row = modify(cluster, key, "resources", cpu=1)
    assert (reserved(cluster), cluster.node_of(other)) == (4, "")
    answer(cluster, key, row.revision, ("resources", True, ""))
    assert (reserved(cluster), cluster.node_of(other)) == (3, "n0")


def test_more_than_there_is_and_devices_are_rejected_at_once() -> None:
    cluster = MachineCluster(cpu=4)
    key = running(cluster, cpu=1)
    for resources, why in (({"cpu": 5.0}, "left, and it asks for"), ({"gpu": 1.0}, "gpu cannot change")):
        row = modify(cluster, key, "resources", **resources)
        assert kinds(row) == {"resources": VerdictKind.REJECTED}
        assert why in row.verdicts[0].message
    assert (reserved(cluster), told(cluster), cluster.task(key).pending) == (1, [], ())


def test_what_the_agent_refuses_is_as_it_was_before() -> None:  # S0.7
    cluster = MachineCluster(cpu=4)
    key = running(cluster, cpu=1)
    before = cluster.task(key).spec
    row = modify(cluster, key, "attachments", "resources", cpu=3)
    assert told(cluster)[0].attachments == NEW
    answer(cluster, key, row.revision, ("attachments", False, "no room"))
    assert cluster.task(key).spec.body.endswith(b"}") and b"-a" in cluster.task(key).spec.body
    answer(cluster, key, row.revision, ("resources", False, "in use"))
    assert (cluster.task(key).spec, reserved(cluster)) == (before, 1)
    last = [r for r in cluster.rows if isinstance(r, RecordModification)][-1]
    assert kinds(last) == {"resources": VerdictKind.REJECTED}


def test_next_attempt_has_what_the_agent_had_not_answered() -> None:  # S0.7
    cluster = MachineCluster(cpu=4)
    key = running(cluster, cpu=1)
    row = modify(cluster, key, "attachments", "resources", cpu=2)
    cluster.connect("n0")
    task = cluster.task(key)
    assert (task.attempt, task.pending, reserved(cluster)) == (2, (), 2)
    answer(cluster, key, row.revision, ("resources", False, "late"))
    assert task.spec.shape.amounts == amounts({"cpu": 2.0})


def test_agent_that_is_back_is_told_of_the_resources_again() -> None:
    cluster = MachineCluster(cpu=4)
    key = running(cluster, cpu=4)
    row = modify(cluster, key, "resources", cpu=1)
    cluster.connect("n0", cpu=4, tasks=(cluster.held(key),))
    assert reserved(cluster) == 4
    answer(cluster, key, row.revision, ("resources", True, ""))
    cluster.connect("n0", cpu=4, tasks=(cluster.held(key),))
    assert reserved(cluster) == 1
    assert [(c.revision, bool(c.body)) for c in told(cluster)] == [(row.revision, True)]


@pytest.mark.asyncio
async def test_restart_finds_changes_that_are_under_way_and_those_that_hold(tmp_path: Path) -> None:
    cluster = MachineCluster(cpu=8)
    keys = [running(cluster, cpu=1) for _ in range(3)]
    rows = [modify(cluster, key, "attachments", "resources", cpu=2) for key in keys]
    answer(cluster, keys[0], rows[0].revision, ("resources", True, ""), ("attachments", True, ""))
    answer(cluster, keys[1], rows[1].revision, ("resources", False, "in use"))
    store = await SchedulerStore.open(tmp_path / "db")
    try:
        counters = await store.begin_epoch()
        counters.revision = cluster.state.revision
        await store.persist(cluster.rows, counters, cluster.wall_ms)
        found = restore(await store.recover(cluster.wall_ms, 10, 100), cluster.now)
    finally:
        await store.close()
    for key in keys:
        before, after = cluster.task(key), found.tasks[key]
        assert (after.spec, after.pending, after.holding) == (before.spec, before.pending, before.holding)
        assert after.resource_revision == before.resource_revision
    assert [bool(found.tasks[key].resource_revision) for key in keys] == [True, False, True]


def test_more_than_the_quota_allows_is_rejected() -> None:
    cluster = MachineCluster(cpu=8)
    reply = next(_replies)
    settings = AccountSettings(quota=Quota(limit=amounts({"cpu": 3})))
    cluster.step(ev.AccountChanged(reply, "ada", ("quota.limit",), settings))
    key = running(cluster)
    running(cluster)
    row = modify(cluster, key, "resources", cpu=3)
    assert kinds(row) == {"resources": VerdictKind.REJECTED}
    assert "account ada holds 2 cpu of at most 3 cpu" in row.verdicts[0].message
    assert kinds(modify(cluster, key, "resources", cpu=2)) == {"resources": VerdictKind.DEFERRED}
    assert cluster.state.waiting.tenancy.accounts["ada"].held["cpu"] == 30_000
