"""Canvases made to hurt: clear answers, in bounded time and memory. The time limit of each test is its proof."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from modelyard.v1 import canvas_pb2
from services.graph.canvases import document
from services.graph.canvases.canvas import Canvas, Edge, Node
from services.graph.canvases.diff import diff
from services.graph.canvases.layout import PlanTooLarge
from services.graph.canvases.planning import plan
from services.graph.canvases.problems import PROBLEMS_MOST, Reason
from services.graph.convert.canvas import canvas_of as canvas_of_message
from services.graph.model import EDGES_MOST, NODES_MOST, Order
from services.graph.projects.library import invalid
from tests.support.canvases import BODIES, OPERATORS, canvas_of, planned, problems_of, told

pytestmark = pytest.mark.timeout(40)


def chain(count: int, *, closed: bool = False) -> Canvas:
    nodes = tuple(Node(id=f"n{number}", operator="noop") for number in range(count))
    ends = list(range(count - 1)) + ([count - 1] if closed else [])
    return Canvas(nodes, tuple(Edge(source=f"n{n}", target=f"n{(n + 1) % count}") for n in ends))


def test_hundred_thousand_nodes_are_refused_with_the_bound() -> None:
    [problem] = problems_of(chain(100_000))
    assert problem.reason is Reason.TOO_LARGE and str(NODES_MOST) in problem.message and problem.next_step


def test_document_of_a_hundred_thousand_nodes_is_read_and_refused() -> None:
    text = json.dumps({"nodes": [{"id": f"n{number}", "operator": "noop"} for number in range(100_000)]})
    canvas, problems = document.read(text)
    assert not problems
    assert [reason for reason, _ in told(canvas)] == ["TOO_LARGE"]


def test_as_many_nodes_as_are_allowed_in_one_chain_are_planned_in_both_orders() -> None:
    canvas = chain(NODES_MOST)
    for order in Order:
        graph = planned(canvas, order)
        assert graph.nodes[-1].gradient == NODES_MOST - 1


def test_cycle_of_as_many_nodes_as_are_allowed_is_told_shortly() -> None:
    [problem] = problems_of(chain(NODES_MOST, closed=True))
    assert problem.reason is Reason.CYCLE
    assert len(problem.message) < 500 and len(problem.nodes) == 1_000


def test_thousand_small_cycles_are_told_up_to_a_bound() -> None:
    edges = [edge for number in range(1_000) for edge in (f"a{number}->b{number}", f"b{number}->a{number}")]
    nodes = [name for number in range(1_000) for name in (f"a{number}", f"b{number}")]
    assert len(problems_of(canvas_of(nodes, edges))) == 20


def test_too_many_edges_are_refused_with_the_bound() -> None:
    edges = tuple(Edge(source="a", target="b") for _ in range(EDGES_MOST + 1))
    canvas = Canvas((Node(id="a", operator="noop"), Node(id="b", operator="noop")), edges)
    [problem] = problems_of(canvas)
    assert problem.reason is Reason.TOO_LARGE and "edges" in problem.message


def test_every_pair_of_nodes_connected_is_planned() -> None:
    count = 400
    edges = [f"n{i}->n{j}" for i in range(count) for j in range(i + 1, count)]
    graph = planned(canvas_of([f"n{number}" for number in range(count)], edges), Order.BRANCHES)
    assert graph.nodes[-1].gradient == count - 1 and len(graph.nodes[-1].inputs) == count - 1


@pytest.mark.parametrize(
    "place",
    [
        {"id": "x" * 10_000_000, "operator": "noop"},
        {"id": "a", "operator": "x" * 10_000_000},
        {"id": "a", "operator": "noop@" + "1" * 10_000_000},
        {"id": "a", "operator": "noop", "parameter_address": "run:" + "x" * 10_000_000},
        {"id": "a", "operator": "noop", "initial_params": {"x": "y" * 10_000_000}},
        {"id": "a", "operator": "noop", "initial_params": {"x" * 10_000_000: {"$param": "z" * 1_000_000}}},
        {"id": "a", "operator": "noop", "retry": {"x" * 10_000_000: 1}},
        {"id": "a", "command": {"argv": ["x" * 10_000_000]}},
        {"id": "a", "command": {"argv": ["x"], "outputs": {"o": "x" * 10_000_000}}},
        {"id": "a", "subgraph": "x" * 10_000_000},
        {"id": "a", "branch": {"cases": [{"port": "x" * 10_000_000, "condition": {"comparison": "exists"}}]}},
    ],
    ids=lambda place: "-".join(place),
)
def test_string_of_ten_megabytes_is_told_without_repeating_it(place: dict[str, Any]) -> None:
    found = problems_of(canvas_of([place]))
    assert found
    assert len(document.json_text(found)) < 20_000
    assert len(invalid(tuple(found)).message) < 20_000


@pytest.mark.parametrize("end", ["source", "target", "source_port", "target_port", "id"])
def test_edge_with_a_string_of_ten_megabytes_is_told_without_repeating_it(end: str) -> None:
    edge = {"source": "a", "target": "b", end: "x" * 10_000_000}
    found = problems_of(canvas_of(["a", "b"], [edge, edge]))
    assert found and len(document.json_text(found)) < 20_000


def test_megabytes_in_what_is_only_drawn_do_no_harm() -> None:
    canvas = canvas_of([{"id": "a", "operator": "noop", "label": "x" * 10_000_000, "group": "y" * 1_000_000}])
    assert problems_of(canvas) == []
    assert len(document.json_text(diff(Canvas(), canvas))) < 20_000


def test_document_beyond_its_size_is_refused_unread() -> None:
    with pytest.raises(document.DocumentUnreadable, match="32 MiB"):
        document.read(b" " * (33 << 20))


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "a/../b",
        "..",
        ".",
        "a\\b",
        "a\0b",
        "a\nb",
        "",
        " ",
        "-rf",
        "ａ",
        "a b",
        "a:b",
    ],
)
def test_tricks_with_paths_and_names_are_refused_as_ids(name: str) -> None:
    assert ("BAD_ID" in {reason for reason, _ in told(canvas_of([{"id": name, "operator": "noop"}]))}) is True


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "a\\..\\x", "a\0b", "", "x" * 2_000])
def test_tricks_with_output_files_are_refused(path: str) -> None:
    node = {"id": "a", "command": {"argv": ["x"], "outputs": {"o": path}}}
    assert told(canvas_of([node])) == [("BAD_SETTING", "a")]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_in_messages_are_told(number: float) -> None:
    message = canvas_pb2.Canvas()
    node = message.nodes.add(id="a", operator="noop")
    node.position.x = number
    node.extra["far"] = number
    message.extra["zoom"] = number
    canvas, problems = canvas_of_message(message)
    assert {(problem.node, problem.field) for problem in problems} == {
        ("a", "position"),
        ("a", "extra"),
        ("", "extra"),
    }
    json.loads(document.write(canvas))


@pytest.mark.parametrize("text", ["NaN", '{"x":NaN}', "[1]", "7", "null", "{", '{"a":' * 5_000, "\ud800"])
def test_parameters_that_are_no_object_are_told(text: str) -> None:
    message = canvas_pb2.Canvas()
    try:
        message.nodes.add(id="a", operator="noop", initial_params_json=text)
    except (ValueError, UnicodeEncodeError):
        return  # no message can hold it
    _, problems = canvas_of_message(message)
    assert [(problem.node, problem.field) for problem in problems] in ([("a", "initial_params_json")], [])
    assert problems or text == "null"


def test_enum_numbers_that_nobody_knows_are_told() -> None:
    message = canvas_pb2.Canvas()
    message.nodes.add(id="a", operator="noop", trigger=99, cache=77)  # type: ignore[arg-type]
    message.edges.add(id="e", source="a", target="a", kind=55, on_error=44)  # type: ignore[arg-type]
    _, problems = canvas_of_message(message)
    assert {problem.field for problem in problems} == {"trigger", "cache", "kind", "on_error"}


def test_times_out_of_range_are_told() -> None:
    message = canvas_pb2.Canvas()
    message.nodes.add(id="a", operator="noop").drag_in_time.seconds = 1 << 60
    message.nodes.add(id="b", operator="noop").drag_in_time.nanos = -5
    message.nodes.add(id="c", operator="noop").timeout.seconds = 1 << 60
    canvas, problems = canvas_of_message(message)
    assert [problem.node for problem in problems] == ["a", "b"]
    assert ("BAD_SETTING", "c") in told(canvas)


def test_messages_of_subgraphs_nested_too_deeply_are_told() -> None:
    message = inner = canvas_pb2.Canvas()
    for _ in range(20):
        inner = inner.subgraphs["s"].canvas
    _, problems = canvas_of_message(message)
    assert [problem.reason for problem in problems] == [Reason.TOO_DEEP]
    text: dict[str, Any] = {}
    for _ in range(20):
        text = {"subgraphs": {"s": {"canvas": text}}}
    _, problems = document.read(json.dumps(text))
    assert [problem.reason for problem in problems] == [Reason.TOO_DEEP]


def test_long_chain_of_subgraphs_needs_no_recursion() -> None:
    count = 3_000
    subgraphs = {f"s{n}": {"canvas": {"nodes": [{"id": "i", "subgraph": f"s{n + 1}"}]}} for n in range(count)}
    canvas = canvas_of([{"id": "s", "subgraph": "s0"}], subgraphs={**subgraphs, f"s{count}": {"canvas": {}}})
    assert ("TOO_DEEP", "") in told(canvas)


def test_order_edges_between_large_instances_are_bounded() -> None:
    body = {"canvas": {"nodes": [{"id": f"n{number}", "operator": "noop"} for number in range(1_000)]}}
    nodes = [{"id": f"s{number}", "subgraph": "b"} for number in range(2)]
    canvas = canvas_of(nodes, [{"source": "s0", "target": "s1", "kind": "order"}], subgraphs={"b": body})
    with pytest.raises(PlanTooLarge, match="edges"):
        plan(canvas, "", OPERATORS, BODIES, Order.LEVELS)


def test_memory_of_a_hostile_report_is_bounded() -> None:
    nodes = [{"id": f"n{number}", "operator": "x" * 1_000} for number in range(5_000)]
    canvas = canvas_of(nodes)
    tracemalloc.start()
    found = problems_of(canvas)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == PROBLEMS_MOST + 1
    assert peak < 32 << 20


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"resources": {"cpu": -1}}, "resources.cpu"),
        ({"resources": {"cpu": "NaN"}}, "resources.cpu"),
        ({"resources": {"memory_bytes": -5}}, "resources.memory_bytes"),
        ({"resources": {"gpu": 1.5}}, "resources.gpu"),
        ({"resources": {"custom": {"a b": 1}}}, "resources.custom"),
        ({"resources": {"custom": {"x": 1e300}}}, "resources.custom.x"),
        ({"retry": {"max_attempts": -1}}, "retry.max_attempts"),
        ({"retry": {"backoff": "-5s"}}, "retry.backoff"),
        ({"placement": {"pool": "a b"}}, "placement.pool"),
        ({"bundle_digest": "../x"}, "bundle_digest"),
        ({"command": {"argv": ["x"], "env": {"A=B": "c"}}}, "command.env.A=B"),
        ({"command": {"argv": ["x"], "env": {"YARD_NODE": "c"}}}, "command.env.YARD_NODE"),
        ({"command": {"argv": ["x"], "env": {"A": "\0"}}}, "command.env.A"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_that_the_scheduler_would_refuse_are_told_with_their_field(
    settings: dict[str, Any], field: str
) -> None:  # S1.3
    work = {} if "command" in settings else {"operator": "noop"}
    [problem] = problems_of(canvas_of([{"id": "a", **work, **settings}]))
    assert (problem.reason, problem.node, problem.field) == (Reason.BAD_SETTING, "a", field)


@pytest.mark.parametrize("name", ["my file", "1.txt", "größe", "a:b", "x" * 101])
def test_input_of_a_command_that_no_task_can_have_is_told(name: str) -> None:
    nodes = [{"id": "a", "operator": "noop"}, {"id": "b", "command": {"argv": ["x"]}}]
    found = problems_of(canvas_of(nodes, [{"id": "e", "source": "a", "target": "b", "target_port": name}]))
    assert Reason.UNKNOWN_PORT in {problem.reason for problem in found} or len(name) == 101


@pytest.mark.parametrize(
    "time", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "1600-01-01T00:00:00Z"]
)
def test_times_that_cannot_be_kept_are_told(time: str) -> None:
    _, problems = document.read(
        json.dumps({"nodes": [{"id": "a", "operator": "noop", "drag_in_time": time}]})
    )
    assert [(problem.node, problem.field) for problem in problems] == [("a", "drag_in_time")]


def test_numbers_in_unknown_fields_that_no_program_reads_are_told() -> None:
    digits = "9" * 400
    _, problems = document.read(
        f'{{"mine":{digits},"nodes":[{{"id":"a","operator":"noop","far":[[-{digits}]]}}]}}'
    )
    assert [(problem.node, problem.field) for problem in problems] == [("a", "far"), ("", "mine")]
