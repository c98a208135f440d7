"""Graphs made by hand, and runs of them on simulated workers."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from itertools import count

import msgspec

from services.graph.canvases.levels import gradients, total_order
from services.graph.model import CachePolicy, Graph, InputEdge, Kind, OnError, Order, PlannedNode, Trigger
from services.graph.records import recovery
from services.graph.runs import machine
from services.graph.runs.effects import (
    CancelTasks,
    CommitNode,
    Effects,
    FetchCached,
    InsertBatch,
    RecordTasks,
    Submit,
)
from services.graph.runs.events import CacheAnswered, Event, NodeEnded, RunAsked, RunRecovered
from services.graph.runs.places import Place, find, id_at
from services.graph.runs.results import inputs_of, value_output
from services.graph.runs.state import Run, Spec, Start, State, check_invariants
from services.graph.runs.values import Detail, End, Failure
from tests.support.graph_disk import Disk
from tests.support.memory_database import finish

Edge = tuple[str, str] | tuple[str, str, OnError]


def planned(
    names: Sequence[str],
    edges: Sequence[Edge],
    order: Order = Order.LEVELS,
    *,
    effects: Sequence[str] = (),
    triggers: dict[str, Trigger] | None = None,
    record: Sequence[str] = (),
    params: dict[str, str] | None = None,
    cache: CachePolicy = CachePolicy.AUTO,
    order_edges: Sequence[tuple[str, str]] = (),
) -> Graph:
    """Nodes dragged in as they are named."""
    index = {name: place for place, name in enumerate(names)}
    successors: list[list[int]] = [[] for _ in names]
    for edge in (*edges, *order_edges):
        successors[index[edge[0]]].append(index[edge[1]])
    levels = gradients(successors)
    ranked = total_order(order, levels, successors, list(range(len(names))))
    rank = {names[place]: number for number, place in enumerate(ranked)}
    nodes = []
    for number, place in enumerate(ranked):
        name = names[place]
        inputs = [
            InputEdge(rank[edge[0]], "result", "value", False, edge[2] if len(edge) > 2 else OnError.EMPTY)
            for edge in edges
            if edge[1] == name
        ]
        waits = [InputEdge(rank[a], "", "", True, OnError.EMPTY) for a, b in order_edges if b == name]
        after = tuple(sorted({rank[names[other]] for other in successors[place]}))
        nodes.append(
            PlannedNode(
                rank=number, id=name, gradient=levels[place], kind=Kind.TASK, operator="op", version="1",
                initial_params=(params or {}).get(name, "{}"), parameter_address="", record=name in record,
                has_effects=name in effects, cache=cache, trigger=(triggers or {}).get(name, Trigger.ALL_ENDED),
                inputs=(*sorted(inputs, key=lambda edge: edge.source), *waits), successors=after, body=b"",
                control=None, outputs=("result",), identity="code",
            )
        )  # fmt: skip
    has_data = {edge.source for node in nodes for edge in node.inputs if not edge.is_order}
    sinks = tuple(node.rank for node in nodes if node.rank not in has_data)
    return Graph(tuple(nodes), sinks, "digest")


def spec(
    order: Order = Order.LEVELS, start: Start = Start.READY, max_parallel: int = 0, params: str = "{}"
) -> Spec:
    return Spec(0, "ann", "ann", "p-1", 1, order, start, params, max_parallel, False, "", 0, 0)


def done(value: str = "1") -> End:
    return End(Detail.COMPUTED, (value_output("result", value),))


def failure() -> End:
    return End(Detail.FAILED, failure=Failure(6, "it raised"))


class Table:
    """A machine with its effects at hand, one event at a time."""

    def __init__(self, state: State | None = None, disk: Disk | None = None) -> None:
        self.state = state or State()
        self.disk = disk
        """With one it can be started again."""
        self.now = 1
        self.submitted: list[str] = []
        self.cancelled: list[str] = []
        self.log: list[CommitNode] = []
        self.effects = Effects()
        self.graph: Graph | None = None

    def ask(self, graph: Graph, wish: Spec | None = None, **more: object) -> Run:
        self.graph = graph
        number = self.state.next_run
        plan = finish(self.disk.store().plan(graph)) if self.disk is not None else 1
        event = RunAsked(1, wish or spec(), graph, plan, **more)  # type: ignore[arg-type]
        known = self.state.runs
        self.do(event)
        return known.get(number) or Run(wish or spec(), graph)

    def do(self, *events: Event) -> Effects:
        assert self.graph is not None
        self.effects = machine.step(self.state, events, self.now)
        if self.disk is not None:
            self._persist(self.disk)
        for row in self.effects.rows:
            if isinstance(row, CommitNode):
                self.log.append(row)
        for wish in self.effects.wishes:
            if isinstance(wish, Submit):
                self.submitted += [id_at(self.graph, place) for place in wish.places]
            elif isinstance(wish, CancelTasks):
                self.cancelled += wish.tasks
        check_invariants(self.state)
        return self.effects

    def _persist(self, disk: Disk) -> None:
        """Each start is a batch of its own, whose task has the batch's number."""
        for wish in self.effects.wishes:
            for place in wish.places if isinstance(wish, Submit) else ():
                number, self.state.next_batch = self.state.next_batch, self.state.next_batch + 1
                self.effects.rows.append(InsertBatch(number, wish.run, str(number), (place,), b""))
                self.effects.rows.append(RecordTasks(number, f"t-{number}"))
        finish(disk.store().persist(self.effects.rows, self.state.revision))

    def restart(self) -> Effects:
        """The process has died; from now on it is its successor."""
        assert self.disk is not None
        self.state, runs = recovery.restore(finish(self.disk.store().begin()))
        return self.do(*[RunRecovered(run, again) for run, again in runs])

    def place(self, name: str) -> Place:
        """Where the node stands."""
        assert self.graph is not None
        place = find(self.graph, name)
        assert place is not None
        return place

    def end(self, name: str, end: End, run: int = 1) -> Effects:
        return self.do(NodeEnded(run, self.place(name), end))

    def taken(self) -> list[str]:
        """What was submitted since the last look."""
        taken, self.submitted = self.submitted, []
        return taken

    def committed(self) -> list[tuple[str, str]]:
        assert self.graph is not None
        return [(id_at(self.graph, row.place), row.end.detail.value) for row in self.log]


