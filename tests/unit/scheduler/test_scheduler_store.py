"""The scheduler's database and the engine around it: what is on disk, and what happens when it cannot be written."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.chassis.storage.errors import DiskFull
from services.chassis.storage.sqlite import Database, load_migrations
from services.scheduler.engine import Engine
from services.scheduler.model import Cause, Spec, TaskState, element_key, task_key
from services.scheduler.records.rows import Counters
from services.scheduler.records.store import PACKAGE, SchedulerStore
from services.scheduler.state import events as ev
from services.scheduler.state.effects import RecordChange
from tests.support.fake_clock import FakeClock
from tests.support.full_disk import FullDisk
from tests.support.scheduler_cluster import MachineCluster, make_spec
from tests.support.wait import wait_until

COUNTERS = Counters(1, 2, 10, 2)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SchedulerStore]:
    store = SchedulerStore(FullDisk(await Database.open(folder / "s.db", load_migrations(PACKAGE))))  # type: ignore[arg-type]
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def engine_on(store: SchedulerStore) -> AsyncIterator[Engine]:
    """A running engine without its ticks."""
    engine = Engine(store, FakeClock(), validates=True)
    await engine.open()
    running = asyncio.ensure_future(engine.run())
    try:
        yield engine
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def submit(
    engine: Engine, spec: Spec | None = None, request_id: str = "", follower: Any = None
) -> list[int]:
    reply, answer = engine.new_reply(follower)
    specs = (spec or make_spec(),)
    engine.post(ev.TasksSubmitted(reply, "ada", request_id, b"c", specs, ((0, ""),)))
    answered = await answer
    return [task_key(n) for n in range(answered.first, answered.first + answered.count)]


class Listener:
    """A follower that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[RecordChange] = []

    def on_outcome(self, outcome: RecordChange) -> None:
        self.heard.append(outcome)


class Stream:
    """An agent's link that keeps what it is sent."""

    def __init__(self) -> None:
        self.closed = ""
        self.started: list[Any] = []

    def welcome(self, message: Any) -> None: ...
    def beat_ack(self, message: Any) -> None: ...
    def acknowledge(self, number: int) -> None: ...

    def command(self, first_number: int, commands: list[Any]) -> None:
        self.started += commands

    def close(self, reason: str) -> None:
        self.closed = reason


def connect(engine: Engine, node: str = "n0") -> tuple[Stream, int]:
    stream = Stream()
    session = engine.new_session(stream)
    hello = MachineCluster(nodes=0).hello(node)
    engine.post(ev.AgentConnected(node, session, "b", 1, {}, hello.capacity, (), frozenset(), ()))
    return stream, session


@pytest.mark.asyncio
async def test_outcome_is_recorded_once_whoever_writes(tmp_path: Path) -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    cluster.exit(key)
    async with opened(tmp_path) as store:
        await store.persist(cluster.rows, COUNTERS, 1)
        again = RecordChange(99, key, "ada", TaskState.FAILED, 1, 1, "n0", 1, cause=Cause.EXIT)
        with pytest.raises(sqlite3.IntegrityError):
            await store.persist([again], COUNTERS, 1)
        stored = await store.get_task(key)
    assert stored is not None
    assert TaskState(stored[1][-1].state) is TaskState.SUCCEEDED


