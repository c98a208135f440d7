"""Documents: what is in them survives, what does not fit is told (S1.1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.graph.canvases import document
from services.graph.convert.canvas import canvas_of
from services.graph.convert.canvas_message import canvas_message
from services.graph.convert.schemas import SCHEMAS, text_of

FULL: dict[str, Any] = {
    "format": "canvas/1",
    "nodes": [
        {
            "id": "n1",
            "operator": "load@1",
            "position": {"x": 1.5, "y": -2.0, "z": 3},
            "color": "red",
            "drag_in_time": "2026-01-02T03:00:01.25Z",
            "drag_sequence": 4,
            "record": True,
            "label": "Load",
            "initial_params": {"n": 12345678901234567890, "who": {"$param": "who"}},
            "trigger": "any_done",
            "parameter_address": "run:more",
            "cache": "refresh",
            "has_effects": True,
            "timeout_s": 1.5,
            "retry": {"max_attempts": 3, "backoff": "1s"},
            "placement": {"labels": {"zone": "a"}},
            "resources": {"cpu": 2.0},
            "group": "g",
        },
        {"id": "n2", "command": {"argv": ["sort", "a"], "outputs": {"out": "a.txt"}, "env": {"LC_ALL": "C"}}},
        {
            "id": "n3",
            "branch": {
                "cases": [
                    {"port": "yes", "condition": {"path": "a.0", "comparison": "in", "value": [1, None]}}
                ],
                "otherwise": "no",
            },
        },
        {
            "id": "n4",
            "map": {
                "subgraph": "s",
                "item_port": "in",
                "max_parallel": 4,
                "batch_size": 2,
                "min_success_ratio": 0.5,
            },
        },
        {
            "id": "n5",
            "loop": {
                "subgraph": "s",
                "until_port": "out",
                "until": {"comparison": "exists"},
                "max_iterations": 3,
            },
        },
        {"id": "n6", "subgraph": {"subgraph": "s"}},
        {"id": "n7", "gate": {"message": "go?", "approvers": ["ann"]}},
    ],
    "edges": [
        {
            "id": "e1",
            "source": "n1",
            "source_port": "image",
            "target": "n2",
            "target_port": "a",
            "index": 3,
            "on_error": "skip",
            "style": {"w": 2},
        },
        {"source": "n1", "target": "n7", "kind": "order"},
    ],
    "params": {"who": {"schema": {"type": "string"}, "default": None, "description": "whose", "unit": "x"}},
    "groups": [{"id": "g", "title": "G", "is_collapsed": True, "colour": 7}],
    "subgraphs": {
        "s": {
            "canvas": {"nodes": [{"id": "x", "operator": "noop", "shape": "round"}]},
            "inputs": [{"name": "in", "node": "x", "port": "value"}],
            "outputs": [],
            "note": "n",
        }
    },
    "view": {"zoom": 1.5, "path": [1, "a", None, True]},
    "extra": {"of": "somebody else"},
}


def test_document_with_unknown_fields_everywhere_is_written_as_it_was() -> None:  # S1.1
    canvas, problems = document.read(json.dumps(FULL))
    assert problems == ()
    assert json.loads(document.write(canvas)) == FULL
    assert document.digest(canvas) == document.digest(document.read(document.write(canvas))[0])


def test_message_of_a_canvas_says_everything_that_the_document_says() -> None:  # S1.1
    canvas, _ = document.read(json.dumps(FULL))
    again, problems = canvas_of(canvas_message(canvas))
    assert problems == ()
    assert json.loads(document.write(again)) == FULL


def test_document_fits_its_published_schema() -> None:  # S1.1
    schema = json.loads(text_of("canvas.schema.json"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(FULL, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"nodes": [{"id": "a/b"}]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"edges": [{"kind": "sideways"}]}, schema)


@pytest.mark.parametrize("name", SCHEMAS)
def test_published_schema_is_what_the_service_reads_and_writes(name: str) -> None:  # S1.1
    published = Path(__file__).parents[3] / "docs" / "schemas" / name
    assert published.read_text() == text_of(name), "run: python -m services.graph.convert.schemas"


def test_schema_of_the_execution_graph_has_the_nine_fields() -> None:  # S1.1
    fields = json.loads(text_of("execution-graph.schema.json"))["$defs"]["ExecutionNode"]["properties"]
    nine = [
        "nodeId", "topology", "gradient", "task", "operatorAddress", "initialParamsJson", "parameterAddress",
        "recordFlag", "state",
    ]  # fmt: skip
    assert all(fields[name]["description"] for name in nine)


def test_digest_is_the_same_whatever_the_order_and_the_defaults_of_fields() -> None:
    one, _ = document.read('{"nodes":[{"id":"a","operator":"x","record":false}],"edges":[]}')
    other, _ = document.read('{"nodes":[{"operator":"x","id":"a","label":""}]}')
    assert document.digest(one) == document.digest(other)


def test_words_of_the_contract_are_understood_too() -> None:
    node_of_words = {"id": "a", "trigger": "TRIGGER_ALL_DONE", "cache": "CACHE_POLICY_OFF", "subgraph": "s"}
    edge_of_words = {"kind": "EDGE_KIND_ORDER", "on_error": "EDGE_ERROR_POLICY_FAIL_RUN"}
    canvas, problems = document.read(json.dumps({"nodes": [node_of_words], "edges": [edge_of_words]}))
    assert problems == ()
    [node], [edge] = canvas.nodes, canvas.edges
    assert (node.trigger and node.trigger.value, node.cache and node.cache.value) == ("all_done", "off")
    assert edge.is_order and edge.on_error and edge.on_error.value == "fail_run"
    assert node.subgraph and node.subgraph.subgraph == "s"


def test_everything_that_does_not_fit_is_told_at_once_and_the_rest_is_read() -> None:  # S1.3
    text = json.dumps({
        "nodes": [
            {"id": "a", "operator": 5, "record": "yes", "position": {"x": "k"}, "drag_in_time": "yesterday"},
            {"id": "b", "map": {"subgraph": "s", "max_paralel": 3}}, 7, {"operator": "noop"},
        ],
        "edges": [{"id": "e", "source": "a", "target": 1, "kind": "sideways"}, {"index": "one"}],
        "params": {"p": 1}, "groups": {}, "subgraphs": {"s": {"canvas": [], "inputs": [{"nam": "x"}]}},
    })  # fmt: skip
    canvas, problems = document.read(text)
    places = {(problem.node or problem.edge, problem.field) for problem in problems}
    assert {
        ("a", "operator"), ("a", "record"), ("a", "position.x"), ("a", "drag_in_time"), ("b", "map"), ("", "nodes[2]"),
        ("e", "target"), ("e", "kind"), ("edges[1]", "index"), ("", "params.p"), ("", "groups"), ("s", "canvas"),
        ("s", "inputs[0].…"),
    } == places  # fmt: skip
    assert [node.id for node in canvas.nodes] == ["a", "b", ""]


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "7", "null", '{"nodes":NaN}', '{"x":Infinity}', '{"x":1e999}', '{"x":"\\ud800"}', "{" * 5_000,
        "[" * 100_000, '{"a":' * 50_000, '{"nodes":[}', b"\xff\xfe{}",
    ],
)  # fmt: skip
def test_text_that_is_no_document_is_refused(text: str | bytes) -> None:
    with pytest.raises(document.DocumentUnreadable):
        document.read(text)


def test_values_that_lie_too_deep_are_left_out_and_told() -> None:
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    canvas, problems = document.read(
        json.dumps({"view": deep, "nodes": [{"id": "a", "initial_params": {"p": deep}}]})
    )
    assert sorted(problem.field for problem in problems) == ["initial_params", "view"]
    assert canvas.extra == {} and canvas.nodes[0].initial_params == {}


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.000000001Z", 1_000_000_001),
        ("1970-01-01T02:00:01.5+02:00", 1_500_000_000),
    ],
)
def test_time_is_read_to_the_nanosecond(text: str, nanoseconds: int) -> None:
    assert document.time_of(text) == nanoseconds
    assert document.time_of(document.time_text(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    "text", ["2026-01-02", "2026-13-02T00:00:00Z", "2026-01-02T00:00:00", "now", "1" * 1_000]
)
def test_text_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        document.time_of(text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), _JSON, max_size=4), _JSON)
def test_any_unknown_fields_survive_both_forms(extra: dict[str, Any], value: Any) -> None:  # S1.1
    known = {"nodes", "edges", "params", "subgraphs", "groups", "format"}
    extra = {key: inner for key, inner in extra.items() if key not in known}
    node = {"id": "a", "operator": "x", "initial_params": {"v": value}, "mine": value}
    canvas, problems = document.read(json.dumps({**extra, "nodes": [node]}))
    assert problems == ()
    again, problems = canvas_of(canvas_message(canvas))
    assert problems == ()
    assert json.loads(document.write(again)) == {"format": "canvas/1", **extra, "nodes": [node]}
