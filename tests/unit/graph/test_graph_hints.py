"""What was perhaps meant otherwise is told, makes nothing invalid, and survives the round trip (S1.1)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.graph.canvases import document
from services.graph.canvases.canvas import Canvas, Edge, Group, Node, Param, Position, Subgraph
from services.graph.canvases.hints import hints, meant
from services.graph.canvases.problems import Reason
from services.graph.convert.canvas import canvas_of
from services.graph.convert.canvas_message import canvas_message
from services.graph.imports import formats
from tests.support.canvases import problems_of
from tests.support.foreign_canvases import SAMPLES


@pytest.mark.parametrize(
    ("kind", "field", "likely"),
    [
        (Node, "initial_params_json", "initial_params"),
        (Node, "initialParams", "initial_params"),
        (Node, "initialParamsJson", "initial_params"),
        (Node, "intial_params", "initial_params"),
        (Node, "params", "initial_params"),
        (Node, "parameterAddress", "parameter_address"),
        (Node, "Parameter-Address", "parameter_address"),
        (Node, "dragInTime", "drag_in_time"),
        (Node, "drag_in_time_ns", "drag_in_time"),
        (Node, "dragin_time", "drag_in_time"),
        (Node, "timeout", "timeout_s"),
        (Node, "timeoutSeconds", "timeout_s"),
        (Node, "bundleDigest", "bundle_digest"),
        (Node, "has_effect", "has_effects"),
        (Node, "oprator", "operator"),
        (Node, "Record", "record"),
        (Edge, "sourcePort", "source_port"),
        (Edge, "sourceHandle", "source_port"),
        (Edge, "from", "source"),
        (Edge, "onError", "on_error"),
        (Param, "default_json", "default"),
        (Param, "schemaJson", "schema"),
        (Group, "isCollapsed", "is_collapsed"),
        (Position, "X", "x"),
        (Subgraph, "input", "inputs"),
        (Canvas, "sub_graphs", "subgraphs"),
        (Canvas, "parameters", "params"),
        (Node, "colour", ""),
        (Node, "note", ""),
        (Node, "width", ""),
        (Node, "data", ""),
        (Canvas, "origin", ""),
        (Canvas, "viewport", ""),
        (Edge, "animated", ""),
        (Node, "x" * 10_000_000, ""),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else value.__name__,
)
def test_field_near_to_a_known_one_or_called_otherwise_is_guessed(
    kind: type, field: str, likely: str
) -> None:
    assert meant(kind, field) == likely


WRITTEN: dict[str, Any] = {
    "nodes": [
        {"id": "a", "operator": "noop", "initialParams": {"x": 1}, "position": {"X": 4}, "colour": "red"},
        {"id": "b", "subgraph": "body"},
    ],
    "edges": [{"id": "e", "source": "a", "target": "b", "kind": "order", "onError": "skip"}],
    "params": {"p": {"default_json": "1", "default": 1}},
    "subgraphs": {
        "body": {"canvas": {"nodes": [{"id": "n", "operator": "noop", "Label": "x"}]}, "input": []}
    },
    "groups": [{"id": "g", "isCollapsed": True}],
    "viewPort": {},
}


def test_hints_have_their_places_and_make_nothing_invalid() -> None:
    canvas, malformed = document.read(json.dumps(WRITTEN))
    assert not malformed and not problems_of(canvas)
    found = hints(canvas)
    assert {hint.reason for hint in found} == {Reason.UNKNOWN_FIELD}
    assert [(hint.node or hint.edge, hint.field, hint.next_step) for hint in found] == [
        ("a", "initialParams", "did you mean 'initial_params'?"),
        ("a", "position.X", "did you mean 'x'?"),
        ("e", "onError", "did you mean 'on_error'?"),
        ("", "params.p.default_json", "did you mean 'default'?"),
        ("", "groups[0].isCollapsed", "did you mean 'is_collapsed'?"),
        ("body", "input", "did you mean 'inputs'?"),
        ("body/n", "Label", "did you mean 'label'?"),
    ]


def test_what_was_hinted_at_survives_the_round_trip_in_either_form() -> None:
    canvas, _ = document.read(json.dumps(WRITTEN))
    again, _ = document.read(document.write(canvas))
    carried, _ = canvas_of(canvas_message(canvas))
    assert again == canvas == carried
    assert hints(carried) == hints(canvas)


def test_many_hints_are_bounded() -> None:
    nodes = [{"id": f"n{number}", "operator": "noop", "initialParams": {}} for number in range(3_000)]
    canvas, _ = document.read(json.dumps({"nodes": nodes}))
    found = hints(canvas)
    assert len(found) == 1_001 and found[-1].reason is Reason.TOO_MANY_PROBLEMS


@pytest.mark.parametrize(
    ("node", "field", "told"),
    [
        ({"map": {"subgraph": "s", "max_paralel": 3}}, "map", "'max_paralel'; did you mean 'max_parallel'?"),
        ({"loop": {"maxIterations": 3}}, "loop", "did you mean 'max_iterations'?"),
        (
            {"branch": {"cases": [{"port": "x", "condition": {"comparson": "exists"}}]}},
            "branch.cases[0].condition",
            "did you mean 'comparison'?",
        ),
        ({"command": {"argv": ["x"], "wrong": 1}}, "command", "there are: argv, outputs, env"),
        ({"operator": "noop", "cache": "of"}, "cache", "choose one of 'auto', 'off', 'refresh'"),
        ({"operator": "noop", "retry": {"max_attempt": 3}}, "retry", "did you mean 'max_attempts'?"),
        ({"operator": "noop", "resources": {"memory": 1}}, "resources", "did you mean 'memory_bytes'?"),
        ({"operator": "noop", "resources": {"x" * 10_000_000: 1}}, "resources", "there are: cpu"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_settings_that_are_not_known_are_refused_with_what_was_meant(
    node: dict[str, Any], field: str, told: str
) -> None:
    canvas, malformed = document.read(json.dumps({"nodes": [{"id": "a", **node}]}))
    [problem] = [one for one in (*malformed, *problems_of(canvas)) if one.reason is not Reason.NO_WORK]
    assert (problem.node, problem.field) == ("a", field)
    assert told in problem.message and len(problem.message) < 300


def test_data_edge_from_a_command_without_outputs_is_hinted_at() -> None:
    nodes = [
        {"id": "mute", "command": {"argv": ["date"]}},
        {"id": "tells", "command": {"argv": ["date"], "outputs": {"o": "out.txt"}}},
        {"id": "last", "command": {"argv": ["date"]}},
    ]
    edges = [
        {"id": "e1", "source": "mute", "target": "tells"},
        {"id": "e2", "source": "mute", "target": "last", "kind": "order"},
        {"id": "e3", "source": "tells", "target": "last"},
    ]
    canvas, _ = document.read(json.dumps({"nodes": nodes, "edges": edges}))
    assert not problems_of(canvas)
    [hint] = hints(canvas)
    assert (hint.reason, hint.node, hint.edge) == (Reason.NOTHING_FLOWS, "mute", "e1")


@pytest.mark.parametrize("name", SAMPLES)
def test_imported_documents_give_no_hints(name: str) -> None:
    imported = formats.read(json.dumps(SAMPLES[name]).encode())
    assert hints(imported.canvas) == ()
