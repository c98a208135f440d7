"""What nodes are busy with, for people: a line for each resource of a node, then the tasks that hold them.

Everything fits 80 columns. Owns no numbers: they are the scheduler's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cli.output.nouns import node_state
from cli.output.table import write_table
from modelyard.quantities import format_size

if TYPE_CHECKING:
    from modelyard.v1 import node_pb2, task_pb2


def write_occupancy(nodes: Sequence[node_pb2.NodeOccupancy]) -> None:
    """Both tables to stdout."""
    if not nodes:
        sys.stderr.write("no node is connected; next: yard agent join, with the line of: yard nodes token\n")
        return
    windows = (
        [f"{window.window_s}s" for window in nodes[0].resources[0].windows] if nodes[0].resources else []
    )
    titles = ["NODE", "STATE", "TASKS", "RESOURCE", *windows, "RESERVED", "COUNTED"]
    write_table(titles, [row for node in nodes for row in _rows(node, len(windows))])
    tasks = [(node.node, task) for node in nodes for task in node.tasks]
    if tasks:
        sys.stdout.write("\n")
        titles = ["NODE", "TASK", "ACCOUNT", "USES CPU", "MEMORY", "HOLDS", "NAME"]
        write_table(titles, [_task_row(node, task) for node, task in tasks])


def _rows(node: node_pb2.NodeOccupancy, windows: int) -> Iterable[list[str]]:
    """The first line of a node names it, the others are its further resources."""
    head = [node.node, node_state(node.state), str(node.running_count)]
    for resource in node.resources:
        if not resource.capacity:
            continue
        measured = [_share(window.measured, resource.capacity) for window in resource.windows]
        reserved = (
            f"{amount(resource.resource, resource.reserved)}/{amount(resource.resource, resource.capacity)}"
        )
        yield [*head, resource.resource, *measured, reserved, f"{resource.occupancy_ratio:.0%}"]
        head = ["", "", ""]
    if head[0]:
        yield [*head, "", *[""] * windows, "", ""]


def _share(value: float, capacity: float) -> str:
    return f"{value / capacity:.0%}"


def amount(resource: str, value: float) -> str:
    """An amount of a resource, short."""
    return format_size(value) if resource == "memory" else f"{value:.3g}"


def _task_row(node: str, task: node_pb2.NodeTask) -> list[str]:
    used = ["", ""]
    if task.measured_memory_bytes:
        used = [f"{task.measured_cpu:.2g}", format_size(task.measured_memory_bytes)]
    what = "quote" if task.is_quote else task.task_id or "(another\u2019s)"
    return [node, what, task.account, *used, _held(task.resources), task.name]


def _held(held: task_pb2.Resources) -> str:
    amounts = {"cpu": held.cpu, "memory": held.memory_bytes, "gpu": held.gpu, **held.custom}
    return " ".join(f"{amount(name, value)} {name}" for name, value in amounts.items() if value)
