"""Ended jobs whose time is over leave only what was kept, and their numbers are not given again (S3.10)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from services.chassis.steps.errands import Errand, Errands
from services.chassis.storage.sqlite import Database, load_migrations, load_queries
from services.trainer.model import Checkpoint, Condition, ConditionKind, JobState
from services.trainer.records.clearing import Clearing
from services.trainer.records.owing import Kind
from services.trainer.records.store import JobStore
from services.trainer.state import effects as e
from services.trainer.state.jobs import Instance, Job
from tests.support.fake_clock import FakeClock

DAY_MS = 86_400_000
SQL = load_queries("services.trainer")


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(tmp_path / "trainer.db", load_migrations("services.trainer"))
    yield opened
    await opened.close()


class Carrier:
    def __init__(self) -> None:
        self.carried: list[tuple[str, list[str]]] = []

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        self.carried += [msgspec.msgpack.decode(one.content) for one in errands]


def job(number: int, end_ms: int = 0, expire_ms: int = 0) -> Job:
    state = JobState.SUCCEEDED if end_ms else JobState.RUNNING
    made = Job(number, "ann", "", "plain", 0, "", "", 0, 1)
    return msgspec.structs.replace(made, state=state, end_ms=end_ms, expire_ms=expire_ms, revision=number)


def checkpoint(name: str, number: int, *, is_stored: bool = True) -> Checkpoint:
    return Checkpoint(number=number, role="worker", index=0, name=name, digest="d", is_stored=is_stored)


async def put(store: JobStore, *jobs: Job) -> None:
    rows: list[e.Row] = []
    for one in jobs:
        rows += [
            e.PutJob(one),
            e.PutInstance(one.number, Instance("worker", 0)),
            e.InsertOutcome(one.number, JobState.SUCCEEDED, "", "", 1),
            e.InsertCondition(one.number, Condition(ConditionKind.CLEARED, True, "", "", 1, 1)),
            e.InsertSeat(one.number, "worker", 0, f"t-{one.number}"),
            e.PutCheckpoint(one.number, checkpoint("step-1", 1)),
            e.PutCheckpoint(one.number, checkpoint("step-2", 2, is_stored=False)),
            e.PutOutputs(one.number, "worker", 0, (("model.pt", "d", 5),)),
        ]
    await store.persist(rows, ())


@pytest.mark.asyncio
async def test_only_what_is_over_goes_and_the_store_lets_go_of_checkpoints(database: Database) -> None:
    clock = FakeClock(100 * DAY_MS)
    store, errands = JobStore(database, SQL), Errands(database, SQL, clock)
    await errands.open()
    now = clock.now_ms()
    await put(
        store,
        job(1, end_ms=now - 40 * DAY_MS),
        job(2, end_ms=now - 20 * DAY_MS),
        job(3, end_ms=now - 10, expire_ms=now - 1),
        job(4, end_ms=now - 90 * DAY_MS, expire_ms=now + 1),
        job(5),
    )
    assert await Clearing(store, errands, clock, 30.0).clear() == 2
    assert [await store.job(number) is not None for number in range(1, 6)] == [False, True, False, True, True]
    assert errands.owed == 2
    owed = await database.read(lambda c: c.execute("SELECT kind, content FROM errand").fetchall())
    assert [(kind, msgspec.msgpack.decode(content)) for kind, content in owed] == [
        (Kind.REFERENCES, ["job:j-1/worker-0/1", []]),
        (Kind.REFERENCES, ["job:j-3/worker-0/1", []]),
    ]
    assert await Clearing(store, errands, clock, 0).clear() == 0


@pytest.mark.asyncio
async def test_no_table_remembers_a_cleared_job(database: Database) -> None:
    clock = FakeClock(100 * DAY_MS)
    store, errands = JobStore(database, SQL), Errands(database, SQL, clock)
    await errands.open()
    await put(store, job(7, end_ms=1))
    tables = [name for (name,) in await database.read(lambda c: c.execute(SQL["job_tables"]).fetchall())]
    assert {"instance", "outcome", "condition", "checkpoint", "output", "seat", "launch"} <= set(tables)
    await Clearing(store, errands, clock, 30.0).clear()
    for table in tables:
        query = f"SELECT count(*) FROM {table} WHERE job = 7"
        (count,) = (await database.read(lambda c, query=query: c.execute(query).fetchone())) or (0,)
        assert count == 0, table
    assert (await store.begin()).next_job == 8, "a number is never given again"


@pytest.mark.asyncio
async def test_dropped_checkpoint_of_one_transaction_stays_dropped_and_one_that_came_again_stays(
    database: Database,
) -> None:
    store = JobStore(database, SQL)
    one, again = checkpoint("step-1", 1), checkpoint("step-1", 2)
    drop = e.DropCheckpoint(1, "worker", 0, "step-1")
    await store.persist([e.PutCheckpoint(1, one), drop], ())
    assert await store.checkpoints(1) == ()
    await store.persist([e.PutCheckpoint(1, one)], ())
    await store.persist([drop, e.PutCheckpoint(1, again)], ())
    assert await store.checkpoints(1) == (again,)
