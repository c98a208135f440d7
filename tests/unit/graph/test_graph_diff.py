"""What changed between two canvases (S1.2)."""

from __future__ import annotations

from typing import Any

from services.graph.canvases.canvas import Canvas
from services.graph.canvases.diff import CHANGES_MOST, diff
from tests.support.canvases import BODY, canvas_of


def told(before: Canvas, after: Canvas) -> list[tuple[str, str, str, str, str]]:
    return [(c.kind.value, c.id, c.field, c.before, c.after) for c in diff(before, after)]


def node(**fields: Any) -> dict[str, Any]:
    return {"id": "a", "operator": "noop", **fields}


def test_same_canvas_has_no_changes_and_none_at_all_is_all_added() -> None:
    canvas = canvas_of(["a", "b"], ["a->b"])
    assert told(canvas, canvas) == []
    assert [change[:2] for change in told(Canvas(), canvas)] == [
        ("node_added", "a"),
        ("node_added", "b"),
        ("edge_added", "a->b"),
    ]
    assert [change[0] for change in told(canvas, Canvas())] == [
        "node_removed",
        "node_removed",
        "edge_removed",
    ]


def test_parameters_are_compared_one_by_one_and_null_is_a_value() -> None:
    before = canvas_of([node(initial_params={"w": 1, "o": {"x": 1, "y": [1]}, "gone": None})])
    after = canvas_of([node(initial_params={"w": 2, "o": {"x": 1, "y": [1, 2]}, "new": None})])
    assert sorted(told(before, after)) == [
        ("node_changed", "a", "initial_params.gone", "null", ""),
        ("node_changed", "a", "initial_params.new", "", "null"),
        ("node_changed", "a", "initial_params.o.y", "[1]", "[1,2]"),
        ("node_changed", "a", "initial_params.w", "1", "2"),
    ]


def test_move_is_no_change_of_the_node() -> None:
    before, after = (canvas_of([node(position={"x": x, "y": 0.0}, label="l")]) for x in (1.0, 2.0))
    assert told(before, after) == [("node_moved", "a", "position", '{"x":1.0,"y":0.0}', '{"x":2.0,"y":0.0}')]


def test_edges_are_known_by_id_or_by_their_ends() -> None:
    ends = {"source": "a", "target": "b"}
    before = canvas_of(["a", "b"], [{"id": "e", **ends}, ends, ends])
    after = canvas_of(["a", "b"], [{"id": "e", **ends, "on_error": "skip"}, ends])
    assert [change[:3] for change in told(before, after)] == [
        ("edge_changed", "e", "on_error"),
        ("edge_removed", "a->b (2)", ""),
    ]


def test_params_subgraphs_and_drawing_are_compared() -> None:
    other = {**BODY, "canvas": {**BODY["canvas"], "nodes": [{"id": "x", "operator": "notify"}]}}  # type: ignore[dict-item]
    before = canvas_of(params={"p": {"default": 1}}, subgraphs={"s": BODY}, zoom=1)
    after = canvas_of(params={"p": {"default": 2}, "q": {}}, subgraphs={"s": other, "t": BODY}, zoom=2)
    changes = {change[:3] for change in told(before, after)}
    assert {
        ("param_changed", "p", "default"),
        ("param_changed", "q", ""),
        ("node_changed", "s/x", "operator"),
        ("node_removed", "s/y", ""),
        ("subgraph_changed", "t", ""),
        ("node_added", "t/x", ""),
        ("drawing_changed", "", "zoom"),
    } <= changes


def test_report_of_changes_is_bounded() -> None:
    many = canvas_of([f"n{number}" for number in range(CHANGES_MOST + 10)])
    assert len(diff(Canvas(), many)) == CHANGES_MOST
    [change] = diff(Canvas(), canvas_of([node(label="x" * 100_000)]))
    assert len(change.after) <= 2_000
