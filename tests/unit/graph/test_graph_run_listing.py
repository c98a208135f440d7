"""Lists of runs: whatever is asked for, newest first, by an index; a run is shown in a list without its graph."""

from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from services.chassis.storage.sqlite import Database, load_migrations, load_queries
from services.graph.convert.run import brief_message
from services.graph.records.store import RunStore
from services.graph.runs.effects import InsertRun, RecordRunState
from services.graph.runs.state import RunState
from tests.support.graph_runs import planned, spec

SQL = load_queries("services.graph")
STATES = list(RunState)
ACCOUNTS = ("ann", "bob")


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[RunStore]:
    """Thirty runs, of both accounts, three projects and all states."""
    database = await Database.open(tmp_path / "graph.db", load_migrations("services.graph"))
    store = RunStore(database, SQL)
    plan = await store.plan(planned(["a", "b"], [("a", "b")]))
    rows: list[InsertRun | RecordRunState] = []
    for number in range(1, 31):
        of = msgspec.structs.replace(
            spec(), number=number, account=ACCOUNTS[number % 2], project=f"p-{1 + number % 3}"
        )
        rows += [
            InsertRun(of, plan, number, {}, None),
            RecordRunState(number, STATES[number % 5], number),
        ]
    await store.persist(rows, 31)
    yield store
    await database.close()


def _wanted(
    account: str | None, project: int, states: tuple[RunState, ...], before: int, most: int
) -> list[int]:
    return [
        number
        for number in range(30, 0, -1)
        if number < before
        and account in (None, ACCOUNTS[number % 2])
        and project in (0, 1 + number % 3)
        and (not states or STATES[number % 5] in states)
    ][:most]


@pytest.mark.asyncio
async def test_runs_are_listed_newest_first_whatever_is_asked_for(store: RunStore) -> None:
    some = ((), (RunState.FAILED,), (RunState.RUNNING, RunState.SUCCEEDED))
    for asked in product((None, *ACCOUNTS, "eve", ""), (0, 1, 3, 9), some, (1 << 60, 17), (4, 100)):
        found = await store.runs(*asked)
        assert [row.number for row in found] == _wanted(*asked)


@pytest.mark.asyncio
async def test_run_in_a_list_knows_how_many_nodes_it_has_without_its_graph(store: RunStore) -> None:
    [row] = await store.runs("ann", 0, (RunState.SUCCEEDED,), 1 << 60, 1)
    message = brief_message(row)
    assert message.node_count == 2
    assert message.account == "ann"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["list_runs", "list_runs_of_account", "list_runs_of_project", "live_runs"])
async def test_list_never_goes_through_all_runs(store: RunStore, name: str) -> None:
    values = {"account": "ann", "project": 1, "state": "failed", "before": 9, "most": 5}
    steps = await store.database.read(
        lambda c: [row[3] for row in c.execute(f"EXPLAIN QUERY PLAN {SQL[name]}", values)]
    )
    assert not [step for step in steps if step.startswith("SCAN")]
