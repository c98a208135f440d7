"""`yard graph show` of a run: its own graph level by level, executions of a body, or one node."""

from __future__ import annotations

import sys
from itertools import groupby
from typing import TYPE_CHECKING

from cli import exit_codes
from cli.errors import CommandError
from cli.output.controls import gate_lines, is_gated, say_bodies
from cli.output.executions import write_executions
from cli.output.render import show_list, show_one
from cli.output.runs import NODE_FIELDS, node_line, show_node

ASKED_MOST = 20

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.invocation import Invocation
    from modelyard.client.aio import Client
    from modelyard.v1 import canvas_pb2


async def show_run(yard: Invocation, client: Client, run: str, within: str, *, bodies: bool) -> None:
    """All of a run; or what is at `within`: a node, a map or loop with its executions, or one execution."""
    from modelyard.v1 import run_pb2

    at = await find_node(client, run, within) if within else None
    nodes = await client.runs.nodes(run, within=within, without_bodies=not bodies)
    shown = [at, *nodes] if at is not None else nodes
    await _ask_how_far(client, shown)
    if yard.output != "table":
        answer = run_pb2.ListRunNodesResponse(nodes=shown)
        show_list(yard.output, answer, shown, (), lambda item: item.node_id)
    elif at is not None and nodes:
        show_one("table", at, NODE_FIELDS, lambda item: item.node_id)
        write_executions(within, nodes)
    elif at is not None:
        show_node("table", at)
    elif within and not nodes:
        raise not_executed(run, within)
    elif bodies:
        _write_lines(run, nodes)
    else:
        _write_levels(run, nodes)
        say_bodies(run, nodes)


async def _ask_how_far(client: Client, nodes: Sequence[canvas_pb2.ExecutionNode]) -> None:
    """Of a run that nobody watches the graph service does not know how far its tasks are; the scheduler does."""
    from modelyard.errors import YardError
    from modelyard.v1 import canvas_pb2

    going = [
        node
        for node in nodes
        if node.detail == canvas_pb2.EXECUTION_DETAIL_RUNNING and node.task and not node.HasField("progress")
    ]
    for node in going[:ASKED_MOST]:
        try:
            task = await client.tasks.get(node.task)
        except YardError:
            continue
        node.node = node.node or task.node
        if task.HasField("progress"):
            node.progress.ratio, node.progress.message = task.progress.ratio, task.progress.message


async def find_node(client: Client, run: str, name: str) -> canvas_pb2.ExecutionNode | None:
    """The node of that name; None: it is one execution of a body."""
    from modelyard.errors import YardError

    try:
        return await client.runs.result(run, name)
    except YardError as error:
        if error.reason != "NODE_UNKNOWN" or not name.rpartition("/")[2].isdecimal():
            raise
        return None


def not_executed(run: str, execution: str) -> CommandError:
    """No execution of a body has that number."""
    return CommandError(
        f"{run} has not executed {execution}", code=exit_codes.NOT_FOUND,
        next_step=f"yard graph show {run} {execution.rpartition('/')[0]}",
    )  # fmt: skip


def _write_levels(run: str, nodes: Sequence[canvas_pb2.ExecutionNode]) -> None:
    """Each node with what became of it; a gate that waits with the commands that decide."""
    ranked = sorted(nodes, key=lambda node: (node.gradient, node.order))
    for level, members in groupby(ranked, key=lambda node: node.gradient):
        sys.stdout.write(f"level {level}\n")
        _write_lines(run, list(members))


def _write_lines(run: str, nodes: Sequence[canvas_pb2.ExecutionNode]) -> None:
    for node in nodes:
        sys.stdout.write(f"  {node_line(node)}\n")
        if is_gated(node):
            sys.stdout.write("".join(f"{'':10}{line}\n" for line in gate_lines(run, node)))
