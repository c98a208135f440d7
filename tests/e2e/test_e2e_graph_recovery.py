"""The graph service dies by kill -9 at every point of its step, again and again: no committed node runs again, none is
lost, and the log is the one of a run that nothing happened to (issue 4, point 8)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.client.aio import Client
from modelyard.v1 import run_pb2
from services.chassis.failpoints import POINTS
from tests.support.graph_documents import bundle, document, node
from tests.support.graph_owed import wait_until_nothing_is_owed
from tests.support.processes import Processes
from tests.support.yard import Yard, new_yard

GRAPH_POINTS = sorted(name for name in POINTS if name.startswith("graph.") and not name.endswith("_firing"))


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: services live longer than one."""


@pytest.fixture(scope="module")
def processes() -> Iterator[tuple[Yard, Processes]]:
    with new_yard(is_up=False, agents=2) as yard:
        made = Processes(yard)
        yield yard, made
        made.stop()


def canvas(marks: Path, digest: str) -> str:
    """Four levels: a source, a fan of three, crossed, a sink; beside it a map over what the fan gave."""
    names = [f"l{level}n{place}" for level in (1, 2) for place in range(3)]
    nodes = [node("s", "begin", marks, digest, cache="off", params={"sleep_s": 0.02})]
    nodes += [node(name, "add", marks, digest, cache="off", params={"sleep_s": 0.02}) for name in names]
    nodes.append(node("z", "add", marks, digest, cache="off", record=True))
    edges = [("s", f"l1n{place}") for place in range(3)]
    edges += [(f"l1n{a}", f"l2n{b}") for a in range(3) for b in range(3) if a != b]
    edges += [(f"l2n{place}", "z") for place in range(3)]
    nodes.append(node("c", "count", marks, digest, cache="off"))
    nodes.append({"id": "m", "map": {"subgraph": "each"}, "record": True})
    edges += [(f"l1n{place}", "c") for place in range(3)] + [("c", "m", "items")]
    item = node("i", "add", marks, digest, cache="off", params={"sleep_s": 0.02, "plus": 1})
    each = {
        "canvas": {"nodes": [item]},
        "inputs": [{"name": "x", "node": "i", "port": "values"}],
        "outputs": [{"name": "y", "node": "i", "port": "result"}],
    }
    return document(nodes, edges, subgraphs={"each": each})


async def ended(client: Client, made: Processes, run: str, wish: str) -> tuple[run_pb2.Run, int]:
    """The run once it has ended, and how often the service died meanwhile; it is started again each time."""
    deaths = 0
    while True:
        if made.ended("graph") is not None:
            deaths += 1
            made.start("graph", wish if deaths < 2 else "")
        with contextlib.suppress(Exception):
            found = await asyncio.wait_for(client.runs.get(run), 1)
            if found.state > run_pb2.RUN_STATE_PAUSED:
                return found, deaths
        await asyncio.sleep(0.02)


@pytest.mark.asyncio
@pytest.mark.timeout(120)
@pytest.mark.parametrize("nth", [1, 3, 8])
@pytest.mark.parametrize("point", GRAPH_POINTS)
async def test_run_outlives_a_service_that_is_killed_at(
    point: str, nth: int, processes: tuple[Yard, Processes]
) -> None:
    yard, made = processes
    folder = Path(tempfile.mkdtemp(dir=yard.state))
    marks = folder / "marks"
    made.restart("graph", "")
    async with yard.client() as client:
        digest = await bundle(client)
        project = (await client.projects.create(folder.name)).id
        await client.projects.save(project, canvas(marks, digest), parent=0)
        wish, request_id = f"{point}:kill@{nth}", str(uuid.uuid4())
        wait_until_nothing_is_owed(yard)
        made.restart("graph", wish)
        run = ""
        while not run:
            # Whoever repeats a request under its id gets the same run, also if the service died before it could answer.
            if made.ended("graph") is not None:
                made.start("graph")
                yard.wait_for("graph")
            with contextlib.suppress(Exception):
                run = (await asyncio.wait_for(client.runs.start(project, request_id=request_id), 2)).id
        found, _ = await ended(client, made, run, wish)
        if point.endswith("errand"):
            # It dies for what it owes after the run's end.
            await asyncio.to_thread(made.restart, "graph", "")
        assert found.state == run_pb2.RUN_STATE_SUCCEEDED, found.error
        values = {sink.node_id: json.loads(sink.outputs[0].value_json) for sink in found.results}
        assert values == {"z": 6, "m": [2, 2, 2]}
        nodes = await client.runs.nodes(run)
        assert sorted(each.commit_sequence for each in nodes) == list(range(1, 14))
        times = Counter(marks.read_text().split())
        once = {each.node_id: 1 for each in nodes if not each.node_id.startswith("m")}
        assert times == {**once, "i": 3}, "a node ran twice, or not at all"
        listed = (await client.runs.list(project)).runs
        assert [each.id for each in listed] == [run]


def test_points_are_those_of_the_step() -> None:
    assert GRAPH_POINTS == [
        "graph.after_commit", "graph.after_errand", "graph.after_submit", "graph.before_commit", "graph.before_errand",
        "graph.before_submit",
    ]  # fmt: skip
