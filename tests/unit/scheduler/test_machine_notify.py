"""The end of a task and the message about it are one: the same rows, the same transaction (S0.8)."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from services.scheduler.model import Cause, Spec, format_task_id
from services.scheduler.notification import Event, KnownContact, Notice, event_id
from services.scheduler.notify.deliveries import Deliveries
from services.scheduler.notify.model import Contact, DeliveryState
from services.scheduler.records import recovery
from services.scheduler.records.rows import Counters
from services.scheduler.records.store import SchedulerStore
from services.scheduler.state import events as ev
from services.scheduler.state.effects import InsertDelivery, RecordChange
from tests.support.fake_clock import FakeClock
from tests.support.scheduler_cluster import MachineCluster, make_spec

OPS = KnownContact("6d6f6465-6c79-4172-8000-000000000001", "ops", True, int(Event.FAILED))
HOOK = KnownContact("6d6f6465-6c79-4172-8000-000000000002", "hook", True)


def yard(*contacts: KnownContact) -> MachineCluster:
    cluster = MachineCluster(nodes=1)
    cluster.step(ev.ContactsChanged("ada", contacts))
    return cluster


def told(cluster: MachineCluster) -> list[tuple[str, str, str]]:
    return [(r.contact, r.subject, r.event) for r in cluster.rows if isinstance(r, InsertDelivery)]


def noticed(notice: Notice | None = None, **spec: object) -> Spec:
    made = make_spec(**spec)  # type: ignore[arg-type]
    return msgspec.structs.replace(made, notice=notice, body=made.body + repr(notice).encode())


def test_default_contact_hears_of_failures_in_the_step_of_the_outcome() -> None:  # S0.8
    cluster = yard(OPS, HOOK)
    good, bad = cluster.submit(count=2)
    cluster.exit(good)
    assert told(cluster) == []
    effects = cluster.exit(bad, cause=Cause.EXIT)
    subject = format_task_id(bad)
    assert told(cluster) == [("ops", subject, "task.failed")]
    kinds = [type(row) for row in effects.rows if isinstance(row, RecordChange | InsertDelivery)]
    assert kinds == [RecordChange, InsertDelivery]
    assert effects.told == {OPS.id}
    (row,) = (r for r in effects.rows if isinstance(r, InsertDelivery))
    assert row.event_id == event_id(OPS.id, f"{subject} failed")


def test_named_contact_is_told_instead_of_the_defaults_and_silence_tells_nobody() -> None:  # S0.8
    cluster = yard(OPS, HOOK)
    (named,) = cluster.submit(noticed(Notice("hook")))
    cluster.exit(named, cause=Cause.EXIT)
    (silent,) = cluster.submit(noticed(Notice(silent=True)))
    cluster.exit(silent, cause=Cause.EXIT)
    assert told(cluster) == [("hook", format_task_id(named), "task.failed")]


def test_attempt_that_is_tried_again_tells_nobody() -> None:
    from services.scheduler.model import Retry

    cluster = yard(OPS)
    (key,) = cluster.submit(noticed(retry=Retry(2)))
    cluster.exit(key, cause=Cause.EXIT)
    assert told(cluster) == []
    cluster.tick()
    cluster.exit(key, cause=Cause.EXIT)
    assert told(cluster) == [("ops", format_task_id(key), "task.failed")]


def test_array_is_told_of_once_as_a_whole() -> None:  # S0.8
    cluster = yard(OPS)
    (key,) = cluster.submit(noticed(array_size=3))
    while cluster.state.tasks:
        running = [k for k, task in cluster.state.tasks.items() if task.node]
        cluster.exit(*running, cause=Cause.EXIT)
    assert told(cluster) == [("ops", format_task_id(key), "task.failed")]


def test_cancelled_task_counts_as_failed_and_says_what_it_is() -> None:
    cluster = yard(OPS)
    (key,) = cluster.submit(noticed(hold=True))
    cluster.cancel(key)
    assert told(cluster) == [("ops", format_task_id(key), "task.cancelled")]


def test_account_without_contacts_costs_nothing() -> None:
    cluster = yard(OPS)
    (key,) = cluster.submit(account="bob")
    cluster.exit(key, cause=Cause.EXIT)
    cluster.step(ev.ContactsChanged("ada", ()))
    assert cluster.state.contacts == {}
    (key,) = cluster.submit()
    cluster.exit(key, cause=Cause.EXIT)
    assert told(cluster) == []


@pytest.mark.asyncio
async def test_contacts_and_pending_messages_are_there_after_a_restart(tmp_path: Path) -> None:  # S0.8
    cluster = yard(OPS)
    (key,) = cluster.submit()
    cluster.exit(key, cause=Cause.EXIT)
    store = await SchedulerStore.open(tmp_path / "s.db")
    try:
        row = Contact(OPS.id, "ada", "ops", "json", "json://h", b"", b"", OPS.default_for, 1, 5)
        insert = store.sql["insert_contact"]
        await store.database.write(lambda c: c.execute(insert, msgspec.structs.astuple(row)))
        counters = Counters(1, 9, cluster.state.revision, 9)
        await store.persist(cluster.rows, counters, 1_000)
        state = recovery.restore(await store.recover(0, 10, 10), cluster.now)
        assert state.contacts == {"ada": {"ops": OPS}}
        deliveries = Deliveries(store, FakeClock())
        assert list(await deliveries.pending()) == [OPS.id]
        found = await deliveries.next(OPS.id)
        assert found is not None
        assert (found.subject, found.state) == (format_task_id(key), DeliveryState.PENDING)
        again = [r for r in cluster.rows if isinstance(r, InsertDelivery)]
        await store.persist(again, counters, 2_000)
        assert len(await deliveries.list("ada", 1 << 62, 10, "", "", ())) == 1
    finally:
        await store.close()


@pytest.mark.asyncio
async def test_settled_messages_are_forgotten_after_thirty_days_and_pending_ones_never(
    tmp_path: Path,
) -> None:
    store = await SchedulerStore.open(tmp_path / "s.db")
    clock = FakeClock()
    deliveries = Deliveries(store, clock)
    contact = Contact(OPS.id, "ada", "ops", "json", "json://h", b"", b"", 0, 1, 5)
    try:
        for event in ("taken", "waiting", "dead"):
            await deliveries.add_test(contact, event, "t")
        await deliveries.mark_delivered(await deliveries.get("taken"))
        await deliveries.mark_failed(await deliveries.get("dead"), "no", None)
        await deliveries.prune()
        assert len(await deliveries.list("ada", 1 << 62, 10, "", "", ())) == 3
        clock.turn(31 * 86_400_000)
        await deliveries.prune()
        (left,) = await deliveries.list("ada", 1 << 62, 10, "", "", ())
        assert left.event_id == "waiting"
    finally:
        await store.close()
