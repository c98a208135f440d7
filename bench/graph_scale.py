"""What the size of a graph costs the graph service: a completion, the first thing that a watcher is told, memory.

Graphs of one local structure: layers of ten nodes, each with two of the layer above, so that with 100 nodes as with
10,000 the same number runs at a time and the same number follows from each that ends.
"""

import asyncio
import random
import time
import uuid

import psutil

from bench.figures import Figure
from bench.graph_runs import Graphs, bundled, canvas, fan, graph_service, layers
from bench.yard import Yard, running_yard
from modelyard.v1 import run_pb2
from services.chassis.process.memory import settle
from services.graph.canvases import document
from services.graph.canvases.operators import Operator, Port
from services.graph.canvases.planning import plan
from services.graph.convert.work import Bodies
from services.graph.model import Graph, Order
from services.graph.peers import submissions
from services.graph.projects.starting import spec_of
from services.graph.runs import machine
from services.graph.runs.effects import Effects, Submit
from services.graph.runs.events import Event, NodeEnded, RunAsked, TasksAccepted
from services.graph.runs.places import Place
from services.graph.runs.results import value_output
from services.graph.runs.state import Start, State
from services.graph.runs.values import Detail, End

SIZES = (100, 1_000, 10_000)
WIDTH, PARENTS = 10, 2
COMPLETIONS = 10_000
ROUNDS = 5
RUNS = {100: 12, 1_000: 5, 10_000: 3}
STILL = 10_000
_SCHEMA = {"title": "noop", "type": "object", "additionalProperties": True, "properties": {}}
_RESULT = (Port("result", "json"),)
_OPERATORS = {
    "bench_noop:source": Operator("bench_noop:source", "1", _SCHEMA, (), _RESULT),
    "bench_noop:noop": Operator("bench_noop:noop", "1", _SCHEMA, (Port("value", "json"),), _RESULT),
}
_END = End(Detail.COMPUTED, (value_output("result", "1"),), task="t-1", attempt=1, node="node-1")


