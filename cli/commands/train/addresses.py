"""`yard train addresses`: where the instances of a job are, now and whenever one has moved."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

import typer

from cli.commands.train.jobs import Job
from cli.invocation import Invocation, command, new_part
from cli.output.render import show_document, show_list, to_document

part = new_part()


@command(part)
async def addresses(
    yard: Invocation,
    job: Job,
    role: Annotated[list[str], typer.Option(help="Only this one; repeatable", metavar="ROLE")] = [],  # noqa: B006
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on with what changes, until its end")
    ] = False,
) -> None:
    """Show where the instances of a job are reached. With --watch -o json: a line for each change."""
    from cli.output.addresses import ADDRESS_COLUMNS, line_of
    from modelyard.v1 import job_pb2

    async with yard.client() as client, aclosing(client.jobs.addresses(job, role)) as changes:
        if not watch:
            found = await anext(changes, job_pb2.WatchAddressesResponse())
            show_list(
                yard.output,
                found,
                found.addresses,
                ADDRESS_COLUMNS,
                lambda one: one.name,
                empty="no addresses",
            )
            return
        async for change in changes:
            if yard.output == "table":
                for one in change.addresses:
                    yard.say(line_of(one))
            else:
                show_document(yard.output, to_document(change))
