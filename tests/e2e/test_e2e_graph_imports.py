"""Documents of other tools really run: their commands, with their files; and operators for AI work (S1)."""

from __future__ import annotations

import asyncio
import json
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.bundle import pack_directory
from modelyard.client.aio import Client
from modelyard.v1 import run_pb2
from tests.support.foreign_canvases import ELYRA, WFFORMAT
from tests.support.wait import wait_until_sync
from tests.support.yard import Yard, new_yard


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard() as yard:
        yield yard


async def _run(client: Client, project: str) -> run_pb2.Run:
    begun = await client.runs.start(project)
    async with asyncio.timeout(90):
        return await client.runs.wait(begun.id)


async def _content(client: Client, run: run_pb2.Run, node: str, port: str) -> bytes:
    found = await client.runs.result(run.id, node)
    [output] = [output for output in found.outputs if output.port == port]
    if output.digest:
        with tempfile.TemporaryDirectory() as folder:
            return (await client.artifacts.get(output.digest, Path(folder) / "content")).read_bytes()
    return output.value_json.encode()


@pytest.mark.asyncio
async def test_wfformat_commands_run_with_their_files(yard: Yard) -> None:
    document = json.loads(json.dumps(WFFORMAT))
    specification, execution = document["workflow"]["specification"], document["workflow"]["execution"]
    specification["tasks"][1]["outputFiles"] = ["out/count.txt"]
    execution["tasks"][1]["command"] = {
        "program": "sh",
        "arguments": ["-c", "mkdir -p out && wc -l < data/numbers.txt | tr -d ' ' > out/count.txt"],
    }
    execution["tasks"][0]["coreCount"] = 1
    async with yard.client() as client:
        project = (await client.projects.create("wfformat")).id
        imported = await client.projects.import_(json.dumps(document).encode(), project=project)
        assert not imported.problems
        run = await _run(client, project)
        assert run.state == run_pb2.RUN_STATE_SUCCEEDED, run.error
        assert await _content(client, run, "sum_2", "out_count.txt") == b"3\n"


@pytest.mark.asyncio
async def test_elyra_scripts_run_with_their_files(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "load.py").write_text(
        "import os\nopen('data.csv', 'w').write('\\n'.join(map(str, range(int(os.environ['N'])))))\n"
    )
    (tmp_path / "fit.py").write_text(
        "import json\nnumbers = [int(line) for line in open('data.csv')]\n"
        "json.dump({'sum': sum(numbers)}, open('model.json', 'w'))\n"
    )
    document = json.loads(json.dumps(ELYRA))
    [main, _] = document["pipelines"]
    main["nodes"] = main["nodes"][:2]
    # Nobody has that image here.
    del main["nodes"][0]["app_data"]["component_parameters"]["runtime_image"]
    document["pipelines"] = [main]
    async with yard.client() as client:
        archive, digest = pack_directory(tmp_path)
        await client.artifacts.put(archive)
        project = (await client.projects.create("elyra")).id
        imported = await client.projects.import_(json.dumps(document).encode())
        assert [f.node for f in imported.findings if "bundle" in f.message] == ["load", "fit"]
        imported = await client.projects.import_(
            json.dumps(document).encode(), project=project, bundle_digest=digest
        )
        assert not imported.problems
        assert not [f for f in imported.findings if "bundle" in f.message]
        assert [(need.node, *need.files) for need in imported.bundle_needs] == [
            ("load", "load.py"),
            ("fit", "fit.py"),
        ]
        run = await _run(client, project)
        assert run.state == run_pb2.RUN_STATE_SUCCEEDED, run.error
        assert json.loads(await _content(client, run, "fit", "model.json")) == {"sum": 3}
        picture = await client.runs.picture(run.id)
        texts = ["".join(each.itertext()) for each in ET.fromstring(picture).iter()]
        assert {"✓ load", "✓ fit", "level 0", "level 1"} <= set(texts)