def planned(nodes: int) -> Graph:
    text = canvas(*layers(nodes // WIDTH, WIDTH, PARENTS), "")
    read, problems = document.read(text.encode())
    assert not problems
    return plan(read, document.digest_of(text.encode()), _OPERATORS, Bodies(), Order.LEVELS)


def completion_us(graph: Graph) -> float:
    """Microseconds for the end of one node in the pure machine, and for the making of the messages that follow of it.

    Tasks end in a random order of those that run; `COMPLETIONS` of them, in as many runs as that takes.
    """
    settle()
    chance = random.Random(1)
    begun = time.perf_counter()
    for _ in range(COMPLETIONS // len(graph.nodes)):
        _run_through(graph, chance)
    return (time.perf_counter() - begun) / COMPLETIONS * 1e6


def _run_through(graph: Graph, chance: random.Random) -> None:
    state = State()
    spec = spec_of(
        "bench", "p-1", Order.LEVELS, Start.READY, params="{}", max_parallel=0, refresh=False, comment=""
    )
    effects = machine.step(state, [RunAsked(1, spec, graph, 1)], 1)
    running: list[Place] = []
    ended = 0
    while state.runs:
        accepted = _submitted(state, effects, running)
        at = chance.randrange(len(running))
        running[at], running[-1] = running[-1], running[at]
        effects = machine.step(state, [*accepted, NodeEnded(1, running.pop(), _END)], 1)
        ended += 1
    assert ended == len(graph.nodes)


def _submitted(state: State, effects: Effects, running: list[Place]) -> list[Event]:
    """What starts leaves as messages, and is accepted."""
    events: list[Event] = []
    for wish in effects.wishes:
        if not isinstance(wish, Submit):
            continue
        for places, request in submissions.messages(state.runs[wish.run], wish.places, {}, effects.inputs):
            request.SerializeToString()
            running += places
            tasks = tuple([f"t-{place[0]}" for place in places])
            events.append(TasksAccepted("bench", 1, wish.run, places, tasks))
    return events


async def first_event_ms(graphs: Graphs, project: str) -> float:
    """Milliseconds from the answer to StartRun to the first message of a watch that shows all nodes."""
    request = run_pb2.StartRunRequest(request_id=str(uuid.uuid4()), project_id=project)
    run = (await graphs.runs.StartRun(request)).run
    begun = time.perf_counter()
    call = graphs.runs.WatchRun(run_pb2.WatchRunRequest(run_id=run.id))
    elapsed = 0.0
    async for _ in call:
        # And on to its end: the next one is to find the yard idle.
        elapsed = elapsed or time.perf_counter() - begun
    return elapsed * 1e3


class Sizes:
    """Runs through the whole suite, and what they take of the graph service's processor."""

    def __init__(self, yard: Yard, graphs: Graphs, bundle: str) -> None:
        self.graphs = graphs
        self.bundle = bundle
        self.process = service_process(yard)

    async def a_node(self, nodes: int) -> tuple[list[float], list[float]]:
        """Milliseconds and the service's own milliseconds of processor time a node."""
        project = await self.graphs.save(canvas(*layers(nodes // WIDTH, WIDTH, PARENTS), self.bundle))
        await self.graphs.run_s(project)
        elapsed, used = [], []
        for _ in range(RUNS[nodes]):
            before = sum(self.process.cpu_times()[:2])
            elapsed.append(await self.graphs.run_s(project) / nodes * 1e3)
            used.append((sum(self.process.cpu_times()[:2]) - before) / nodes * 1e3)
        return elapsed, used

    async def still_mib(self) -> tuple[float, float]:
        """By how much a run of 10,000 nodes that are all at work makes the service grow, the reading and planning of
        its canvas included; and its whole size then. In MiB."""
        before = self.process.memory_info().rss
        text = canvas(*fan(STILL - 2), self.bundle).replace("bench_noop:noop", "bench_noop:still")
        project = await self.graphs.save(text)
        run = (await self.graphs.runs.StartRun(run_pb2.StartRunRequest(project_id=project))).run
        while True:
            now = (await self.graphs.runs.GetRun(run_pb2.GetRunRequest(run_id=run.id))).run
            if now.running_count == STILL - 2:
                break
            await asyncio.sleep(0.2)
        size = self.process.memory_info().rss
        await self.graphs.runs.CancelRun(run_pb2.CancelRunRequest(run_id=run.id))
        return (size - before) / (1 << 20), size / (1 << 20)


def service_process(yard: Yard) -> psutil.Process:
    """The process of a yard's graph service."""
    named = (
        process
        for process in psutil.process_iter(["cmdline"])
        if "services.graph" in (process.info["cmdline"] or ()) and str(yard.state) in process.info["cmdline"]
    )
    return next(named)


async def _measure(yard: Yard, address: str) -> list[Figure]:
    async with bundled(yard) as bundle:
        graphs = Graphs(yard, address)
        try:
            sizes = Sizes(yard, graphs, bundle)
            # First, while the service has nothing else in memory.
            grown, size = await sizes.still_mib()
            chain = await graphs.save(canvas(*layers(10, WIDTH, PARENTS), bundle))
            large = await graphs.save(canvas(*layers(1_000, WIDTH, PARENTS), bundle))
            await graphs.run_s(chain)
            firsts = [await first_event_ms(graphs, chain) for _ in range(20)]
            figures = [Figure("StartRun → first message of WatchRun, 100 nodes", "ms", tuple(firsts), "≤ 50")]
            firsts = [await first_event_ms(graphs, large) for _ in range(3)]
            figures.append(Figure("the same, 10,000 nodes", "ms", tuple(firsts), "≤ 50"))
            for nodes in SIZES:
                elapsed, used = await sizes.a_node(nodes)
                figures += [
                    Figure(f"layers of 10, {nodes:,} nodes: a node", "ms", tuple(elapsed), "flat"),
                    Figure("the same, the graph service's processor time", "ms", tuple(used), "flat"),
                ]
            figures += [
                Figure("a run of 10,000 nodes, all at work: the graph service grows by", "MiB", (grown,)),
                Figure("its resident set then", "MiB", (size,)),
            ]
            return figures
        finally:
            await graphs.channel.close()


def measure() -> list[Figure]:
    graphs = {nodes: planned(nodes) for nodes in SIZES}
    costs: dict[int, list[float]] = {nodes: [] for nodes in SIZES}
    for _ in range(ROUNDS):
        for nodes, graph in graphs.items():
            costs[nodes].append(completion_us(graph))
    ratios = tuple(large / small for small, large in zip(costs[100], costs[10_000], strict=True))
    figures = [
        Figure(f"a completion in the pure machine, {nodes:,} nodes", "µs", tuple(runs)) for nodes, runs in costs.items()
    ]  # fmt: skip
    figures.append(Figure("ratio of 10,000 to 100 nodes", "", ratios, "0.8 – 1.2"))
    with running_yard() as yard, graph_service(yard) as address:
        return figures + asyncio.run(_measure(yard, address))
