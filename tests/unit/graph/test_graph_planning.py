"""Planning: gradients, both orders, inputs in their order, instances written out, templates (S1.3, S1.8, S1.9)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelyard.v1 import task_pb2
from services.graph.canvases.layout import PlanTooLarge
from services.graph.canvases.planning import plan
from services.graph.convert.execution import graph_message
from services.graph.model import (
    BranchControl,
    CachePolicy,
    GateControl,
    Kind,
    LoopControl,
    MapControl,
    OnError,
    Order,
    Trigger,
)
from tests.support.canvases import BODIES, BODY, OPERATORS, canvas_of, ids, planned


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}Z"


def noop(id_: str, second: int = 0, **fields: Any) -> dict[str, Any]:
    return {"id": id_, "operator": "noop", "drag_in_time": at(second), **fields}


DIAMOND = ["s->a", "s->b", "a->a2", "b->b2", "a2->j", "b2->j"]


def diamond(first: str) -> list[dict[str, Any]]:
    """A branching into a and b; the first was dragged in earlier."""
    seconds = {"s": 1, "a": 2 if first == "a" else 4, "b": 3, "a2": 9, "b2": 8, "j": 0}
    return [noop(id_, second) for id_, second in seconds.items()]


@pytest.mark.parametrize(
    ("order", "first", "expected"),
    [
        (Order.LEVELS, "a", "s a b b2 a2 j"),
        (Order.LEVELS, "b", "s b a b2 a2 j"),
        (Order.BRANCHES, "a", "s a a2 b b2 j"),
        (Order.BRANCHES, "b", "s b b2 a a2 j"),
    ],
)
def test_branches_are_taken_by_drag_in_time_in_both_readings(
    order: Order, first: str, expected: str
) -> None:  # S1.9
    graph = planned(canvas_of(diamond(first), DIAMOND), order)
    assert " ".join(ids(graph)) == expected
    assert {node.id: node.gradient for node in graph.nodes} == {
        "s": 0,
        "a": 1,
        "b": 1,
        "a2": 2,
        "b2": 2,
        "j": 3,
    }
    assert [node.rank for node in graph.nodes] == list(range(6))


def test_equal_times_are_settled_by_the_sequence_then_the_id() -> None:  # S1.9
    nodes = [noop("c", drag_sequence=1), noop("b", drag_sequence=3), noop("a", drag_sequence=3)]
    assert ids(planned(canvas_of(nodes))) == ["c", "a", "b"]


def test_inputs_come_by_port_then_index_then_rank_and_order_edges_last() -> None:  # S1.8
    canvas = canvas_of(
        [noop("x", 1), noop("y", 2), noop("z", 3), {"id": "t", "operator": "both"}],
        [
            {"source": "z", "target": "t", "target_port": "right"},
            {"source": "x", "target": "t", "kind": "order"},
            {"source": "y", "target": "t", "target_port": "left", "index": 1, "on_error": "skip"},
            {"source": "x", "target": "t", "target_port": "left", "index": 1},
            {"source": "z", "target": "t", "target_port": "left"},
        ],
    )
    inputs = planned(canvas).nodes[-1].inputs
    assert [(edge.port, edge.source, edge.is_order) for edge in inputs] == [
        ("left", 2, False),
        ("left", 0, False),
        ("left", 1, False),
        ("right", 2, False),
        ("", 0, True),
    ]
    assert inputs[2].on_error is OnError.SKIP and inputs[0].on_error is OnError.EMPTY
    assert {edge.source_port for edge in inputs} == {"result", ""}


def test_sinks_are_what_nothing_takes_a_value_from() -> None:  # S1.6
    graph = planned(canvas_of("abcd", ["a->b", {"source": "b", "target": "c", "kind": "order"}]))
    assert [graph.nodes[rank].id for rank in graph.sinks] == ["d", "b", "c"]
    assert graph.nodes[0].successors == (2,)


def test_node_has_what_a_run_needs_of_it() -> None:
    node = noop(
        "a", initial_params={"v": {"$param": "p"}}, parameter_address="run:more", record=True, cache="off",
        trigger="all_done", timeout_s=2.5, retry={"max_attempts": 3}, resources={"cpu": 2}, placement={"node": "n1"},
    )  # fmt: skip
    effectful = {"id": "b", "operator": "notify"}
    second, first = planned(canvas_of([node, effectful], params={"p": {}})).nodes
    assert (first.kind, first.operator, first.version, first.identity != "") == (Kind.TASK, "noop", "1", True)
    assert json.loads(first.initial_params) == {"v": {"$param": "p"}}
    assert (first.parameter_address, first.record, first.has_effects) == ("run:more", True, False)
    assert (first.cache, first.trigger, first.outputs) == (CachePolicy.OFF, Trigger.ALL_DONE, ("result",))
    spec = task_pb2.TaskSpec.FromString(first.body)
    assert (spec.operator.operator, spec.retry.max_attempts, spec.resources.cpu) == ("noop", 3, 2.0)
    assert spec.timeouts.run_timeout.ToMilliseconds() == 2_500 and spec.placement.node == "n1"
    assert second.has_effects and second.identity == ""


def test_command_tells_which_file_is_which_output() -> None:
    command = {"argv": ["sort", "in"], "outputs": {"sorted": "out/a.txt"}, "env": {"LC_ALL": "C"}}
    canvas = canvas_of([{"id": "c", "command": command}, {"id": "r", "operator": "read"}], ["c->r"])
    node, reader = planned(canvas).nodes
    spec = task_pb2.TaskSpec.FromString(node.body)
    assert (node.kind, node.files, node.outputs) == (Kind.COMMAND, (("out/a.txt", "sorted"),), ("sorted",))
    assert (list(spec.command.argv), list(spec.outputs), dict(spec.env)) == (
        ["sort", "in"],
        ["out/a.txt"],
        {"LC_ALL": "C"},
    )
    assert (reader.inputs[0].source_port, reader.inputs[0].takes) == ("sorted", "text")


def test_instances_of_a_subgraph_are_written_out() -> None:
    nodes = [noop("a", 1), {"id": "s", "subgraph": "body", "drag_in_time": at(2)}, noop("z", 3)]
    graph = planned(canvas_of(nodes, ["a->s", "s->z"], subgraphs={"body": BODY}))
    assert ids(graph) == ["a", "s/x", "s/y", "z"]
    assert [node.gradient for node in graph.nodes] == [0, 1, 2, 3]
    assert graph.nodes[1].inputs[0].port == "value" and graph.nodes[3].inputs[0].source == 2


def test_instance_stands_where_it_was_dragged_and_its_nodes_within_it() -> None:  # S1.9
    body = {"canvas": {"nodes": [noop("late", 50), noop("early", 1)]}}
    nodes = [
        {"id": "s2", "subgraph": "b", "drag_in_time": at(9)},
        noop("m", 5),
        {"id": "s1", "subgraph": "b", "drag_in_time": at(2)},
    ]
    graph = planned(canvas_of(nodes, subgraphs={"b": body}))
    assert ids(graph) == ["s1/early", "s1/late", "m", "s2/early", "s2/late"]


def test_order_edges_of_an_instance_hold_for_all_that_is_in_it() -> None:
    body = {"canvas": {"nodes": [noop("x"), noop("y"), noop("z")], "edges": [{"source": "x", "target": "y"}]}}
    edges = [{"source": "a", "target": "s", "kind": "order"}, {"source": "s", "target": "b", "kind": "order"}]
    graph = planned(canvas_of(["a", {"id": "s", "subgraph": "b"}, "b"], edges, subgraphs={"b": body}))
    by_id = {node.id: node for node in graph.nodes}

    def before(id_: str) -> set[str]:
        return {graph.nodes[edge.source].id for edge in by_id[id_].inputs}

    assert (before("s/x"), before("s/z"), before("s/y"), before("b")) == (
        {"a"},
        {"a"},
        {"s/x"},
        {"s/y", "s/z"},
    )


def test_nested_instances_five_deep_lead_through() -> None:
    subgraphs: dict[str, Any] = {"l0": BODY}
    for depth in range(1, 5):
        subgraphs[f"l{depth}"] = {
            "canvas": {"nodes": [{"id": "i", "subgraph": f"l{depth - 1}"}]},
            "inputs": [{"name": "in", "node": "i", "port": "in"}],
            "outputs": [{"name": "out", "node": "i", "port": "out"}],
        }
    graph = planned(
        canvas_of(["a", {"id": "s", "subgraph": "l4"}, "b"], ["a->s", "s->b"], subgraphs=subgraphs)
    )
    assert ids(graph) == ["a", "s/i/i/i/i/x", "s/i/i/i/i/y", "b"]


def test_bodies_of_maps_and_loops_are_templates_with_their_ports() -> None:
    until = {"path": "done", "comparison": "equal", "value": True}
    canvas = canvas_of(
        [
            "a",
            {"id": "m", "map": {"subgraph": "body", "max_parallel": 3, "min_success_ratio": 0.5}},
            {"id": "l", "loop": {"subgraph": "body", "until": until, "max_iterations": 9}},
        ],
        [{"source": "a", "target": "m", "target_port": "items"}, "m->l"],
        subgraphs={"body": BODY},
    )
    _, map_, loop = planned(canvas).nodes
    control = map_.control
    assert isinstance(control, MapControl)
    assert (control.item_port, control.max_parallel, control.batch_size, control.min_success_ratio) == (
        "in",
        3,
        0,
        0.5,
    )
    assert ids(control.body.graph) == ["x", "y"] and control.body.inputs[0].port == "value"
    assert (control.body.outputs[0].name, control.body.outputs[0].node) == ("out", 1)
    assert isinstance(loop.control, LoopControl)
    assert (loop.control.until_port, loop.control.until and loop.control.until.value) == ("out", "true")
    assert loop.inputs[0].source_port == "out" and map_.body == b""


def test_branches_and_gates_have_their_settings() -> None:
    case = {"port": "yes", "condition": {"path": "n", "comparison": "greater", "value": 3}}
    canvas = canvas_of(
        [
            "a",
            {"id": "b", "branch": {"cases": [case]}},
            "y",
            "n",
            {"id": "g", "gate": {"approvers": ["ann"]}},
        ],
        [
            "a->b",
            {"source": "b", "source_port": "yes", "target": "y"},
            {"source": "b", "source_port": "else", "target": "n"},
        ],
    )
    controls = {node.id: node.control for node in planned(canvas).nodes}
    branch, gate = controls["b"], controls["g"]
    assert isinstance(branch, BranchControl) and isinstance(gate, GateControl)
    assert (branch.otherwise, branch.cases[0].condition.value, gate.approvers) == ("else", "3", ("ann",))


def test_same_arguments_give_the_same_graph_and_another_order_another_digest() -> None:
    canvas = canvas_of(diamond("a"), DIAMOND)
    assert planned(canvas) == planned(canvas)
    assert planned(canvas).digest != planned(canvas, Order.BRANCHES).digest


def test_subgraphs_that_multiply_beyond_bounds_are_refused() -> None:
    subgraphs: dict[str, Any] = {"s0": {"canvas": {"nodes": [noop(f"n{i}") for i in range(10)]}}}
    for depth in range(1, 8):
        nodes = [{"id": f"i{number}", "subgraph": f"s{depth - 1}"} for number in range(10)]
        subgraphs[f"s{depth}"] = {"canvas": {"nodes": nodes}}
    canvas = canvas_of([{"id": "s", "subgraph": "s7"}], subgraphs=subgraphs)
    with pytest.raises(PlanTooLarge, match="50000 nodes"):
        plan(canvas, "", OPERATORS, BODIES, Order.LEVELS)


def test_message_of_a_graph_tells_topology_both_ways_and_addresses() -> None:  # S1.1, S1.3
    message = graph_message(
        planned(
            canvas_of(
                [{"id": "l", "operator": "load"}, "n"],
                [{"source": "l", "source_port": "meta", "target": "n"}],
            )
        ),
        OPERATORS,
    )
    load, noop_ = message.nodes
    assert (
        load.topology.outputs[0].node,
        load.topology.outputs[0].port,
        load.topology.outputs[0].node_port,
    ) == ("n", "meta", "value")
    assert (noop_.topology.inputs[0].node, noop_.topology.inputs[0].node_port) == ("l", "meta")
    assert list(load.operator_address.nodes) == ["n0"]
