"""`yard lineage`: where something comes from, and what became of it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cli.errors import UsageError
from cli.invocation import Invocation, command, new_command

app = new_command()


@command(app, "lineage", formats=("dot", "mermaid"))
async def show(
    yard: Invocation,
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REF",
            help="t-7, r-3, r-3/NODE, p-1:4, j-5, s-2, iris:3, iris@champion, sha256:…, a deployment, or a file",
        ),
    ],
    up: Annotated[bool, typer.Option("--up", help="Only what it comes from")] = False,
    down: Annotated[bool, typer.Option("--down", help="Only what was made of it")] = False,
    both: Annotated[bool, typer.Option("--both", help="Both ways, as without any of the three")] = False,
    depth: Annotated[int, typer.Option(min=0, max=200, help="Links from there, at most")] = 20,
    most: Annotated[int, typer.Option(min=1, max=10_000, help="Things, at most")] = 500,
) -> None:
    """Show where something comes from and what became of it: data, code, runs, tasks, jobs, models, calls.

    ← comes before it, → was made of it, = is the same work seen by another service. -o dot and -o mermaid draw it.
    """
    from cli.output import lineage as output
    from cli.output.render import show_document, to_document

    if up and down:
        raise UsageError("--up and --down together are --both")
    async with yard.client() as client:
        found = await client.lineage.of(
            reference, up=up or both or not down, down=down or both or not up, depth=depth, most=most
        )
    if yard.output == "table":
        sys.stdout.write(output.tree(found))
    elif yard.output == "dot":
        sys.stdout.write(output.dot(found))
    elif yard.output == "mermaid":
        sys.stdout.write(output.mermaid(found))
    elif yard.output == "name":
        sys.stdout.write("".join(f"{output.reference(one)}\n" for one in found.things if not one.is_hidden))
    elif yard.output == "jsonl":
        for one in found.things:
            show_document("jsonl", to_document(one))
    else:
        show_document(yard.output, to_document(found))
    for gap in found.gaps:
        yard.say(f"note: {gap}")
