"""No-op operators through the whole suite: a chain, a fan, layers, a map; milliseconds a node, all on disk."""

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from bench.figures import Figure
from bench.yard import Yard, running_yard
from modelyard.bundle import pack_directory
from modelyard.channel import connect
from modelyard.client import Client
from modelyard.v1 import canvas_pb2, canvas_pb2_grpc, run_pb2, run_pb2_grpc

RUNS = 5
MAPPED = (1_000, 10_000)
CODE = """
import time
from typing import Any
from modelyard import Input

def source(number: int = 0) -> int:
    return number

def noop(value: Input[Any]) -> int:
    return 1

def numbers(count: int = 0) -> list[int]:
    return list(range(count))

def still(value: Input[Any]) -> int:
    time.sleep(600)
    return 1
"""
Edges = list[tuple[int, int]]


def chain(count: int) -> tuple[int, Edges]:
    return count, [(i, i + 1) for i in range(count - 1)]


def fan(count: int) -> tuple[int, Edges]:
    """One, `count` beside each other, one."""
    middle = range(1, count + 1)
    return count + 2, [(0, i) for i in middle] + [(i, count + 1) for i in middle]


def layers(depth: int, width: int, parents: int) -> tuple[int, Edges]:
    edges = [
        ((layer - 1) * width + (place + step) % width, layer * width + place)
        for layer in range(1, depth)
        for place in range(width)
        for step in range(parents)
    ]
    return depth * width, edges


def canvas(count: int, edges: Edges, bundle: str) -> str:
    """The document. Nothing comes from the cache: what is measured is the work."""
    fed = {target for _, target in edges}
    nodes = [
        {
            "id": f"n{i}", "operator": "bench_noop:noop" if i in fed else "bench_noop:source", "bundle_digest": bundle,
            "cache": "off", "drag_in_time": "2026-01-02T03:04:05Z",
        }
        for i in range(count)
    ]  # fmt: skip
    lines = [
        {"id": f"e{i}", "source": f"n{a}", "source_port": "result", "target": f"n{b}", "target_port": "value"}
        for i, (a, b) in enumerate(edges)
    ]
    return json.dumps({"format": "canvas/1", "nodes": nodes, "edges": lines})


def mapped(items: int, bundle: str) -> str:
    """A map whose body is one no-op; each item is another number, so each node has inputs of its own."""

    def node(id_: str, operator: str, **settings: object) -> dict[str, object]:
        work = {"operator": f"bench_noop:{operator}", "bundle_digest": bundle, "cache": "off"}
        return {"id": id_, **work, "drag_in_time": "2026-01-02T03:04:05Z", **settings}

    body = {
        "canvas": {"nodes": [node("one", "noop")]},
        "inputs": [{"name": "item", "node": "one", "port": "value"}],
        "outputs": [{"name": "result", "node": "one"}],
    }
    return json.dumps(
        {
            "format": "canvas/1",
            "nodes": [
                node("numbers", "numbers", initial_params={"count": items}),
                {"id": "each", "map": {"subgraph": "body"}},
                node("last", "noop"),
            ],
            "edges": [
                {"source": "numbers", "source_port": "result", "target": "each", "target_port": "items"},
                {"source": "each", "target": "last", "target_port": "value"},
            ],
            "subgraphs": {"body": body},
        }
    )


