"""Models as nodes of a canvas: a file is registered, deployed and called, by the task's own account (S2.5, S2.6)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from modelyard.v1 import run_pb2
from tests.support.yard import Yard, new_yard

pytestmark = pytest.mark.asyncio
GREETER = """
class Greeter:
    def predict(self, name: str) -> str:
        return f"hello {name}"
"""


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard(is_up=False, agents=2) as made:
        up = made.up("--models")
        assert up.code == 0, f"{up.stderr}\n{made.logs()}"
        yield made


def node(name: str, operator: str, **params: Any) -> dict[str, Any]:
    return {"id": name, "operator": operator, "initial_params": params, "record": True}


async def test_file_becomes_a_model_that_is_deployed_and_called(yard: Yard) -> None:
    write = ["python", "-c", f"open('g.py', 'w').write({GREETER!r})"]
    nodes = [
        {"id": "source", "command": {"argv": write, "outputs": {"out": "g.py"}}},
        {**node("push", "model.push", filename="greeter.py", alias="champion")},
        node("deploy", "model.deploy", routes=["greeter:champion"]),
        node("who", "echo", value={"name": "Ada"}),
        node("call", "model.call", model="hello"),
        node("load", "model.load", model="greeter"),
    ]
    nodes[1]["initial_params"]["name"] = "greeter"
    nodes[2]["initial_params"]["name"] = "hello"
    edges = [
        {"source": "source", "source_port": "out", "target": "push", "target_port": "component"},
        {"source": "push", "target": "deploy", "kind": "order"},
        {"source": "deploy", "target": "call", "kind": "order"},
        {"source": "who", "target": "call", "target_port": "inputs"},
        {"source": "call", "target": "load", "kind": "order"},
    ]
    async with yard.client() as client:
        project = (await client.projects.create("greets")).id
        saved = await client.projects.save(project, json.dumps({"nodes": nodes, "edges": edges}))
        assert not saved.problems, saved.problems
        ended = await client.runs.wait((await client.runs.start(project)).id)
        assert ended.state == run_pb2.RUN_STATE_SUCCEEDED, ended.error
        found = {one.node_id: one for one in await client.runs.nodes(ended.id)}
        [told, *_] = found["call"].outputs
        assert json.loads(told.value_json) == {"result": "hello Ada"}
        version = await client.models.version("greeter", "champion")
        assert version.lineage.task_id == found["push"].task


async def test_what_cannot_be_called_is_told_by_the_node(yard: Yard) -> None:
    async with yard.client() as client:
        project = (await client.projects.create("calls nobody")).id
        canvas = {"nodes": [node("call", "model.call", model="nobody")], "edges": []}
        await client.projects.save(project, json.dumps(canvas))
        ended = await client.runs.wait((await client.runs.start(project)).id)
        assert ended.state == run_pb2.RUN_STATE_FAILED
        assert "nobody" in ended.error.message and "Traceback" not in ended.error.message
