"""Documents of other tools really run: their commands, with their files; and operators for AI work (S1)."""

from __future__ import annotations

import asyncio
import json
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.bundle import pack_directory
from modelyard.client.aio import Client
from modelyard.v1 import run_pb2
from tests.support.foreign_canvases import ELYRA, WFFORMAT
from tests.support.yard import Yard, new_yard


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard(agents=1) as yard:
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
    document["pipelines"] = [main]
    async with yard.client() as client:
        archive, digest = pack_directory(tmp_path)
        await client.artifacts.put(archive)
        project = (await client.projects.create("elyra")).id
        imported = await client.projects.import_(json.dumps(document).encode())
        assert [f.node for f in imported.findings if "bundle_digest" in f.message] == ["load", "fit"]
        canvas: dict[str, Any] = json.loads(imported.canvas_json)
        for node in canvas["nodes"]:
            node["bundle_digest"] = digest
            node["resources"] = {"cpu": 0.5}
        saved = await client.projects.save(project, canvas)
        assert not saved.problems
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
