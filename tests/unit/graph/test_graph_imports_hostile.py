"""Documents that want to do harm: a clear refusal or a report, in bounded time, and nothing of them is executed."""

import json
from typing import Any

import pytest

from services.graph.canvases.canvas import Canvas
from services.graph.canvases.operators import Catalogue
from services.graph.canvases.validation import validate
from services.graph.imports import formats
from services.graph.imports.report import FINDINGS_MOST, ImportRefused
from tests.support.foreign_canvases import SAMPLES


def _read(value: Any, name: str = "") -> formats.Imported:
    return formats.read(json.dumps(value).encode(), name)


def _problems(canvas: Canvas) -> list[str]:
    operators: Catalogue = {}
    return [problem.reason.value for problem in validate(canvas, operators, lambda node: None)]


DEEP = b'{"nodes":' + b"[" * 200_000 + b"]" * 200_000 + b"}"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "empty"),
        (b"  ", "empty"),
        (b"{", "not JSON"),
        (b"\xff\xfe{", "neither JSON nor YAML|not YAML"),
        (DEEP, "deep"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "more than 28 deep"),
        (b'{"nodes": [NaN]}', "not JSON"),
        (b'{"nodes": [1e999]}', "not JSON|JSON does not have"),
        (b"root: .nan\ncomponents: {}", "JSON does not have"),
        (b"root: 2026-01-01\n1: x", "keys are text"),
        (b"a: &a [1]\nb: [*a, *a]", "anchor"),
        (b"a: !!python/object/apply:os.system ['true']", "neither JSON nor YAML"),
        (b"root: " + b"[" * 100_000, "deep"),
        (b"? [a, b]\n: 1", "YAML"),
        (b"a: 1\n" * (1 << 20), "4 MiB of YAML"),
        (b"root: 99999999999999999999999999", "64 bits"),
        (b" " * (33 << 20), "32 MiB"),
    ],
)
def test_document_that_is_none_is_refused(document: bytes, message: str) -> None:
    with pytest.raises(ImportRefused, match=message):
        formats.read(document)


def test_yaml_bomb_is_refused_before_it_unfolds() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(ImportRefused, match="anchor"):
        formats.read("\n".join(lines).encode())


@pytest.mark.parametrize("name", SAMPLES)
def test_every_field_of_a_wrong_type_is_told_and_nothing_fails(name: str) -> None:
    for path in _paths(SAMPLES[name]):
        for wrong in (None, 7, -1.5, "x" * 1000, True, [], {}, [[[]]], {"a": {"b": 1}}):
            value = _with(SAMPLES[name], path, wrong)
            try:
                imported = formats.read(json.dumps(value).encode(), name)
            except (ImportRefused, formats.FormatUnknown):
                continue
            formats.write(imported.canvas, name)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        found += _paths(each, (*path, key))
    return found


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = _with(value[path[0]], path[1:], new)
    return changed


def test_cycle_comes_in_and_is_told_by_the_validation() -> None:
    prompt = {str(n): {"class_type": "X", "inputs": {"a": [str((n + 1) % 3), 0]}} for n in range(3)}
    assert "CYCLE" in _problems(_read(prompt).canvas)


def test_placeholder_fails_validation_by_name() -> None:
    canvas = _read(SAMPLES["comfyui-api"]).canvas
    problems = validate(canvas, {}, lambda node: None)
    named = [problem.message for problem in problems if problem.reason.value == "PLACEHOLDER"]
    assert any("KSampler" in message for message in named)
    assert len(named) == 3


def test_subgraph_that_contains_itself_comes_in_and_is_told() -> None:
    body = {"id": "me", "nodes": [{"id": 1, "type": "me"}], "links": [], "inputs": [], "outputs": []}
    document = {"nodes": [{"id": 1, "type": "me"}], "links": [], "definitions": {"subgraphs": [body]}}
    assert "RECURSIVE_SUBGRAPH" in _problems(_read(document).canvas)
    task = {"taskInfo": {"name": "t"}, "componentRef": {"name": "comp-me"}}
    component = {"dag": {"tasks": {"t": task}}}
    spec = {"pipelineInfo": {}, "root": component, "components": {"comp-me": component}}
    assert "RECURSIVE_SUBGRAPH" in _problems(_read(spec).canvas)


