"""From a document to an execution graph in its order: what reading, judging and planning cost; judging again."""

import asyncio
import random
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from bench.figures import Figure, repeat
from services.chassis.clock import SystemClock
from services.chassis.process.memory import settle
from services.chassis.storage.sqlite import Database, load_migrations, load_queries
from services.graph.canvases import document
from services.graph.canvases.canvas import Canvas, Edge, Node
from services.graph.canvases.operators import Operator, Port
from services.graph.canvases.planning import plan
from services.graph.canvases.validation import validate
from services.graph.convert.work import Bodies
from services.graph.model import Order
from services.graph.projects.library import Library
from services.graph.records.projects import Projects

NODES = 10_000
EDGES = 20_000
TYPICAL_NODES = 185
"""A size that users of other tools complain about."""
ROUNDS = 7
_SCHEMA = {
    "title": "noop",
    "type": "object",
    "additionalProperties": False,
    "properties": {"w": {"type": "integer", "minimum": 0}},
}
OPERATORS = {
    "noop": Operator(
        "noop", "1", _SCHEMA, (Port("value", "json"),), (Port("result", "json"),), code_digest="c"
    )
}


class _Source:
    async def operators(self) -> Mapping[str, Operator]:
        return OPERATORS


def canvas_of(nodes: int, edges: int, seed: int = 1) -> Canvas:
    """A random graph without cycles, dragged in at random times."""
    chance = random.Random(seed)
    ends = [sorted(chance.sample(range(nodes), 2)) for _ in range(edges)]
    return Canvas(
        tuple(
            Node(
                id=f"n{number}", operator="noop@1", drag_in_time_ns=chance.randrange(1, 10**18),
                drag_sequence=number + 1, initial_params={"w": number},
            )
            for number in range(nodes)
        ),
        tuple(Edge(id=f"e{number}", source=f"n{a}", target=f"n{b}") for number, (a, b) in enumerate(ends)),
    )  # fmt: skip


def parse_and_plan_ms(order: Order, text: bytes) -> float:
    """Milliseconds from the bytes of a document to its graph, judged and planned."""
    settle()
    begun = time.perf_counter()
    canvas, problems = document.read(text)
    problems += validate(canvas, OPERATORS, lambda node: None)
    graph = plan(canvas, document.digest_of(text), OPERATORS, Bodies(), order)
    assert not problems and len(graph.nodes) == NODES
    return (time.perf_counter() - begun) * 1e3


async def judge_ms(folder: Path) -> tuple[list[float], list[float], int]:
    """Milliseconds of first and of second validations of canvases, and how many were looked at twice."""
    database = await Database.open(folder / "graph.db", load_migrations("services.graph"))
    library = Library(Projects(database, load_queries("services.graph")), _Source(), SystemClock())
    first: list[float] = []
    again: list[float] = []
    for seed in range(ROUNDS):
        canvas = canvas_of(TYPICAL_NODES, TYPICAL_NODES * 2, seed)
        digest = document.digest(canvas)
        for times in (first, again):
            begun = time.perf_counter()
            verdict = await library.judge(canvas, digest)
            times.append((time.perf_counter() - begun) * 1e3)
            assert not verdict.problems
    await database.close()
    return first, again, library.judged - ROUNDS


def measure() -> list[Figure]:
    text = document.write(canvas_of(NODES, EDGES))
    name = f"random graph of {NODES:,} nodes, {EDGES:,} edges: read, validate and plan"
    figures = [
        Figure(
            f"{name}, {order.value}",
            "ms",
            repeat(ROUNDS, lambda order=order: parse_and_plan_ms(order, text)),
            "< 1 s",
        )
        for order in Order
    ]
    with tempfile.TemporaryDirectory() as folder:
        first, again, twice = asyncio.run(judge_ms(Path(folder)))
    return [
        *figures,
        Figure(f"validate and plan {TYPICAL_NODES} nodes", "ms", tuple(first), "< 100 ms"),
        Figure(
            f"validate {TYPICAL_NODES} nodes again", "ms", tuple(again), "0", f"{twice} were looked at again"
        ),
    ]
