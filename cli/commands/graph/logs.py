"""`yard graph logs`: what the nodes of a run wrote, by their tasks; of a training job what its instances wrote."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.commands.graph.showing import find_node, not_executed
from cli.completion import complete_run_nodes, complete_runs
from cli.errors import CommandError
from cli.invocation import Invocation, command, new_part
from cli.output.controls import WITH_BODIES, kind_of

if TYPE_CHECKING:
    from modelyard.client.aio import Client
    from modelyard.v1 import canvas_pb2

part = new_part()

BODY_NODES_MOST = 200
"""Of a map or loop, the nodes whose words are printed: there may be a hundred thousand."""

Run = Annotated[str, typer.Argument(help="For example r-12", autocompletion=complete_runs)]


@command(part)
async def logs(
    yard: Invocation,
    run: Run,
    node: Annotated[
        str,
        typer.Argument(
            help="A node of it, within a body m/3/s; or a map, a loop",
            show_default="all",
            autocompletion=complete_run_nodes,
        ),
    ] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Of one node: go on until it has ended")
    ] = False,
) -> None:
    """Print what a node wrote: its stdout to stdout, its stderr to stderr; without a node what all of them wrote.

    Of a map or loop, and of one execution m/3 of its body, what the nodes in it wrote.
    """
    async with yard.client() as client:
        if not node:
            for each in await client.runs.nodes(run, without_bodies=True):
                await _write_headed(client, each)
                if kind_of(each) in WITH_BODIES:
                    await _write_bodies(client, run, each.node_id)
            return
        found = await find_node(client, run, node)
        if found is not None and found.task:
            await _write(client, found.task, follow=follow)
        elif found is not None and kind_of(found) not in WITH_BODIES:
            raise _silent(run, found)
        elif follow:
            raise CommandError(
                f"{node} has no task of its own that could be followed", code=exit_codes.USAGE,
                next_step=f"yard graph show {run} {node}, then follow a node in it",
            )  # fmt: skip
        elif not await _write_bodies(client, run, node) and found is None:
            raise not_executed(run, node)


async def _write_bodies(client: Client, run: str, within: str) -> bool:
    """What nodes below a map or loop, or within one execution, wrote; whether there are any."""
    nodes = await client.runs.nodes(run, within=within, most=BODY_NODES_MOST + 1)
    for node in nodes[:BODY_NODES_MOST]:
        await _write_headed(client, node)
    if len(nodes) > BODY_NODES_MOST:
        last = nodes[BODY_NODES_MOST].node_id
        sys.stderr.write(f"── more from {last} on: yard graph logs {run} {last.rpartition('/')[0]} ──\n")
    return bool(nodes)


async def _write_headed(client: Client, node: canvas_pb2.ExecutionNode) -> None:
    """Under the node's name; nothing of one that has no task."""
    if node.task:
        sys.stdout.flush()
        sys.stderr.write(f"── {node.node_id} ({node.task}) ──\n")
        await _write(client, node.task, follow=False)


async def _write(client: Client, task: str, *, follow: bool) -> None:
    from cli.output.logs import LogWriter

    writer = LogWriter()
    async for chunk in client.tasks.logs(task, follow=follow):
        writer.write(chunk)


def _silent(run: str, node: canvas_pb2.ExecutionNode) -> CommandError:
    from cli.output.runs import detail_of

    return CommandError(
        f"{node.node_id} of {run} is {detail_of(node)}: it has no task, so nothing was written",
        code=exit_codes.NOT_FOUND, next_step=f"yard graph show {run} {node.node_id}",
    )  # fmt: skip
