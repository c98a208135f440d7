"""KFP pipelines with conditions, loops within loops and a fan-in run once their components have code (G3)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.bundle import pack_directory
from modelyard.client.aio import Client
from modelyard.v1 import canvas_pb2, run_pb2
from tests.support.kfp_pipelines import branches, loops
from tests.support.yard import Yard, new_yard

CODE = """
from typing import Any
from modelyard import Input, operator

@operator(outputs={"Output": "json"})
def flip(face: str) -> str:
    return face

@operator(outputs={"Output": "json"})
def say(text: str) -> str:
    return text

def after() -> str:
    return "after"

def tell(text: Input[Any] = None) -> str:
    return f"told {text}"

@operator(outputs={"Output": "json"})
def square(number: Input[Any] = 0) -> int:
    return number * number

@operator(outputs={"Output": "json"})
def sum(values: Input[Any] = ()) -> int:
    total = 0
    for value in values:
        total += value
    return total

def collect(values: Input[Any] = ()) -> list[Any]:
    return list(values)
"""


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard() as yard:
        yield yard


async def project_of(client: Client, name: str, pipeline: dict[str, Any]) -> str:
    """A project with the pipeline, in which the team's code stands for the components."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "parts.py").write_text(CODE)
        archive, digest = pack_directory(Path(folder))
        await client.artifacts.put(archive)
        archive.unlink()
    converted = await client.projects.import_(json.dumps(pipeline).encode())
    assert converted.format == "kfp"
    assert all("no agent offers" in finding.message for finding in converted.findings), converted.findings
    canvas = converted.canvas_json.replace('"placeholder:', '"parts:')
    project = (await client.projects.create(name)).id
    saved = await client.projects.import_(
        canvas.encode(), format="canvas", project=project, bundle_digest=digest
    )
    assert not saved.problems, saved.problems
    return project


async def ended(client: Client, project: str, **params: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results of the sinks, and the nodes by id."""
    begun = await client.runs.start(project, params=params, refresh=True)
    run = await client.runs.wait(begun.id)
    assert run.state == run_pb2.RUN_STATE_SUCCEEDED, run.error
    results = {sink.node_id: json.loads(sink.outputs[0].value_json) for sink in run.results if sink.outputs}
    return results, {node.node_id: node for node in await client.runs.nodes(run.id)}


@pytest.mark.asyncio
@pytest.mark.parametrize(("face", "way"), [("heads", 2), ("tails", 3), ("edge", 4)])
async def test_kfp_if_elif_else_takes_one_way_and_gives_its_output(yard: Yard, face: str, way: int) -> None:
    async with yard.client() as client:
        project = await project_of(client, f"faces-{face}", branches())
        results, nodes = await ended(client, project, face=face)
        assert results["tell"] == f"told way {way}"
        ran = {
            name.split("/")[1]
            for name, node in nodes.items()
            if name.endswith(("/say", "/after")) and node.detail == canvas_pb2.EXECUTION_DETAIL_COMPUTED
        }
        assert ran == {f"condition-{way}"}


@pytest.mark.asyncio
async def test_kfp_loops_within_loops_and_a_fan_in(yard: Yard) -> None:
    async with yard.client() as client:
        project = await project_of(client, "rows", loops())
        assert (await ended(client, project))[0] == {"collect": [5, 0, 9]}
        assert (await ended(client, project, rows=[[4]]))[0] == {"collect": [16]}