class Graphs:
    """The graph service of a yard."""

    def __init__(self, yard: Yard, address: str) -> None:
        token = (yard.state / "secrets" / "admin.token").read_text().strip()
        self.channel = connect(address, token=token)
        self.projects = canvas_pb2_grpc.ProjectServiceStub(self.channel)
        self.runs = run_pb2_grpc.RunServiceStub(self.channel)

    async def save(self, document: str) -> str:
        project = (
            await self.projects.CreateProject(canvas_pb2.CreateProjectRequest(name=uuid.uuid4().hex))
        ).project
        request = canvas_pb2.SaveCanvasRequest(
            project_id=project.id, canvas_json=document, must_be_valid=True
        )
        await self.projects.SaveCanvas(request)
        return project.id

    async def run_s(self, project: str) -> float:
        """Seconds from the request to the end of a run, as its caller sees it."""
        begun = time.perf_counter()
        request = run_pb2.StartRunRequest(request_id=str(uuid.uuid4()), project_id=project)
        run = (await self.runs.StartRun(request)).run
        async for told in self.runs.WatchRun(
            run_pb2.WatchRunRequest(run_id=run.id, revision=run.revision, without_nodes=True)
        ):
            if told.run.state > run_pb2.RUN_STATE_PAUSED:
                run = told.run
        elapsed = time.perf_counter() - begun
        if run.state != run_pb2.RUN_STATE_SUCCEEDED:
            raise RuntimeError(f"the run did not succeed: {run.error.message}")
        return elapsed


async def per_node_ms(
    graphs: Graphs, shape: tuple[int, Edges], bundle: str, runs: int = RUNS
) -> tuple[float, ...]:
    count, edges = shape
    return await _each_ms(graphs, canvas(count, edges, bundle), count, runs)


async def _each_ms(graphs: Graphs, document: str, count: int, runs: int) -> tuple[float, ...]:
    project = await graphs.save(document)
    await graphs.run_s(project)
    return tuple([await graphs.run_s(project) / count * 1e3 for _ in range(runs)])


async def _measure(yard: Yard, address: str) -> list[Figure]:
    async with bundled(yard) as bundle:
        graphs = Graphs(yard, address)
        try:
            return [
                Figure(
                    "chain of 100, a node", "ms", await per_node_ms(graphs, chain(100), bundle), "≤ 2.5, aim 1.3"
                ),
                Figure(
                    "fan-out 1,000 → fan-in, a node", "ms", await per_node_ms(graphs, fan(1_000), bundle),
                    "≤ 0.2, aim 0.1",
                ),
                Figure(
                    "10 layers × 100, 3 parents each, a node", "ms",
                    await per_node_ms(graphs, layers(10, 100, 3), bundle), "≤ 0.2",
                ),
                Figure("fan of 100, a node", "ms", await per_node_ms(graphs, fan(100), bundle), "flat"),
                Figure("fan of 10,000, a node", "ms", await per_node_ms(graphs, fan(10_000), bundle, 3), "flat"),
                *[
                    Figure(
                        f"map of {items:,}, an item", "ms",
                        await _each_ms(graphs, mapped(items, bundle), items, 3), "flat",
                    )
                    for items in MAPPED
                ],
            ]  # fmt: skip
        finally:
            await graphs.channel.close()


@contextlib.asynccontextmanager
async def bundled(yard: Yard) -> AsyncIterator[str]:
    """The operators in the store; their bundle's digest. Its workers are warm."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bench_noop.py").write_text(CODE)
        archive, bundle = pack_directory(Path(folder))
        async with Client(state=yard.state) as client:
            await client.artifacts.put(archive)
            archive.unlink()
            await client.map(
                "bench_noop:source", [{"number": i} for i in range(64)], options={"bundle_digest": bundle}
            )
            yield bundle


@contextlib.contextmanager
def graph_service(yard: Yard) -> Iterator[str]:
    """The address of the yard's graph service; one is started where the yard has none."""
    address = f"127.0.0.1:{yard.port_base + 2}"
    if (yard.state / "run" / "graph.json").exists():
        yield address
        return
    command = [
        sys.executable, "-m", "services.graph", "--state", str(yard.state), "--port", str(yard.port_base + 2),
        "--scheduler", f"127.0.0.1:{yard.port_base}", "--store", f"127.0.0.1:{yard.port_base + 1}",
    ]  # fmt: skip
    with (yard.state / "graph.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        while not (yard.state / "run" / "graph.json").exists():
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()


def measure() -> list[Figure]:
    with running_yard() as yard, graph_service(yard) as address:
        return asyncio.run(_measure(yard, address))
