"""What 100,000 old runs cost the graph service: seeing runs, starting one, completing nodes; beside an empty yard.

The old runs were never executed. Their rows are written, before the yard is brought up, by the store of the graph
service itself, from the same records that a run of a chain of five leaves behind: the run, its committed nodes with
results that were dropped but for the last, its end. They belong to 100 accounts and projects; one in a thousand failed.
Both yards are asked in turn.
"""

import asyncio
import contextlib
import json
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psutil

from bench.figures import Figure
from bench.graph_runs import Graphs, bundled, canvas, chain, graph_service, layers
from bench.graph_scale import planned
from bench.yard import Yard, running_yard
from modelyard.v1 import run_pb2
from services.chassis.storage.sqlite import Database, load_migrations, load_queries
from services.graph.model import Order
from services.graph.projects.starting import spec_of
from services.graph.records.projects import Projects
from services.graph.records.store import RunStore
from services.graph.runs.effects import CommitNode, InsertRun, RecordRunState, Row
from services.graph.runs.results import stripped, value_output
from services.graph.runs.state import RunState, Spec, Start
from services.graph.runs.values import Detail, End, Failure

OLD = 100_000
NODES = 5
PROJECTS = 100
FAILED_EACH = 1_000
A_TRANSACTION = 1_000
ROUNDS = 7
CALLS = 20
_RESULT = (value_output("result", "1"),)


async def _write_old(state: Path) -> None:
    database = await Database.open(state / "graph" / "graph.db", load_migrations("services.graph"))
    projects = Projects(database, load_queries("services.graph"))
    store = RunStore(database, load_queries("services.graph"))
    for number in range(1, PROJECTS + 1):
        await projects.create(f"account-{number}", f"old {number}", 1, lambda connection, project: None)
    plan = await store.plan(planned(100))
    rows: list[Row] = []
    for number in range(1, OLD + 1):
        rows += _rows_of(number, plan)
        if not number % A_TRANSACTION:
            await store.persist(rows, number * 10)
            rows = []
    await database.close()


def _rows_of(number: int, plan: int) -> Iterator[Row]:
    """What a run leaves behind."""
    revision = number * 10
    has_failed = not number % FAILED_EACH
    yield InsertRun(_spec(number), plan, revision, {}, None)
    for rank in range(NODES):
        is_last = rank == NODES - 1
        outputs = _RESULT if is_last else tuple(stripped(_RESULT))
        end = End(
            Detail.COMPUTED, outputs, task=f"t-{number * NODES + rank}", attempt=1, node="node-1", params="{}",
            reason="its cache policy is off", ready_ms=number, start_ms=number, end_ms=number + 4,
        )  # fmt: skip
        if has_failed and is_last:
            end = End(Detail.FAILED, failure=Failure(6, "it raised"), end_ms=number + 4)
        yield CommitNode(number, (rank,), rank + 1, revision + rank + 1, end, False)
    yield RecordRunState(
        number, RunState.FAILED if has_failed else RunState.SUCCEEDED, revision + NODES + 1, number + 20,
        NODES - has_failed, int(has_failed), failure=Failure(6, "it raised") if has_failed else None,
    )  # fmt: skip


def _spec(number: int) -> Spec:
    of = number % PROJECTS + 1
    spec = spec_of(
        f"account-{of}", f"p-{of}", Order.LEVELS, Start.READY, params="{}", max_parallel=0, refresh=False, comment=""
    )  # fmt: skip
    return Spec(
        **{field: getattr(spec, field) for field in spec.__struct_fields__} | {"number": number, "version": 1}
    )


class Yards:
    """The graph services of an empty yard and of one with a history, asked in turn."""

    def __init__(self, empty: Graphs, old: Graphs) -> None:
        self.both = (empty, old)

    async def compare(
        self, name: str, goal: str, ask: Callable[[Graphs, int], Awaitable[object]]
    ) -> list[Figure]:
        """Milliseconds of a call on either, each the median of `CALLS`."""
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(ROUNDS):
            for which, graphs in enumerate(self.both):
                spent = []
                for _ in range(CALLS):
                    begun = time.perf_counter()
                    await ask(graphs, which)
                    spent.append((time.perf_counter() - begun) * 1e3)
                times[which].append(statistics.median(spent))
        return _figures(name, times, goal)


