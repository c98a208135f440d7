"""Why a task waits, or what would become of one, as people read it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cli.output.nouns import bar, clock
from cli.output.table import write_table

if TYPE_CHECKING:
    from modelyard.v1 import task_pb2


def write_explanation(answer: task_pb2.ExplainTaskResponse) -> None:
    """Summary, gates, decision, nodes, and what would help."""
    write = sys.stdout.write
    write(answer.summary + "\n")
    _write_waiting(answer)
    if answer.placement.candidates:
        rows = [
            [c.node, "chosen" if number == 0 else "", bar(c.occupancy_ratio), str(c.running_count)]
            for number, c in enumerate(answer.placement.candidates)
        ]
        write_table(["CANDIDATE", "", "OCCUPANCY THEN", "TASKS THEN"], rows)
    if not answer.placement.node:
        _write_nodes(answer.nodes)
    _write_suggestions(answer.suggestions)
    if answer.next_step:
        write(f"next: {answer.next_step}\n")


def write_plan(answer: task_pb2.PlanTaskResponse) -> None:
    """The same for a specification that was not submitted."""
    where = f" on {answer.node}" if answer.node else ""
    sys.stdout.write(f"{answer.summary}{where}\n")
    _write_waiting(answer)
    _write_nodes(answer.nodes)
    _write_suggestions(answer.suggestions)


def _write_waiting(answer: task_pb2.ExplainTaskResponse | task_pb2.PlanTaskResponse) -> None:
    for gate in answer.gates:
        sys.stdout.write(f"  {gate.reason}: {gate.message}\n")
    if answer.queue_position:
        sys.stdout.write(f"{answer.queue_position} tasks go before it\n")
    if answer.estimated_start_time.seconds and answer.summary.startswith("waiting"):
        sys.stdout.write(f"it may start at {clock(answer.estimated_start_time)}\n")


def _write_nodes(nodes: Iterable[task_pb2.NodeVerdict]) -> None:
    rows = [[v.node, "yes" if v.fits else "no", bar(v.occupancy_ratio), v.reason, v.message] for v in nodes]
    if rows:
        write_table(["NODE", "FITS", "OCCUPANCY", "REASON", "MESSAGE"], rows)


def _write_suggestions(suggestions: Iterable[task_pb2.Suggestion]) -> None:
    for suggestion in suggestions:
        change = f" ({suggestion.field}: {suggestion.value_json})" if suggestion.field else ""
        sys.stdout.write(f"it could start now: {suggestion.message}{change}\n")
