"""Lineage over a whole canvas: data → task → training job → model version → call, and back (issue 7.1)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from modelyard.errors import YardError
from modelyard.v1 import lineage_pb2 as pb
from modelyard.v1 import run_pb2
from tests.support.documents import blocks, type_in
from tests.support.yard import Yard, new_yard

GREETER = """
class Greeter:
    def predict(self, name: str) -> str:
        return "WORD " + name
"""
TRAIN = f"""
word = open("clean.txt").read().strip()
open("model.py", "w").write({GREETER!r}.replace("WORD", word))
"""
JOB = json.dumps(
    {
        "kind": "Job", "framework": "plain", "name": "fits", "resources": {"cpu": 0.2},
        "roles": {"worker": {"argv": ["python3", "-c", TRAIN], "clean": {"keep": ["model.py"]}}},
    }
)  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


class Story(NamedTuple):
    """What ran on the yard before the first test."""

    yard: Yard
    data: Path
    run: str
    job: str
    call: str


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard(is_up=False, agents=1) as made:
        up = made.up("--trainer", "--models")
        assert up.code == 0, f"{up.stderr}\n{made.logs()}"
        yield made


def canvas(data: str) -> str:
    def node(name: str, operator: str, **params: Any) -> dict[str, Any]:
        return {"id": name, "operator": operator, "initial_params": params, "record": True}

    push = node("push", "model.push", filename="greeter.py", alias="champion")
    push["initial_params"]["name"] = "greeter"
    clean = ["sh", "-c", "tr a-z A-Z < words.txt > clean.txt"]
    nodes = [
        {"id": "prepare", "command": {"argv": clean, "outputs": {"out": "clean.txt"}}, "bundle_digest": data},
        node("train", "train.run", job=JOB, keep="worker-0/model.py", data_name="clean.txt"),
        push,
        node("who", "echo", value={"name": "Ada"}),
        node("call", "model.call", model="greeter"),
    ]
    edges = [
        {"source": "prepare", "source_port": "out", "target": "train", "target_port": "data"},
        {"source": "train", "source_port": "file", "target": "push", "target_port": "component"},
        {"source": "push", "target": "call", "kind": "order"},
        {"source": "who", "target": "call", "target_port": "inputs"},
    ]
    return json.dumps({"nodes": nodes, "edges": edges})


@pytest.fixture(scope="module")
def story(yard: Yard, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The canvas, run to its end."""
    import asyncio

    data = tmp_path_factory.mktemp("words", numbered=False)
    (data / "words.txt").write_text("hello")

    async def tell() -> Story:
        async with yard.client() as client:
            digest = await client.artifacts.bundle(data)
            project = (await client.projects.create("greets")).id
            saved = await client.projects.save(project, canvas(digest))
            assert not saved.problems, saved.problems
            ended = await client.runs.wait((await client.runs.start(project)).id)
            assert ended.state == run_pb2.RUN_STATE_SUCCEEDED, ended.error
            found = {one.node_id: one for one in await client.runs.nodes(ended.id)}
            told = [json.loads(one.value_json) for one in found["call"].outputs if one.value_json]
            assert {"result": "HELLO Ada"} in told
            [job] = (await client.jobs.list()).jobs

            return Story(yard, data, ended.id, job.id, found["call"].task)

    return asyncio.run(tell())


def ids(graph: pb.LineageGraph, kind: str) -> list[str]:
    return [one.id for one in graph.things if pb.ThingKind.Name(one.kind) == f"THING_KIND_{kind}"]