def _figures(name: str, times: tuple[list[float], list[float]], goal: str = "flat") -> list[Figure]:
    ratios = tuple(old / empty for empty, old in zip(*times, strict=True))
    return [
        Figure(f"{name}: no old runs", "ms", tuple(times[0])),
        Figure(f"{name}: {OLD:,} old runs", "ms", tuple(times[1])),
        Figure(f"{name}: ratio", "", ratios, goal),
    ]


async def _listed(graphs: Graphs, **wish: object) -> object:
    return await graphs.runs.ListRuns(run_pb2.ListRunsRequest(page_size=50, **wish))  # type: ignore[arg-type]


async def _measure(yards: tuple[Yard, Yard], addresses: tuple[str, str]) -> list[Figure]:
    async with contextlib.AsyncExitStack() as stack:
        both, chains, wide, ones = [], [], [], []
        for yard, address in zip(yards, addresses, strict=True):
            bundle = await stack.enter_async_context(bundled(yard))
            graphs = Graphs(yard, address)
            stack.push_async_callback(graphs.channel.close)
            both.append(graphs)
            ones.append(await graphs.save(canvas(*chain(1), bundle)))
            chains.append(await graphs.save(canvas(*chain(100), bundle)))
            wide.append(await graphs.save(canvas(*layers(10, 100, 3), bundle)))
            # The empty one gets a page to show.
            for _ in range(60):
                await graphs.run_s(ones[-1])
        asked = Yards(both[0], both[1])
        latest = [(await graphs.runs.ListRuns(run_pb2.ListRunsRequest(page_size=50))).runs for graphs in both]
        seen = ["r-1", "r-77777"]
        assert len(latest[0]) == len(latest[1]) == 50

        async def start(graphs: Graphs, which: int) -> None:
            request = run_pb2.StartRunRequest(request_id=str(uuid.uuid4()), project_id=ones[which])
            await graphs.runs.StartRun(request)

        async def get(graphs: Graphs, which: int) -> None:
            await graphs.runs.GetRun(run_pb2.GetRunRequest(run_id=seen[which]))

        figures = [
            *await asked.compare("ListRuns, 50 of all", "flat", lambda graphs, which: _listed(graphs)),
            *await asked.compare(
                "ListRuns, 50 of a project", "flat",
                lambda graphs, which: _listed(graphs, project_id=("p-1", "p-7")[which]),
            ),
            *await asked.compare(
                "ListRuns, those that failed", "flat",
                lambda graphs, which: _listed(graphs, states=[run_pb2.RUN_STATE_FAILED]),
            ),
            *await asked.compare("GetRun", "flat", get),
            *await asked.compare("StartRun", "flat", start),
        ]  # fmt: skip
        services = [_graph_process(yard) for yard in yards]
        for name, projects, nodes in (("chain of 100", chains, 100), ("10 layers × 100", wide, 1_000)):
            times: tuple[list[float], list[float]] = ([], [])
            spent: tuple[list[float], list[float]] = ([], [])
            for _ in range(ROUNDS):
                for which, graphs in enumerate(both):
                    before = _processor_s(services[which])
                    times[which].append(await graphs.run_s(projects[which]) / nodes * 1e3)
                    spent[which].append((_processor_s(services[which]) - before) / nodes * 1e3)
            figures += _figures(f"{name}, a node", times, "0.8 – 1.2")
            # What others do on the machine at the same time hardly shows in it.
            figures += _figures(f"{name}, a node, processor time of the graph service", spent, "0.8 – 1.2")
        return figures


def _graph_process(yard: Yard) -> psutil.Process:
    return psutil.Process(json.loads((yard.state / "run" / "graph.json").read_text())["pid"])


def _processor_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def measure() -> list[Figure]:
    with contextlib.ExitStack() as stack:
        empty = stack.enter_context(running_yard())
        addresses = [stack.enter_context(graph_service(empty))]
        old = stack.enter_context(running_yard(prepare=lambda state: asyncio.run(_write_old(state))))
        addresses.append(stack.enter_context(graph_service(old)))
        return asyncio.run(_measure((empty, old), (addresses[0], addresses[1])))
