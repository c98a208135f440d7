"""What reaches a node on its agent: parameters of the agent's environment, texts of any length, uncopied files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelyard.bundle import pack_directory
from modelyard.client.aio import Client
from modelyard.v1 import canvas_pb2
from tests.support.yard import Yard, new_yard

DONE, ERROR = canvas_pb2.EXECUTION_STATE_DONE, canvas_pb2.EXECUTION_STATE_ERROR
FIRST, SECOND = "node-1", "node-2"
MIB = 1 << 20
CODE = """
import hashlib
import os
from pathlib import Path
from typing import Any

from modelyard import Context, File, Input, operator

PHRASE = 'a "quoted" text\\\\ with é, 😀\\nand lines\\n'


def text_of(size: int) -> str:
    return (PHRASE * (size // len(PHRASE) + 1))[:size]


def made(size: int) -> str:
    return text_of(size)


@operator(outputs={"long": "text", "longer": "text"})
def two(size: int) -> dict[str, Any]:
    return {"long": text_of(size), "longer": text_of(size + 1)}


def told(text: Input[str], data: Input[bytes] = b"", file: Input[Path] = None, value: Input[Any] = None) -> list[Any]:
    return [_facts(text), _facts(data.decode()), _facts(file.read_text()), _facts(value)]


def told_all(texts: Input[list[str]]) -> list[Any]:
    return [_facts(text) for text in texts]


def _facts(text: str) -> list[Any]:
    return [len(text), text == text_of(len(text))]


def write(ctx: Context, mib: int) -> File:
    path, block = ctx.directory / "large.bin", os.urandom(1 << 20)
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(block)
    return File(path)


def read(data: Input[Path]) -> dict[str, Any]:
    digest = hashlib.sha256()
    with data.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    found = data.stat()
    return {"inode": found.st_ino, "bytes": found.st_size, "digest": digest.hexdigest(), "path": str(data)}
"""


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    variables = {
        "MODELYARD_PARAM_WORDS": '{"find": "a", "replacement": "é"}',
        "MODELYARD_PARAM_LIST": "[1]",
        "DATABASE_PASSWORD": '{"find": "secret"}',
    }
    with new_yard(agents=2, environ=variables) as yard:
        yield yard


class Sheet:
    """A canvas of operators of a bundle, or of the catalogue."""

    def __init__(self, client: Client, bundle: str) -> None:
        self.client, self.bundle = client, bundle
        self.nodes: list[dict[str, Any]] = []
        self.edges: list[dict[str, Any]] = []

    @classmethod
    async def of(cls, client: Client) -> Sheet:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "passing.py").write_text(CODE)
            archive, digest = pack_directory(Path(folder))
            await client.artifacts.put(archive)
            archive.unlink()
        return cls(client, digest)

    def add(self, name: str, operator: str, params: dict[str, Any] | None = None, **fields: Any) -> None:
        own = {} if "." in operator else {"bundle_digest": self.bundle}
        work = {"operator": operator if "." in operator else f"passing:{operator}"}
        node = {"id": name, "initial_params": params or {}, "resources": {"cpu": 0.2}, "record": True}
        self.nodes.append(node | work | own | fields)

    def connect(self, source: str, target: str, port: str) -> None:
        giver, _, given = source.partition(".")
        self.edges.append(
            {
                "id": f"e{len(self.edges)}", "source": giver, "source_port": given or "result", "target": target,
                "target_port": port,
            }
        )  # fmt: skip

    async def run(self, name: str) -> dict[str, canvas_pb2.ExecutionNode]:
        """The nodes after a run, by id."""
        project = (await self.client.projects.create(name)).id
        return await self.run_again(project, 0)

    async def run_again(self, project: str, parent: int) -> dict[str, canvas_pb2.ExecutionNode]:
        document = json.dumps({"format": "canvas/1", "nodes": self.nodes, "edges": self.edges})
        answer = await self.client.projects.save(project, document, parent=parent)
        assert not answer.problems, answer.problems
        begun = await self.client.runs.start(project)
        async with asyncio.timeout(120):
            run = await self.client.runs.wait(begun.id)
        return {node.node_id: node for node in await self.client.runs.nodes(run.id)}


def value(node: canvas_pb2.ExecutionNode) -> Any:
    assert node.state == DONE, node.error
    return json.loads(node.outputs[0].value_json)


# Parameters


@pytest.mark.asyncio
async def test_node_gets_the_parameters_of_its_agents_environment(yard: Yard) -> None:  # S1.4, S1.5
    async with yard.client() as client:
        sheet = await Sheet.of(client)
        sheet.add("text", "text.split", {"by": "word"})
        sheet.nodes[0] |= {"operator": "echo", "initial_params": {"value": "banana"}}
        sheet.add("replaced", "text.replace", {"find": "b"}, parameter_address="env:WORDS")
        argv = ["sh", "-c", "cat $YARD_PARAMS > out"]
        work = {
            "command": {"argv": argv, "outputs": {"out": "out"}},
            "initial_params": {"find": "b", "more": 1},
        }
        sheet.nodes.append({"id": "command", "parameter_address": "env:WORDS", **work})
        sheet.add("shown", "files.read")
        sheet.connect("text", "replaced", "text")
        sheet.connect("command.out", "shown", "file")
        nodes = await sheet.run("environment")
        assert value(nodes["replaced"]) == "bénéné"
        assert json.loads(value(nodes["shown"])) == {"find": "a", "replacement": "é", "more": 1}
        task = await client.tasks.get(nodes["replaced"].task)
        assert task.usage.given_parameters.variable == "MODELYARD_PARAM_WORDS"
        assert json.loads(task.usage.given_parameters.params_json) == {"find": "a", "replacement": "é"}


@pytest.mark.asyncio
async def test_node_with_parameters_of_its_agent_is_never_taken_from_the_cache(yard: Yard) -> None:
    async with yard.client() as client:
        sheet = await Sheet.of(client)
        sheet.add("text", "text.split")
        sheet.nodes[0] |= {"operator": "echo", "initial_params": {"value": "banana"}}
        sheet.add("replaced", "text.replace", parameter_address="env:WORDS")
        sheet.connect("text", "replaced", "text")
        project = (await client.projects.create("env-cache")).id
        first = await sheet.run_again(project, 0)
        second = await sheet.run_again(project, 1)
        assert second["text"].detail == canvas_pb2.EXECUTION_DETAIL_CACHED
        assert second["replaced"].detail == canvas_pb2.EXECUTION_DETAIL_COMPUTED
        assert second["replaced"].task != first["replaced"].task
        why = "its parameters at env:WORDS are its agent's, and not known here"
        assert second["replaced"].cache_reason == why


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "wrong"),
    [("NONE", "is not set"), ("LIST", "is not a JSON object"), ("DATABASE_PASSWORD", "is not set")],
)
async def test_variable_that_an_agent_does_not_offer_fails_the_node(
    yard: Yard, name: str, wrong: str
) -> None:
    async with yard.client() as client:
        sheet = await Sheet.of(client)
        sheet.add("node", "text.join", parameter_address=f"env:{name}", placement={"node": SECOND})
        sheet.add("source", "text.split")
        sheet.nodes[1] |= {"operator": "echo", "initial_params": {"value": ["a"]}}
        sheet.connect("source", "node", "texts")
        node = (await sheet.run(f"env-{name}"))["node"]
        assert node.state == ERROR
        assert (
            node.error.message == f"the variable MODELYARD_PARAM_{name} of the agent on node {SECOND} {wrong}"
        )
        assert node.error.next_step.startswith(f"on {SECOND}: ")


def test_command_line_names_parameters_of_the_agent_and_goes_over_them(yard: Yard) -> None:  # S1.4
    result = yard.cli(
        "run", "--param-env", "WORDS", "--param", "find=b", "--", "sh", "-c", "cat $YARD_PARAMS"
    )
    assert json.loads(result.stdout) == {"find": "b", "replacement": "é"}
    refused = yard.cli("call", "echo", "--param-env", "DATABASE_PASSWORD")
    assert (refused.code, refused.stdout) == (1, "")
    assert "the variable MODELYARD_PARAM_DATABASE_PASSWORD of the agent on node" in refused.stderr
    assert "start the agent again" in refused.stderr
    malformed = yard.cli("call", "echo", "--param-env", "A=1")
    assert malformed.code == 7
    assert "field: specs[0].parameter_env" in malformed.stderr


# Texts


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [100, 60_000, (64 << 10) - 1, (64 << 10) + 1, 5_000_000])
async def test_text_arrives_as_itself_however_long_it_is(yard: Yard, size: int) -> None:  # S1.5
    async with yard.client() as client:
        sheet = await Sheet.of(client)
        sheet.add("made", "made", {"size": size}, placement={"node": FIRST})
        sheet.add("told", "told", placement={"node": SECOND})
        sheet.add("count", "text.count", placement={"node": SECOND})
        argv = ["sh", "-c", "wc -m < $YARD_INPUT_TEXT > out; cat $YARD_INPUT_TEXT >> out"]
        work = {"command": {"argv": argv, "outputs": {"out": "out"}, "env": {"LC_ALL": "C.UTF-8"}}}
        sheet.nodes.append({"id": "command", "placement": {"node": SECOND}, **work})
        sheet.add("shown", "files.read", {"max_bytes": 60})
        for port in ("text", "data", "file", "value"):
            sheet.connect("made", "told", port)
        sheet.connect("made", "count", "text")
        sheet.connect("made", "command", "text")
        sheet.connect("command.out", "shown", "file")
        nodes = await sheet.run(f"text-{size}")
        assert value(nodes["told"]) == [[size, True]] * 4
        assert value(nodes["count"])["characters"] == size
        assert value(nodes["shown"]).startswith(f'{size}\na "quoted" text\\ with é, 😀\n')
        assert nodes["made"].outputs[0].is_value == bool(nodes["made"].outputs[0].digest)


@pytest.mark.asyncio
async def test_list_of_texts_with_a_large_one_among_them_is_a_list_of_texts(yard: Yard) -> None:  # S1.8
    async with yard.client() as client:
        sheet = await Sheet.of(client)
        sheet.add("short", "made", {"size": 10}, placement={"node": FIRST})
        sheet.add("long", "made", {"size": 100_000}, placement={"node": SECOND})
        sheet.add("both", "two", {"size": 70_000}, placement={"node": FIRST})
        sheet.add("told", "told_all", placement={"node": SECOND})
        sheet.add("joined", "text.join", {"between": ""}, placement={"node": FIRST})
        sheet.add("count", "text.count", placement={"node": SECOND})
        sheet.connect("joined", "count", "text")
        for place, source in enumerate(("short", "long", "both.long", "both.longer", "short")):
            for target in ("told", "joined"):
                sheet.connect(source, target, "texts")
                sheet.edges[-1]["index"] = place
        nodes = await sheet.run("list-of-texts")
        sizes = [10, 100_000, 70_000, 70_001, 10]
        assert value(nodes["told"]) == [[size, True] for size in sizes]
        assert value(nodes["count"])["characters"] == sum(sizes)


# Files


@pytest.mark.asyncio
async def test_file_passes_to_nodes_of_one_machine_under_its_own_inode(yard: Yard) -> None:
    # S1.5: by digest, never through the graph service, and on one machine without a copy
    graph, agent = psutil.Process(yard.pid("graph")), psutil.Process(yard.pid(f"agent-{FIRST}"))
    async with yard.client() as client:
        sheet = await Sheet.of(client)
        sheet.add("write", "write", {"mib": 65}, placement={"node": FIRST})
        sheet.add("same", "read", placement={"node": FIRST})
        sheet.add("other", "read", placement={"node": SECOND})
        argv = ["sh", "-c", "stat -c %i $YARD_INPUT_DATA > out"]
        sheet.nodes.append(
            {
                "id": "command",
                "placement": {"node": SECOND},
                "command": {"argv": argv, "outputs": {"out": "out"}},
            }
        )
        sheet.add("shown", "files.read")
        sheet.connect("command.out", "shown", "file")
        for target in ("same", "other", "command"):
            sheet.connect("write", target, "data")
        before, read_before = graph.memory_info().rss, agent.io_counters().read_chars
        nodes = await sheet.run("handover")
        grown, read = graph.memory_info().rss - before, agent.io_counters().read_chars - read_before
    same, other = value(nodes["same"]), value(nodes["other"])
    assert same["digest"] == other["digest"] == nodes["write"].outputs[0].digest
    assert same["inode"] == other["inode"]
    assert (FIRST in same["path"], SECOND in other["path"]) == (True, True)
    assert grown < 20 * MIB
    # The store has copied the file by itself: it did not go through the agent.
    assert read < 10 * MIB
    assert int(value(nodes["shown"])) == same["inode"]
    stored = yard.state / "store" / "blobs" / same["digest"][:2] / same["digest"]
    # What the writer has written, and the store's own: nothing else holds these bytes.
    assert inodes(yard.state, 65 * MIB) == {same["inode"], stored.stat().st_ino}


def inodes(directory: Path, size: int) -> set[int]:
    """Of the files of that size; some go away meanwhile."""
    found = set()
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_size == size:
                found.add(path.lstat().st_ino)
    return found
