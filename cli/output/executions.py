"""Executions of the body of a map or loop as a table: those that fail, wait or run alone, the others put together."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from cli.output.controls import is_gated
from cli.output.runs import far_of
from cli.output.table import write_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from modelyard.v1 import canvas_pb2


class _Execution:
    """One execution of a body, summed up."""

    def __init__(self, number: int, nodes: Iterable[canvas_pb2.ExecutionNode]) -> None:
        from modelyard.v1 import canvas_pb2

        members = list(nodes)
        self.number = number
        self.nodes = len(members)
        self.ended = sum(node.state != canvas_pb2.EXECUTION_STATE_PENDING for node in members)
        self.gates = sum(map(is_gated, members))
        going = [node for node in members if node.detail == canvas_pb2.EXECUTION_DETAIL_RUNNING]
        self.going = going[0] if going else None
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
        if self.gates:
            return f"{self.gates} waiting for approval"
        if self.going is None:
            return ""
        return f"{self.going.node_id} is running {far_of(self.going)}".rstrip()


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
