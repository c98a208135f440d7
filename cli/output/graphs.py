"""Projects, versions, problems, changes and levels in words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from cli.output.nouns import age
from cli.output.table import write_table

if TYPE_CHECKING:
    from cli.output.render import Columns
    from modelyard.v1 import canvas_pb2

VALUE_CHARACTERS = 60


def version_name(version: canvas_pb2.ProjectVersion) -> str:
    """For example ``p-7/12``."""
    return f"{version.project_id}/{version.version}"


def _access(project: canvas_pb2.Project) -> str:
    from modelyard.v1 import canvas_pb2

    return ", ".join(
        f"{each.account} ({canvas_pb2.ProjectRole.Name(each.role).removeprefix('PROJECT_ROLE_').lower()})"
        for each in project.access
    )


PROJECT_COLUMNS: Columns = (
    ("PROJECT", lambda project: project.id),
    ("NAME", lambda project: project.name),
    ("VERSION", lambda project: str(project.latest_version or "-")),
    ("OWNER", lambda project: project.account),
    ("AGE", lambda project: age(project.create_time)),
    ("SHARED WITH", _access),
)
PROJECT_FIELDS: Columns = tuple((title.lower(), cell) for title, cell in PROJECT_COLUMNS)

VERSION_COLUMNS: Columns = (
    ("VERSION", version_name),
    ("PARENT", lambda version: str(version.parent or "-")),
    ("AUTHOR", lambda version: version.author),
    ("AGE", lambda version: age(version.create_time)),
    ("NODES", lambda version: str(version.node_count)),
    ("EDGES", lambda version: str(version.edge_count)),
    ("DIGEST", lambda version: version.digest[:12]),
    ("COMMENT", lambda version: version.comment),
)
VERSION_FIELDS: Columns = tuple((title.lower(), cell) for title, cell in VERSION_COLUMNS)


def write_problems(problems: Sequence[canvas_pb2.CanvasProblem]) -> None:
    """Each with its place, and what to do."""
    for problem in problems:
        ends = [problem.node or problem.edge, problem.port and f"port {problem.port}", problem.field]
        place = " ".join(part for part in ends if part)
        sys.stdout.write(f"{problem.reason}  {place}{': ' if place else ''}{problem.message}\n")
        if problem.next_step:
            sys.stdout.write(f"    {problem.next_step}\n")


def write_hints(hints: Sequence[canvas_pb2.CanvasProblem]) -> None:
    """What was perhaps meant otherwise, to stderr: nothing is wrong with it."""
    for hint in hints:
        place = " ".join(part for part in (hint.node or hint.edge, hint.field) if part)
        sys.stderr.write(f"hint: {place}: {hint.message}; {hint.next_step}\n")


_MARKS = {"ADDED": "+", "REMOVED": "-", "CHANGED": "~", "MOVED": ">"}


def write_changes(changes: Sequence[canvas_pb2.CanvasChange]) -> None:
    """One line a change: + added, - removed, ~ changed, > moved."""
    from modelyard.v1 import canvas_pb2

    for change in changes:
        word = canvas_pb2.CanvasChangeKind.Name(change.kind).removeprefix("CANVAS_CHANGE_KIND_")
        what, _, kind = word.rpartition("_")
        field = f" {change.field}" if change.field else ""
        values = f": {_cut(change.before_json) or '-'} → {_cut(change.after_json) or '-'}"
        if kind in ("ADDED", "REMOVED"):
            values = ""
        sys.stdout.write(f"{_MARKS[kind]} {what.lower()} {change.id}{field}{values}\n")
    if not changes:
        sys.stderr.write("nothing changed\n")


def write_levels(nodes: Sequence[canvas_pb2.ExecutionNode]) -> None:
    """The execution graph level by level, each level in its order."""
    ranked = sorted(nodes, key=lambda node: (node.gradient, node.order))
    rows = []
    for level, beside in groupby(ranked, key=lambda node: node.gradient):
        for number, node in enumerate(beside):
            rows.append(
                [
                    "" if number else str(level),
                    str(node.order),
                    node.node_id,
                    _address(node.operator_address),
                    ", ".join(node.operator_address.nodes),
                    " ".join(_end(edge) for edge in node.topology.inputs),
                ]
            )
    write_table(["LEVEL", "ORDER", "NODE", "OPERATOR", "OFFERED BY", "FROM"], rows)


def _address(address: canvas_pb2.OperatorAddress) -> str:
    return f"{address.operator}@{address.version}" if address.version else address.operator


def _end(edge: canvas_pb2.TopologyEdge) -> str:
    return f"{edge.node}.{edge.node_port}" if edge.node_port else edge.node


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_CHARACTERS else text[: VALUE_CHARACTERS - 1] + "…"
