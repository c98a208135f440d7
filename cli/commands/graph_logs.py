"""`yard graph logs`: what the nodes of a run wrote, by their tasks; of a training job what its instances wrote."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.completion import complete_run_nodes, complete_runs
from cli.errors import CommandError
from cli.invocation import Invocation, command, new_part

if TYPE_CHECKING:
    from modelyard.client.aio import Client
    from modelyard.v1 import canvas_pb2

part = new_part()

Run = Annotated[str, typer.Argument(help="For example r-12", autocompletion=complete_runs)]


@command(part)
async def logs(
    yard: Invocation,
    run: Run,
    node: Annotated[
        str,
        typer.Argument(
            help="A node of it, within a body m/3/s", show_default="all", autocompletion=complete_run_nodes
        ),
    ] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Of one node: go on until it has ended")
    ] = False,
) -> None:
    """Print what a node wrote: its stdout to stdout, its stderr to stderr; without a node what all of them wrote."""
    async with yard.client() as client:
        if node:
            found = await client.runs.result(run, node)
            if not found.task:
                raise _silent(run, found)
            await _write(client, found.task, follow=follow)
            return
        for each in await client.runs.nodes(run, without_bodies=True):
            if each.task:
                sys.stdout.flush()
                sys.stderr.write(f"── {each.node_id} ({each.task}) ──\n")
                await _write(client, each.task, follow=False)


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