def test_reroutes_in_a_circle_end() -> None:
    nodes = [{"id": n, "type": "Reroute"} for n in (1, 2)] + [
        {"id": 3, "type": "X", "inputs": [{"name": "a"}]}
    ]
    links = [[1, 1, 0, 2, 0, "*"], [2, 2, 0, 1, 0, "*"], [3, 1, 0, 3, 0, "*"]]
    assert _read({"nodes": nodes, "links": links, "last_node_id": 3}).canvas.edges == ()


def test_paths_that_leave_the_working_directory_are_left_out() -> None:
    tasks = [
        {
            "id": "a",
            "name": "a",
            "outputFiles": ["../../etc/passwd", "/etc/shadow", "ok.txt"],
            "inputFiles": ["--", "a/../../b"],
        }
    ]
    command = {"program": "true", "arguments": []}
    document = {
        "workflow": {
            "specification": {"tasks": tasks},
            "execution": {"tasks": [{"id": "a", "command": command}]},
        }
    }
    imported = _read(document)
    work = imported.canvas.nodes[0].command
    assert work is not None
    assert work.outputs == {"ok.txt": "ok.txt"}
    assert work.argv == ("true",)
    assert sum("no path below a working directory" in finding.message for finding in imported.findings) == 4


def test_huge_names_and_many_findings_are_cut_short() -> None:
    nodes = [{"id": f"{n}" + "y" * 5_000, "type": "x" * 5_000, "data": {"strange": 1}} for n in range(1_500)]
    imported = _read({"nodes": nodes, "edges": []}, "react-flow")
    assert len(imported.findings) == FINDINGS_MOST + 1
    assert imported.findings[-1].message.endswith("more findings")
    assert all(len(finding.message) <= 300 for finding in imported.findings)
    assert len({node.id for node in imported.canvas.nodes}) == 1_500
    assert all(len(node.id) <= 100 for node in imported.canvas.nodes)


def test_ten_megabytes_of_text_come_in() -> None:
    prompt = {"1": {"class_type": "X", "inputs": {"text": "a" * (10 << 20)}}}
    imported = _read(prompt)
    assert len(imported.canvas.nodes[0].initial_params["text"]) == 10 << 20
    assert any("too large to be kept" in finding.message for finding in imported.findings)


def test_ids_that_are_the_same_once_cleaned_stay_apart() -> None:
    nodes = [{"id": name, "type": "x", "data": {}} for name in ("a b", "a/b", "a.b", "", "é", "../x")]
    ids = [node.id for node in _read({"nodes": nodes, "edges": []}).canvas.nodes]
    assert len(set(ids)) == len(ids) == 6
    assert all(id_[0].isalnum() for id_ in ids)


def test_extension_that_is_no_canvas_is_told_and_the_rest_is_read() -> None:
    for wrong in ("{", '{"nodes": 3}', "[]"):
        imported = _read({**SAMPLES["react-flow"], "modelyard": wrong})
        assert [node.id for node in imported.canvas.nodes] == ["a", "b"]
        assert imported.findings[-1].path == "modelyard"


def test_change_by_another_program_is_taken_and_the_rest_is_kept() -> None:
    canvas = _read(SAMPLES["kfp"]).canvas
    document = json.loads(formats.write(canvas, "react-flow")[0])
    moved = next(node for node in document["nodes"] if node["id"] == "flip")
    moved["position"] = {"x": 77, "y": 78}
    document["nodes"] = [node for node in document["nodes"] if node["id"] != "notify"]
    document["edges"] = [edge for edge in document["edges"] if edge["target"] != "notify"]
    imported = _read(document)
    nodes = {node.id: node for node in imported.canvas.nodes}
    assert nodes["flip"].position is not None and nodes["flip"].position.x == 77
    assert nodes["flip"].retry == {"max_attempts": 3, "backoff": "1s"}
    assert "notify" not in nodes
    assert nodes["each"].map is not None
    assert all(edge.target != "notify" for edge in imported.canvas.edges)