Work = Callable[[Run, Place], End]


def sum_work(fail: frozenset[int] = frozenset()) -> Work:
    """A pure function of the inputs; nodes of these ranks fail."""

    def work(run: Run, place: Place) -> End:
        scope, rank = run.scope_at(place), place[-1]
        if rank in fail:
            return failure()
        assert scope is not None
        seen = [piece.value or "null" for port in inputs_of(scope, rank) for piece in port.pieces]
        return done(f'"{hash_of(rank, seen)}"')

    return work


def hash_of(rank: int, seen: Sequence[str]) -> str:
    import hashlib

    return hashlib.sha256(f"{rank}:{','.join(seen)}".encode()).hexdigest()[:12]


def simulate(
    graph: Graph, wish: Spec, workers: int, seed: int, work: Work, state: State | None = None
) -> tuple[list[bytes], list[Place]]:
    """The committed log without times, agents and attempts, and the places in the order in which they started.

    Workers take what was submitted, least place first; each node takes a random while. Checks after every event that
    in `ready` no worker is idle while a node may start (S1.10).
    """
    chance = random.Random(seed)
    table = Table(state)
    waiting: list[Place] = []
    busy: list[tuple[float, int, Place, End]] = []
    clock, tie = 0.0, count()
    started: list[Place] = []
    table.graph = graph
    number = table.state.next_run

    def take(effects: Effects, run: Run) -> None:
        for wanted in effects.wishes:
            if isinstance(wanted, Submit):
                for place in wanted.places:
                    heapq.heappush(waiting, place)
            elif isinstance(wanted, FetchCached):
                take(table.do(CacheAnswered(number, wanted.place, None)), run)
        while waiting and len(busy) < workers:
            place = heapq.heappop(waiting)
            started.append(place)
            heapq.heappush(busy, (clock + chance.random(), next(tie), place, work(run, place)))
        assert len(run.running) <= workers
        if wish.start is Start.READY and number in table.state.runs:
            assert not (len(busy) < workers and any(map(run.may_start, run.ready)))

    first = table.do(RunAsked(1, msgspec.structs.replace(wish, max_parallel=workers), graph, 1))
    run = table.state.runs[number] if number in table.state.runs else Run(wish, graph)
    take(first, run)
    while busy:
        clock, _, place, end = heapq.heappop(busy)
        table.now += 1
        take(table.do(NodeEnded(number, place, end)), run)
    assert number not in table.state.runs, "the run hangs"
    bare = [
        msgspec.json.encode(
            (
                row.sequence, id_at(graph, row.place), row.end.detail.value, row.end.outputs, row.end.failure,
                row.end.params, row.end.key, row.end.reason, row.end.note,
            )
        )
        for row in table.log
    ]  # fmt: skip
    return bare, started
