"""An image by one word: `yard run --image`, and a command of a canvas between an operator and another command."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from modelyard.enclosure.container import LABEL
from modelyard.enclosure.engine import Engine
from modelyard.v1 import run_pb2
from services.agent.host.cookies import cookie
from tests.support.enclosed_frames import IMAGE, need
from tests.support.graph_bench import Bench
from tests.support.wait import wait_until
from tests.support.yard import Yard, new_yard

DOUBLE = """
import os, pathlib
number = int(pathlib.Path(os.environ["YARD_INPUT_NUMBER"]).read_text())
pathlib.Path("twice").write_text(f"{2 * number} in {os.getcwd()}")
"""


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    need("container")
    with new_yard(agents=1) as made:
        yield made


def containers(yard: Yard) -> list[str]:
    (home,) = yard.agent_homes()
    labelled = Engine.find(os.environ).labelled(LABEL)
    return [one for one, whose in labelled.items() if whose.startswith(cookie(home, ""))]


def test_run_with_an_image_ends_with_the_commands_code_and_keeps_its_files(yard: Yard) -> None:
    program = "import os; open('made', 'w').write('x' * 7); print(os.getcwd()); raise SystemExit(7)"
    words = ("--image", IMAGE, "--keep", "made", "--memory", "128Mi", "--", "python3", "-c", program)
    done = yard.cli("run", *words)
    assert (done.code, done.stdout) == (7, "/task/work\n"), f"{done.stderr}\n{yard.logs()}"
    task = yard.json("tasks", "ls")["tasks"][0]
    assert task["spec"]["environment"] == {"image": IMAGE}
    shown = yard.cli("tasks", "get", task["id"]).stdout
    assert f"{IMAGE}, network none" in shown and "container" in shown
    assert not containers(yard)


def test_wrong_containers_are_refused_with_what_to_do(yard: Yard) -> None:
    refused = yard.cli("run", "--image", IMAGE, "--network", "host", "--", "true")
    assert "environment.network" in refused.stderr and "none, bridge" in refused.stderr
    missing = yard.cli("run", "--image", "127.0.0.1:9/no/such:1", "--", "true")
    assert missing.code == 1 and "cannot be pulled" in missing.stderr and "docker pull" in missing.stderr


def document(bench: Bench, image: str) -> str:
    nodes: list[dict[str, Any]] = [
        bench.node("number", "begin", params={"value": 21}),
        {
            "id": "double",
            "command": {"argv": ["python3", "-c", DOUBLE], "outputs": {"twice": "twice"}},
            "environment": {"image": image, "network": "none"},
        },
        {
            "id": "quote",
            "command": {
                "argv": ["sh", "-c", 'echo "<$(cat $YARD_INPUT_TEXT)>" > out'],
                "outputs": {"out": "out"},
            },
        },
    ]
    edges = [
        {"id": "a", "source": "number", "source_port": "result", "target": "double", "target_port": "number"},
        {"id": "b", "source": "double", "source_port": "twice", "target": "quote", "target_port": "text"},
    ]
    return json.dumps({"format": "canvas/1", "nodes": nodes, "edges": edges})


@pytest.mark.asyncio
async def test_container_is_a_node_between_an_operator_and_a_command(yard: Yard) -> None:  # S1.4
    async with Bench(yard) as bench:
        await bench.save(document(bench, IMAGE))
        run = await bench.run()
        assert run.state == run_pb2.RUN_STATE_SUCCEEDED, run.error
        (sink,) = run.results
        target = bench.folder / "out"
        await bench.client.artifacts.get(sink.outputs[0].digest, target)
        assert target.read_text() == "<42 in /task/work>\n"
        # The image is part of what computes the node.
        assert (await bench.run()).cached_count == 3
        await bench.save(document(bench, f"docker.io/library/{IMAGE}"), parent=1)
        assert (await bench.run()).cached_count == 2


@pytest.mark.asyncio
async def test_cancelled_run_takes_its_container_along(yard: Yard) -> None:
    async with Bench(yard) as bench:
        argv = ["python3", "-c", "import time; time.sleep(600)"]
        node = {"id": "long", "command": {"argv": argv}, "environment": {"image": IMAGE}}
        await bench.save(json.dumps({"format": "canvas/1", "nodes": [node], "edges": []}))
        begun = await bench.client.runs.start(bench.project)
        await wait_until(lambda: containers(yard), "it runs", timeout_s=60)
        await bench.client.runs.cancel(begun.id)
        async with asyncio.timeout(60):
            ended = await bench.client.runs.wait(begun.id)
        assert ended.state == run_pb2.RUN_STATE_CANCELLED
        await wait_until(lambda: not containers(yard), "its container is gone", timeout_s=60)


@pytest.mark.asyncio
async def test_operator_with_an_image_is_told_while_the_canvas_is_judged(yard: Yard) -> None:  # S1.3
    async with Bench(yard) as bench:
        node = bench.node("number", "begin", environment={"image": IMAGE})
        text = json.dumps({"format": "canvas/1", "nodes": [node], "edges": []})
        answer = await bench.client.projects.save(bench.project, text)
        (problem,) = answer.problems
        assert (problem.node, problem.field) == ("number", "environment.image")
        assert "only commands and programs of jobs run in containers" in problem.message
