"""Control nodes in words: gates with the command that decides, maps and loops with their executions."""

from __future__ import annotations

import sys
from itertools import groupby
from typing import TYPE_CHECKING

from cli.output.table import write_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from modelyard.v1 import canvas_pb2

WITH_BODIES = ("map", "loop")


def kind_of(node: canvas_pb2.ExecutionNode) -> str:
    """branch, map, loop or gate; "" of what runs on an agent."""
    address = node.operator_address
    if address.version or address.operator not in (*WITH_BODIES, "branch", "gate"):
        return ""
    return address.operator


def is_gated(node: canvas_pb2.ExecutionNode) -> bool:
    """Whether it waits for somebody."""
    from modelyard.v1 import canvas_pb2

    return node.detail == canvas_pb2.EXECUTION_DETAIL_GATED


def gate_lines(run: str, node: canvas_pb2.ExecutionNode) -> list[str]:
    """What a gate that waits asks, whom, and what to type."""
    asks = f": {node.gate.message}" if node.gate.message else ""
    may = ", ".join(node.gate.approvers) or "whoever may run the project"
    return [
        f"{node.node_id} waits for approval{asks} (by {may})",
        f"    yard graph approve {run} {node.node_id}",
        f"    yard graph reject {run} {node.node_id} --comment WHY",
    ]


def decision_of(node: canvas_pb2.ExecutionNode) -> str:
    """What was decided over a gate, and by whom."""
    from modelyard.v1 import canvas_pb2

    gate = node.gate
    if gate.decision == canvas_pb2.GATE_DECISION_UNSPECIFIED:
        return ""
    word = "approved" if gate.decision == canvas_pb2.GATE_DECISION_APPROVED else "rejected"
    return f"{word} by {gate.account}" + (f": {gate.comment}" if gate.comment else "")


class _Execution:
    """One execution of a body, summed up."""

    def __init__(self, number: int, nodes: Iterable[canvas_pb2.ExecutionNode]) -> None:
        from modelyard.v1 import canvas_pb2

        members = list(nodes)
        self.number = number
        self.nodes = len(members)
        self.ended = sum(node.state != canvas_pb2.EXECUTION_STATE_PENDING for node in members)
        self.gates = sum(map(is_gated, members))
        failed = [node for node in members if node.state == canvas_pb2.EXECUTION_STATE_ERROR]
        self.error = f"{failed[0].node_id}: {failed[0].error.message}" if failed else ""

    @property
    def state(self) -> str:
        if self.error:
            return "error"
        return "done" if self.ended == self.nodes else "pending"

    @property
    def what(self) -> str:
        if self.error:
            return self.error
        waits = f"{self.gates} waiting for approval" if self.gates else ""
        return waits if self.state == "pending" else ""


def write_executions(within: str, nodes: Sequence[canvas_pb2.ExecutionNode]) -> None:
    """The executions of the body of a map or loop: a line each, those that are done put together."""
    start = len(within) + 1
    numbered = groupby(nodes, key=lambda node: int(node.node_id[start:].partition("/")[0]))
    rows = [_row(within, beside) for beside in _beside(_Execution(*each) for each in numbered)]
    write_table(["EXECUTION", "STATE", "NODES", "WHAT"], rows)


def _beside(executions: Iterable[_Execution]) -> Iterator[list[_Execution]]:
    """Neighbours that are done, or wait for nothing but their turn, together; any other alone."""
    for (_, _, alone), members in groupby(
        executions,
        key=lambda one: (one.state, bool(one.what), one.number if one.what or _is_midway(one) else -1),
    ):
        found = list(members)
        assert alone < 0 or len(found) == 1
        yield found


def _is_midway(one: _Execution) -> bool:
    return one.state == "pending" and one.ended > 0


def _row(within: str, beside: Sequence[_Execution]) -> list[str]:
    first, last = beside[0], beside[-1]
    name = f"{within}/{first.number}" + (f" … {within}/{last.number}" if last is not first else "")
    ended, count = sum(one.ended for one in beside), sum(one.nodes for one in beside)
    return [name, first.state, f"{ended}/{count}", first.what]


def say_bodies(run: str, nodes: Iterable[canvas_pb2.ExecutionNode]) -> None:
    """Where the executions of maps and loops are shown; to stderr."""
    named = [node.node_id for node in nodes if kind_of(node) in WITH_BODIES]
    if named:
        more = f" (also {', '.join(named[1:6])})" if named[1:] else ""
        sys.stderr.write(f"bodies: yard graph show {run} {named[0]}{more}\n")