@pytest.mark.asyncio
async def test_data_file_leads_to_the_models_that_were_trained_with_it_and_to_who_called_them(
    story: Story,
) -> None:
    async with story.yard.client() as client:
        found = await client.lineage.of(str(story.data), up=False)
    assert not found.gaps
    assert found.subject.kind == pb.THING_KIND_ARTIFACT
    assert story.job in ids(found, "JOB")
    assert ids(found, "MODEL_VERSION") == ["greeter:1"]
    assert ids(found, "ALIAS") == ["greeter@champion"]
    assert story.call in ids(found, "TASK")
    assert {f"{story.run}/{name}" for name in ("prepare", "train", "push", "call")} <= {*ids(found, "NODE")}
    assert not ids(found, "RUN"), "a run comes before its nodes, it was not made of the data"


@pytest.mark.asyncio
async def test_answer_leads_back_to_version_job_code_and_data(story: Story) -> None:
    async with story.yard.client() as client:
        found = await client.lineage.of(story.call, down=False)
        data = (await client.lineage.of(str(story.data))).subject.id
    assert not found.gaps
    assert ids(found, "MODEL_VERSION") == ["greeter:1"]
    assert ids(found, "JOB") == [story.job] and ids(found, "FRAMEWORK") == ["plain"]
    assert ids(found, "RUN") == [story.run] and ids(found, "CANVAS") == ["p-1:1"]
    assert data in ids(found, "ARTIFACT")
    assert not any(one.is_hidden for one in found.things)


@pytest.mark.asyncio
async def test_service_that_does_not_answer_is_said_and_the_rest_is_shown(story: Story) -> None:
    async with story.yard.client(trainer="127.0.0.1:9") as client:
        found = await client.lineage.of(story.call, down=False)
    assert found.gaps == ["the trainer does not answer: links through training jobs are missing"]
    assert ids(found, "MODEL_VERSION") == ["greeter:1"] and ids(found, "RUN") == [story.run]
    assert [one.is_hidden for one in found.things if one.kind == pb.THING_KIND_JOB] == [False]


@pytest.mark.asyncio
async def test_word_that_names_nothing_is_not_found_whoever_is_away(story: Story) -> None:
    async with story.yard.client(trainer="127.0.0.1:9", models="127.0.0.1:9") as client:
        with pytest.raises(YardError, match="models service and the trainer cannot be reached") as nothing:
            await client.lineage.of("nothing-at-all")
        with pytest.raises(YardError, match=f"only the trainer knows what {story.job} is") as away:
            await client.lineage.of(story.job)
    assert (nothing.value.code, away.value.code) == ("NOT_FOUND", "UNAVAILABLE")
    assert "j-5 (job)" in nothing.value.next_step


def test_command_line_shows_a_line_for_each_thing_with_the_next_command(story: Story) -> None:
    done = story.yard.cli("lineage", "greeter@champion", "--up")
    assert done.code == 0, done.stderr
    assert done.stdout.startswith("alias greeter@champion")
    assert f"yard train get {story.job}" in done.stdout and f"yard graph show {story.run}" in done.stdout
    drawn = story.yard.cli("lineage", story.job, "-o", "mermaid")
    assert drawn.stdout.startswith("flowchart LR") and "greeter:1" in drawn.stdout
    document = json.loads(story.yard.cli("lineage", story.job, "--down", "-o", "json").stdout)
    assert document["subject"]["id"] == story.job and document["edges"]
    missing = story.yard.cli("lineage", "t-99999")
    assert missing.code == 3 and "j-5 (job)" in missing.stderr


def shape(text: str) -> list[str]:
    """Its lines without what differs from yard to yard: times, digests, sizes, the width of columns."""
    masked = re.sub(r"(sha256:)?([0-9a-f]{64}|[0-9a-f]{12}…)|[0-9]+( (bytes|B|KiB))?", "#", text)
    return [" ".join(line.split()) for line in masked.splitlines()]


def test_what_the_page_shows_is_what_comes_out(story: Story, tmp_path: Path) -> None:
    [block] = blocks("docs/lineage.md", "console")
    [typed] = type_in(block.commands, story.yard.state, tmp_path)
    assert typed.code == 0, typed.stderr
    assert shape(block.text.partition("\n")[2]) == shape(typed.stdout)
