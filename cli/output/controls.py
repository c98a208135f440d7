"""Control nodes in words: gates with the command that decides, where the bodies of maps and loops are shown."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

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


def say_bodies(run: str, nodes: Iterable[canvas_pb2.ExecutionNode]) -> None:
    """Where the executions of maps and loops are shown; to stderr."""
    named = [node.node_id for node in nodes if kind_of(node) in WITH_BODIES]
    if named:
        more = f" (also {', '.join(named[1:6])})" if named[1:] else ""
        sys.stderr.write(f"bodies: yard graph show {run} {named[0]}{more}\n")
