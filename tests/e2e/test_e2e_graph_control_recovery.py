"""The graph service dies by kill -9 in the middle of a map, a loop, and at gates: nothing that was committed runs
again, nothing is lost (issue 4, points 7 and 8)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Iterator

import pytest

from modelyard.client.aio import Client
from modelyard.errors import YardError
from modelyard.v1 import run_pb2
from tests.support.graph_bench import Bench, values
from tests.support.graph_documents import body, document
from tests.support.processes import Processes
from tests.support.wait import wait_until
from tests.support.yard import Yard, new_yard


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: services live longer than one."""


@pytest.fixture(scope="module")
def processes() -> Iterator[tuple[Yard, Processes]]:
    with new_yard(is_up=False, agents=2) as yard:
        made = Processes(yard)
        yield yard, made
        made.stop()


def canvas(bench: Bench) -> str:
    """A map of chains of two with a gate in the body of one of its items' maps; a loop; a gate; all in a row."""
    pair = body(
        [bench.node("s", "step", cache="off", params={"sleep_s": 0.02}), bench.node("t", "add", cache="off")],
        [("s", "t")], {"in": "s"}, {"out": "t"},
    )  # fmt: skip
    rounds = body(
        [bench.node("each", "same", cache="off"), {"id": "m", "map": {"subgraph": "pair", "max_parallel": 2}}],
        [("each", "m", "items")], {"out": "each"}, {"out": "m.out"},
    )  # fmt: skip
    asked = body([{"id": "ask", "gate": {}}], [], {"in": "ask.value"}, {"out": "ask.value"})
    nodes = [
        bench.node("n", "numbers", cache="off", params={"count": 12}),
        {"id": "m", "map": {"subgraph": "pair", "max_parallel": 4}},
        {"id": "l", "loop": {"subgraph": "rounds", "max_iterations": 3}},
        bench.node("two", "numbers", cache="off", params={"count": 2}),
        {"id": "gates", "map": {"subgraph": "asked"}},
        {"id": "last", "gate": {"message": "all well?"}},
    ]
    edges = [
        ("n", "m", "items"), ("m", "l", "out", "out"), ("two", "gates", "items"),
        ("l", "last", "value", "out"),
    ]  # fmt: skip
    return document(nodes, edges, subgraphs={"pair": pair, "rounds": rounds, "asked": asked})


async def approve_all(client: Client, run: str) -> run_pb2.Run | None:
    """The run, after every gate that waits was decided over; None: the service does not answer just now."""
    with contextlib.suppress(YardError, TimeoutError):
        async with asyncio.timeout(3):
            for gate in await client.runs.gates(run):
                await client.runs.approve(run, gate.node_id)
            return await client.runs.get(run)
    return None


@pytest.mark.asyncio
@pytest.mark.timeout(180)
@pytest.mark.parametrize("point", ["graph.before_commit", "graph.after_submit"])
async def test_service_that_dies_again_and_again_goes_on_in_bodies_and_at_gates(
    point: str, processes: tuple[Yard, Processes]
) -> None:
    yard, made = processes
    made.restart("graph", "")
    yard.wait_for("graph")
    async with Bench(yard) as bench:
        await bench.save(canvas(bench))
        run = (await bench.client.runs.start(bench.project)).id
        made.end("graph")
        deaths, found = 0, None
        async with asyncio.timeout(120):
            while found is None or found.state <= run_pb2.RUN_STATE_PAUSED:
                if made.ended("graph") is not None:
                    deaths += 1
                    # Every life ends a few steps further on, perhaps before it serves; the last one not at all.
                    made.start("graph", f"{point}:kill@{4 * deaths}" if deaths < 5 else "")
                found = await approve_all(bench.client, run)
                await asyncio.sleep(0.02)
        assert found.state == run_pb2.RUN_STATE_SUCCEEDED, found.error
        assert deaths > 2
        assert values(found) == {"gates": [0, 1], "last": [*range(12)]}
        nodes = await bench.client.runs.nodes(run)
        assert sorted(node.commit_sequence for node in nodes) == [*range(1, len(nodes) + 1)]
        assert len(nodes) == 6 + 12 * 2 + 3 * (2 + 12 * 2) + 2
        times = Counter(mark.partition(":")[0] for mark in bench.marked())
        assert times == {"n": 1, "two": 1, "each": 3, "s": 12 * 4, "t": 12 * 4}, (
            "a node ran twice, or not at all"
        )
        assert json.loads(found.results[0].outputs[0].value_json) == [0, 1]


async def waiting(client: Client, run: str) -> bool:
    return (await client.runs.get(run)).gated_count == 1


@pytest.mark.asyncio
@pytest.mark.timeout(60)
async def test_gate_waits_on_over_a_restart_and_times_out_from_when_it_began(
    processes: tuple[Yard, Processes],
) -> None:
    yard, made = processes
    made.restart("graph", "")
    yard.wait_for("graph")
    async with Bench(yard) as bench:
        nodes = [{"id": "long", "gate": {}}, {"id": "short", "gate": {}, "timeout_s": 1.5}]
        await bench.save(document(nodes, []))
        run = (await bench.client.runs.start(bench.project)).id
        made.restart("graph", "")
        yard.wait_for("graph")
        await wait_until(lambda: waiting(bench.client, run), "one gate waits no more")
        made.restart("graph", "")
        yard.wait_for("graph")
        # What nobody decided over in time waits for nobody, also after another restart.
        assert [gate.node_id for gate in await bench.client.runs.gates(run)] == ["long"]
        await bench.client.runs.approve(run, "long")
        ended = await bench.client.runs.wait(run)
        assert "nobody decided in time" in ended.error.message
