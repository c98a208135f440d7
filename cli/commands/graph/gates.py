"""`yard graph approve` and `reject`: somebody decides over a gate that a run waits at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.completion import complete_gates, complete_runs
from cli.invocation import Invocation, command, new_part
from cli.output.render import show_one

if TYPE_CHECKING:
    from modelyard.v1 import canvas_pb2

part = new_part()

Run = Annotated[str, typer.Argument(help="For example r-12", autocompletion=complete_runs)]
Gate = Annotated[str, typer.Argument(help="The gate, within a body m/3/ask", autocompletion=complete_gates)]


@command(part)
async def approve(
    yard: Invocation,
    run: Run,
    node: Gate,
    comment: Annotated[str, typer.Option(help="For those who read the run")] = "",
) -> None:
    """Let the value of a gate pass. Doing it twice changes nothing."""
    async with yard.client() as client:
        _say(yard, run, await client.runs.approve(run, node, comment))


@command(part)
async def reject(
    yard: Invocation,
    run: Run,
    node: Gate,
    comment: Annotated[str, typer.Option(help="Why: the gate's error says it")] = "",
) -> None:
    """End a gate in error: what follows gets the empty set, is skipped or fails with it, as its edges say."""
    async with yard.client() as client:
        _say(yard, run, await client.runs.reject(run, node, comment))


def _say(yard: Invocation, run: str, gate: canvas_pb2.ExecutionNode) -> None:
    from cli.output.controls import decision_of
    from cli.output.runs import NODE_FIELDS

    if yard.output == "table":
        yard.say(f"{run} {gate.node_id}: {decision_of(gate)}")
    else:
        show_one(yard.output, gate, NODE_FIELDS, lambda item: item.node_id)