@pytest.mark.asyncio
async def test_epoch_is_one_higher_with_every_start_and_numbers_go_on(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        async with opened(tmp_path) as store, engine_on(store) as engine:
            assert engine.state.epoch == epoch
            assert await submit(engine) == [task_key(epoch)]
    async with opened(tmp_path) as store:
        assert len(await store.list_tasks(None, 1 << 62, 0, 10)) == 3


@pytest.mark.asyncio
async def test_restored_copy_skips_numbers_and_epochs(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        engine = Engine(store, FakeClock())
        await engine.open(skip=10_000)
        assert engine.state.epoch == 10_001
        assert engine.state.next_number == 10_001


@pytest.mark.asyncio
async def test_requests_are_recognised_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store, engine_on(store) as engine:
        first = await submit(engine, request_id="r")
    async with opened(tmp_path) as store, engine_on(store) as engine:
        assert await submit(engine, request_id="r") == first
        assert len(engine.state.tasks) == 1


@pytest.mark.asyncio
async def test_failed_commit_takes_the_step_back_and_later_ones_work(tmp_path: Path) -> None:
    async with opened(tmp_path) as store, engine_on(store) as engine:
        (before,) = await submit(engine)
        stream, session = connect(engine)
        disk: FullDisk = store.database  # type: ignore[assignment]
        disk.is_full = True
        with pytest.raises(DiskFull):
            await submit(engine)
        assert stream.closed
        assert not stream.started
        assert set(engine.state.tasks) == {before}
        assert engine.state.tasks[before].state is TaskState.QUEUED
        engine.post(ev.AgentDisconnected("n0", session))
        with pytest.raises(DiskFull):
            await submit(engine)
        disk.is_full = False
        (after,) = await submit(engine)
        assert set(engine.state.tasks) == {before, after}
        stream, _ = connect(engine)
        await submit(engine)
        assert [start.key for start in stream.started][:2] == [before, after]


@pytest.mark.asyncio
async def test_failed_commit_never_gives_out_a_revision_again_that_was_shown(tmp_path: Path) -> None:
    async with opened(tmp_path) as store, engine_on(store) as engine:
        await submit(engine)
        shown = engine.released_revision
        store.database.is_full = True  # type: ignore[attr-defined]
        with pytest.raises(DiskFull):
            await submit(engine)
        store.database.is_full = False  # type: ignore[attr-defined]
        await submit(engine)
        assert engine.released_revision > shown


@pytest.mark.asyncio
async def test_follower_that_comes_during_the_commit_hears_of_the_outcome(tmp_path: Path) -> None:
    async with opened(tmp_path) as store, engine_on(store) as engine:
        connect(engine)
        (key,) = await submit(engine)
        session = engine.state.cluster.nodes["n0"].session
        report = ev.TaskExited(key, 1, engine.state.epoch, Cause.NONE, b"")
        store.database.gate.clear()  # type: ignore[attr-defined]
        engine.post(ev.TasksReported("n0", session, 1, (report,)))
        listener = Listener()
        await wait_until(lambda: key not in engine.state.tasks, "the step is taken")
        assert engine.follow(key, listener), "its outcome was not on disk yet"
        assert not listener.heard
        store.database.gate.set()  # type: ignore[attr-defined]
        await submit(engine)
        assert [heard.state for heard in listener.heard] == [TaskState.SUCCEEDED]
        assert not engine.follow(key, listener)


@pytest.mark.asyncio
async def test_follower_of_a_submission_nobody_waits_for_is_not_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as store, engine_on(store) as engine:
        waiting = asyncio.ensure_future(submit(engine, follower=Listener()))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await submit(engine)
        assert not engine._followers


@pytest.mark.asyncio
async def test_array_is_counted_from_the_database_in_the_middle(tmp_path: Path) -> None:
    spec = make_spec(array_size=1_000_000, cpu=1)
    async with opened(tmp_path) as store, engine_on(store) as engine:
        connect(engine)
        (key,) = await submit(engine, spec)
        epoch, session = engine.state.epoch, engine.state.cluster.nodes["n0"].session
        reports = (
            ev.TaskExited(element_key(key, 0), 1, epoch, Cause.NONE, b""),
            ev.TaskExited(element_key(key, 1), 1, epoch, Cause.EXIT, b""),
        )
        engine.post(ev.TasksReported("n0", session, 1, reports))
        reply, answer = engine.new_reply()
        engine.post(ev.CancelRequested(reply, (element_key(key, 500_000),), 0, ""))
        await answer
    async with opened(tmp_path) as store, engine_on(store) as engine:
        tally = engine.state.tasks[key].tally
        assert tally is not None
        assert (tally.succeeded, tally.failed, tally.cancelled, tally.active) == (1, 1, 1, 4)
        assert (tally.next_index, tally.skipped) == (6, {500_000})
        assert engine.state.tasks[key].state is TaskState.RUNNING


@pytest.mark.asyncio
async def test_requests_of_days_ago_are_forgotten_in_the_database(tmp_path: Path) -> None:
    async with opened(tmp_path) as store, engine_on(store) as engine:
        await submit(engine, request_id="r")
        assert await store.get_request("ada", "r") == (b"c", 1, 1)
        await store.prune_requests(engine.clock.now_ms() + 2 * 86_400_000)
        assert await store.get_request("ada", "r") is None


@pytest.mark.asyncio
async def test_node_is_known_after_a_restart_before_it_is_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as store, engine_on(store) as engine:
        connect(engine)
        await submit(engine)
    async with opened(tmp_path) as store, engine_on(store) as engine:
        assert "n0" in engine.state.cluster.nodes