@pytest.mark.asyncio
async def test_operators_for_ai_work_make_a_graph(yard: Yard) -> None:  # S1.3, S1.5
    for module in ("polars", "sklearn", "matplotlib"):
        pytest.importorskip(module)
    make = (
        "print('x,y,side');[print(f'{x},{y},{int(y > x)}') for x in range(15) for y in range(15) if x != y]"
    )
    nodes = [
        {
            "id": "make",
            "command": {
                "argv": ["sh", "-c", f'python -c "{make}" > table.csv'],
                "outputs": {"table": "table.csv"},
            },
        },
        {"id": "split", "operator": "table.split@1", "initial_params": {"seed": 1}},
        {
            "id": "fit",
            "operator": "sklearn.fit",
            "initial_params": {"estimator": "logistic-regression", "target": "side"},
        },
        {"id": "score", "operator": "sklearn.score"},
        {
            "id": "plot",
            "operator": "plot.table",
            "initial_params": {"y": ["y"], "x": "x", "kind": "scatter", "to": "svg"},
        },
    ]
    edges = [
        {"source": "make", "source_port": "table", "target": "split"},
        {"source": "split", "source_port": "train", "target": "fit"},
        {"source": "fit", "target": "score", "target_port": "model"},
        {"source": "split", "source_port": "test", "target": "score", "target_port": "table"},
        {"source": "split", "source_port": "test", "target": "plot"},
    ]
    async with yard.client() as client:
        project = (await client.projects.create("learning")).id
        saved = await client.projects.save(project, {"nodes": nodes, "edges": edges})
        assert not saved.problems
        run = await _run(client, project)
        assert run.state == run_pb2.RUN_STATE_SUCCEEDED, run.error
        score = json.loads(await _content(client, run, "score", "result"))
        assert score["accuracy"] > 0.9
        assert (await _content(client, run, "plot", "result")).startswith(b"<?xml")


def test_command_line_imports_a_trace_with_its_directory_and_runs_it_on_two_agents(
    yard: Yard, tmp_path: Path
) -> None:
    """Both halves take more than half of an agent; their script and their numbers come with the bundle."""
    folder = tmp_path / "trace"
    (folder / "bin").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "data" / "numbers.txt").write_text("".join(f"{number}\n" for number in range(1, 13)))
    script = folder / "bin" / "half.sh"
    script.write_text('#!/bin/sh\nhead -n "$1" data/numbers.txt | tail -n 6 > "$2"\n')
    script.chmod(0o755)
    tasks = [
        {"id": "low", "inputFiles": ["data/numbers.txt"], "outputFiles": ["low.txt"]},
        {"id": "high", "inputFiles": ["data/numbers.txt"], "outputFiles": ["high.txt"]},
        {"id": "all", "inputFiles": ["high.txt", "low.txt"], "outputFiles": ["out/all.txt"]},
    ]
    half = {"program": "bin/half.sh", "arguments": ["6", "low.txt"]}
    other = {"program": "bin/half.sh", "arguments": ["12", "high.txt"]}
    whole = {"program": "sh", "arguments": ["-c", "mkdir out; cat low.txt high.txt > out/all.txt"]}
    ran = [
        {"id": "low", "command": half, "coreCount": 3},
        {"id": "high", "command": other, "coreCount": 3},
        {"id": "all", "command": whole},
    ]
    workflow = {"specification": {"tasks": tasks}, "execution": {"tasks": ran}}
    (tmp_path / "trace.json").write_text(json.dumps({"name": "halves", "workflow": workflow}))

    without = yard.cli("graph", "import", str(tmp_path / "trace.json"))
    assert "2 nodes need the document's directory: --bundle DIR gives it to low, high" in without.stderr
    (folder / "bin" / "half.sh").rename(tmp_path / "half.sh")
    lacking = yard.cli("graph", "import", str(tmp_path / "trace.json"), "--bundle", str(folder))
    assert "low: bin/half.sh is not in" in lacking.stderr and "numbers.txt is not in" not in lacking.stderr
    (tmp_path / "half.sh").rename(folder / "bin" / "half.sh")
    words = ("--into", "halves", "--bundle", str(folder))
    saved = yard.cli("graph", "import", str(tmp_path / "trace.json"), *words)
    assert (saved.code, saved.stdout[-3:]) == (0, "/1\n"), saved.stderr
    assert "is not in" not in saved.stderr

    run = yard.json("graph", "run", "halves")
    assert run["state"] == "RUN_STATE_SUCCEEDED", run
    nodes = {node["nodeId"]: node for node in yard.json("graph", "show", run["id"])["nodes"]}
    assert {nodes[name]["node"] for name in ("low", "high")} == set(yard.nodes)
    [output] = run["results"][0]["outputs"]
    got = yard.cli("artifacts", "get", output["digest"], str(tmp_path / "all.txt"))
    assert got.code == 0, got.stderr
    assert [int(line) for line in (tmp_path / "all.txt").read_text().split()] == list(range(1, 13))


