"""Events under a request id: carried out once, recorded in the same step, refused with other content."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from services.chassis.requests import marks
from services.chassis.requests.marks import RequestIdReused
from services.chassis.storage.sqlite import Database, load_migrations
from services.scheduler.engine import Engine
from services.scheduler.model import TaskState
from services.scheduler.records.store import PACKAGE, SchedulerStore
from services.scheduler.refusals import TaskIsNotHeld
from services.scheduler.state import events as ev
from services.scheduler.state.effects import Answer, RecordRequest
from tests.support.fake_clock import FakeClock
from tests.support.scheduler_cluster import MachineCluster, make_spec


def marked(cluster: MachineCluster, reply: int, content: bytes, event: ev.Event) -> Answer:
    cluster.step(ev.Marked(reply, "ada", "id", content, msgspec.structs.replace(event, reply=reply)))
    return cluster.answers[reply]


def test_marked_event_is_applied_once() -> None:
    cluster = MachineCluster(nodes=0)
    keys = tuple(cluster.submit(make_spec(hold=True), count=1))
    release = ev.ReleaseRequested(0, keys)
    assert not marked(cluster, 901, b"release", release).is_repeat
    assert [type(row) for row in cluster.effects.rows].count(RecordRequest) == 1
    cluster.hold(*keys)
    assert marked(cluster, 902, b"release", release).is_repeat
    assert cluster.state_of(keys[0]) is TaskState.HELD
    assert cluster.effects.rows == []
    assert isinstance(marked(cluster, 903, b"other", release).error, RequestIdReused)


def test_refused_event_leaves_no_mark() -> None:
    cluster = MachineCluster(nodes=0)
    keys = tuple(cluster.submit(count=1))
    release = ev.ReleaseRequested(0, keys)
    assert isinstance(marked(cluster, 901, b"release", release).error, TaskIsNotHeld)
    assert not cluster.state.requests
    cluster.hold(*keys)
    assert marked(cluster, 902, b"release", release).error is None
    assert cluster.state_of(keys[0]) is TaskState.QUEUED


@pytest.mark.asyncio
async def test_engine_marks_the_first_event_of_an_rpc_and_knows_it_after_a_restart(tmp_path: Path) -> None:
    store = SchedulerStore(await Database.open(tmp_path / "s.db", load_migrations(PACKAGE)))
    engine = Engine(store, FakeClock(), validates=True)
    await engine.open()
    running = asyncio.ensure_future(engine.run())

    async def cancel(comment: str) -> Answer:
        reply, answer = engine.new_reply()
        engine.post(ev.CancelRequested(reply, (), 0, comment))
        return await answer

    try:
        with marks.marking(marks.Mark("ada", "id", b"c")):
            assert not (await cancel("first")).is_repeat
            assert not (await cancel("second")).is_repeat
        await engine.open()
        with marks.marking(marks.Mark("ada", "id", b"c")):
            assert (await cancel("first")).is_repeat
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()
