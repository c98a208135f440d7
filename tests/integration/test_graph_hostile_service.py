"""Canvases made to hurt, through the real service: answered, or refused with a reason; and the service goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from modelyard.errors import from_rpc_error
from modelyard.v1 import canvas_pb2 as pb
from modelyard.v1 import run_pb2
from services.graph.canvases.canvas import WORKS
from tests.support.graph_yard import GraphClient, graph_yard

pytestmark = pytest.mark.timeout(150)

NODE: dict[str, Any] = {"id": "a", "operator": "join"}
NEXT: dict[str, Any] = {"id": "b", "operator": "join"}
MISTAKES = ("INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED", "UNAVAILABLE")
FORMATS = ("canvas", "comfyui", "comfyui-api", "react-flow", "wfformat", "elyra", "kfp", "svg")


def text(*nodes: dict[str, Any], **more: Any) -> str:
    return json.dumps({"nodes": nodes, **more})


def with_field(field: str, value: str) -> str:
    """A node with a field whose JSON is given as it is."""
    return '{"nodes":[{"id":"a","operator":"join","%s":%s}]}' % (field, value)  # noqa: UP031


def copies(count: int, last: dict[str, Any]) -> dict[str, Any]:
    """Bodies of ten nodes each, each of which is ten of the next."""
    bodies = {
        f"s{depth}": {"canvas": {"nodes": [{"id": f"x{n}", "subgraph": f"s{depth + 1}"} for n in range(10)]}}
        for depth in range(count)
    }
    return {**bodies, f"s{count}": {"canvas": {"nodes": [last]}}}


HOSTILE: dict[str, str] = {
    "nothing": "",
    "spaces": "   ",
    "no-object": "[]",
    "empty-everything": text({"id": "", "operator": ""}, edges=[{"source": "", "target": ""}], groups=[{}]),
    "empty-names": text(NODE, params={"": {}}, subgraphs={"": {}}),
    "empty-works": text(*({"id": work, work: {}} for work in WORKS if work != "operator")),
    "cycle": text(NODE, NEXT, edges=[{"source": "a", "target": "b"}, {"source": "b", "target": "a"}]),
    "self-loop": text(NODE, edges=[{"source": "a", "target": "a"}, {"source": "a", "target": "a", "kind": "order"}]),
    "duplicates": text(NODE, NODE, edges=[{"id": "e", "source": "a", "target": "a"}] * 3),
    "nodes-100000": text(*({"id": f"n{n}", "operator": "join"} for n in range(100_000))),
    "string-3-mb": text({"id": "x" * 3_000_000, "operator": "join"}),
    "string-10-mb": text({"id": "a", "operator": "join", "label": "x" * 10_000_000}),
    "parameter-3-mb": text({**NODE, "initial_params": {"x": "y" * 3_000_000}}),
    "nan": with_field("position", '{"x":NaN}'),
    "infinity": with_field("position", '{"x":1e999}'),
    "far-apart": text({**NODE, "position": {"x": 1e308, "y": -1e308}}, {**NEXT, "position": {"x": -1e308}}),
    "number-of-400-digits": with_field("drag_sequence", "9" * 400),
    "number-beyond-64-bits": with_field("drag_sequence", "-99999999999999999999"),
    "number-in-extra": with_field("mine", f"[[{'9' * 400}]]"),
    "index-beyond": text(NODE, NEXT, edges=[{"source": "a", "target": "b", "index": 10**18}]),
    "paths": text({"id": "../../etc/passwd", "command": {"argv": ["x"], "outputs": {"../x": "../../y"}}}),
    "path-as-subgraph": text({"id": "a", "subgraph": "../.."}, subgraphs={"../..": {"canvas": {"nodes": [NODE]}}}),
    "path-as-address": text({**NODE, "parameter_address": "artifact:../../x"}),
    "nul": text({**NODE, "id": "a\0b", "label": "\0"}),
    "half-a-surrogate": '{"nodes":[{"id":"\\ud800","operator":"join"}]}',
    "markup": text({**NODE, "label": "</svg><script>alert(1)</script>]]>&\x01\x1b[2J\u202e"}),
    "deep": '{"nodes":' + "[" * 100_000 + "]" * 100_000 + "}",
    "deep-extra": with_field("mine", "[" * 31 + "]" * 31),
    "contains-itself": text({"id": "a", "subgraph": "s0"}, subgraphs=copies(1, {"id": "z", "subgraph": "s0"})),
    "bomb": text({"id": "a", "subgraph": "s0"}, subgraphs=copies(14, NODE)),
    "many-subgraphs": text(NODE, subgraphs={f"s{n}": {"canvas": {}} for n in range(3_000)}),
    "many-params": text(NODE, params={f"p{n}": {"default": n} for n in range(20_000)}),
    "schema-of-itself": text(NODE, params={"x": {"schema": {"$ref": "#"}, "default": {"a": 1}}}),
    "schema-elsewhere": text(NODE, params={"x": {"schema": {"$ref": "file:///etc/passwd"}, "default": 1}}),
    "pattern": text(NODE, params={"x": {"schema": {"pattern": "^(a+)+$"}, "default": "a" * 40 + "!"}}),
    "time-far-off": text({**NODE, "drag_in_time": "9999-12-31T23:59:59Z"}),
    "time-before-all": text({**NODE, "drag_in_time": "0001-01-01T00:00:00+23:59"}),
    "timeout": text({**NODE, "timeout_s": 1e300}),
    "amounts": text({**NODE, "resources": {"cpu": "NaN", "memory_bytes": -5, "gpu": 1.5}}),
    "attempts": text({**NODE, "retry": {"max_attempts": 10**12}}),
}  # fmt: skip


async def attempted(call: Callable[[], Awaitable[Any]]) -> str:
    """The reason of a refusal, or ""; fails for what the service calls its own mistake, or takes too long."""
    try:
        async with asyncio.timeout(30):
            await call()
    except grpc.aio.AioRpcError as error:
        refused = from_rpc_error(error)
        assert refused.code not in MISTAKES, refused
        return refused.reason or refused.code
    return ""


async def everything(client: GraphClient, project: str, document: str) -> None:
    """All that somebody can do with a document, whether it can be saved or not."""
    projects, runs = client.projects, client.runs

    async def carried() -> None:
        """As a message, what was given back as one."""
        got = await projects.GetCanvas(pb.GetCanvasRequest(project_id=project, view=pb.CANVAS_VIEW_MESSAGE))
        if got.canvas.nodes:
            await projects.ValidateCanvas(pb.ValidateCanvasRequest(canvas=got.canvas))

    await attempted(lambda: projects.ValidateCanvas(pb.ValidateCanvasRequest(canvas_json=document or " ")))
    await attempted(
        lambda: projects.ImportCanvas(pb.ImportCanvasRequest(document=document.encode(), format="canvas"))
    )
    if await attempted(lambda: client.save(project, document)):
        return
    assert await attempted(lambda: projects.GetCanvas(pb.GetCanvasRequest(project_id=project))) == ""
    await attempted(carried)
    await attempted(lambda: projects.DiffVersions(pb.DiffVersionsRequest(project_id=project)))
    await attempted(lambda: runs.ExplainRun(run_pb2.ExplainRunRequest(project_id=project)))
    for name in FORMATS:
        request = pb.ExportCanvasRequest(project_id=project, format=name)
        await attempted(lambda request=request: projects.ExportCanvas(request))
    await attempted(lambda: runs.StartRun(run_pb2.StartRunRequest(project_id=project, validate_only=True)))


@pytest.mark.asyncio
async def test_hostile_canvases_are_answered_or_refused_with_a_reason_and_the_service_goes_on(
    tmp_path: Path,
) -> None:  # S1.3
    async with graph_yard(tmp_path) as yard:
        for name, document in HOSTILE.items():
            await everything(yard.admin, await yard.admin.create(name), document)
        project = await yard.admin.create("well meant")
        saved = await yard.admin.save(project, text(NODE), must_be_valid=True)
        assert saved.version.version == 1
        await yard.restart()
        judged = await yard.admin.projects.ValidateCanvas(pb.ValidateCanvasRequest(project_id=project))
        assert [node.node_id for node in judged.graph.nodes] == ["a"]


@pytest.mark.asyncio
async def test_canvas_that_could_not_be_given_back_is_not_saved(tmp_path: Path) -> None:  # S1.2
    async with graph_yard(tmp_path) as yard:
        project = await yard.admin.create()
        nodes = [{"id": f"node-number-{n}", "operator": "join"} for n in range(45_000)]
        reason = await attempted(lambda: yard.admin.save(project, text(*nodes)))
        assert reason == "DOCUMENT_TOO_LARGE"
        fits = text(*nodes[:25_000])
        assert await attempted(lambda: yard.admin.save(project, fits)) == ""
        got = await yard.admin.projects.GetCanvas(pb.GetCanvasRequest(project_id=project))
        assert len(json.loads(got.canvas_json)["nodes"]) == 25_000