def test_bundle_of_a_version_stays_in_the_store_as_long_as_its_project(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "own.py").write_text("def f() -> int:\n    return 1\n")
    body = {"nodes": [{"id": "inner", "operator": "own:f"}]}
    canvas = {
        "format": "canvas/1",
        "nodes": [{"id": "s", "subgraph": "b"}],
        "subgraphs": {"b": {"canvas": body}},
    }
    (tmp_path / "canvas.json").write_text(json.dumps(canvas))
    words = ("--into", "keeps", "--bundle", str(tmp_path / "code"))
    saved = yard.cli("graph", "import", str(tmp_path / "canvas.json"), *words)
    assert saved.code == 0 and "b/inner" in saved.stderr, saved.stderr
    document = json.loads(yard.cli("graph", "get", "keeps").stdout)
    digest = document["subgraphs"]["b"]["canvas"]["nodes"][0]["bundle_digest"]

    def references() -> int:
        found = {each["digest"]: each for each in yard.json("artifacts", "ls")["artifacts"]}
        return int(found[digest].get("referenceCount", 0))

    wait_until_sync(lambda: references() == 1, "the version refers to it", timeout_s=30)
    assert yard.cli("graph", "rm", "keeps", "--yes").code == 0
    wait_until_sync(lambda: references() == 0, "nothing refers to it any more", timeout_s=30)


def test_command_line_imports_exports_and_draws(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text(json.dumps(WFFORMAT))
    converted = yard.cli("graph", "import", str(tmp_path / "trace.json"))
    assert converted.code == 0, converted.stderr
    assert [node["id"] for node in json.loads(converted.stdout)["nodes"]] == ["make_1", "sum_2", "rest_3"]
    assert "sleeps for the 0.5 s" in converted.stderr
    saved = yard.cli("graph", "import", str(tmp_path / "trace.json"), "--into", "trace")
    assert saved.code == 0, saved.stderr
    assert saved.stdout.endswith("/1\n")
    exported = yard.cli("graph", "export", "trace", "--format", "react-flow")
    assert exported.code == 0, exported.stderr
    assert len(json.loads(exported.stdout)["nodes"]) == 3
    drawn = yard.cli("graph", "show", "trace", "--svg", str(tmp_path / "trace.svg"))
    assert drawn.code == 0, drawn.stderr
    assert ET.parse(tmp_path / "trace.svg").getroot().tag.endswith("svg")
    refused = yard.cli("graph", "import", "-", stdin="{")
    assert refused.code == 7
    assert "not JSON" in refused.stderr


def test_command_whose_output_was_not_written_is_in_error(yard: Yard) -> None:  # S1.7
    nodes = [
        {"id": "forgets", "command": {"argv": ["true"], "outputs": {"o": "out.txt"}}, "cache": "off"},
        {"id": "folder", "command": {"argv": ["sh", "-c", "mkdir o; echo > o/f"], "outputs": {"o": "o"}}},
        {
            "id": "odd",
            "command": {"argv": ["sh", "-c", "echo x > 'a[1]*.txt'"], "outputs": {"o": "a[1]*.txt"}},
        },
    ]
    saved = yard.cli("graph", "save", "outputs", "-", stdin=json.dumps({"nodes": nodes}))
    assert saved.code == 0 and "UNKNOWN" not in saved.stdout, saved.stdout
    run = json.loads(yard.cli("graph", "run", "outputs", "-o", "json").stdout)
    found = {node["nodeId"]: node for node in yard.json("graph", "show", run["id"])["nodes"]}
    assert "its output 'o', out.txt, was not written" in found["forgets"]["error"]["message"]
    assert "is a directory, not a file" in found["folder"]["error"]["message"]
    assert "outputs" not in found["forgets"] and found["odd"]["outputs"][0]["port"] == "o"
