"""`yard model alias set|rm`, `yard model history`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.completion import complete_models
from cli.invocation import Invocation, command, new_group, new_part
from cli.options.lists import PageSize, PageToken
from cli.output.render import show_list, show_one

app = new_group("Names for versions of a model, with a history that is only added to.")
part = new_part()
part.add_typer(app, name="alias")

Name = Annotated[str, typer.Argument(help="Of the model", autocompletion=complete_models)]
Alias = Annotated[str, typer.Argument(help="For example champion, which is called where no version is named")]
Comment = Annotated[str, typer.Option(help="What for, for people")]


@command(app)
async def set(
    yard: Invocation,
    model: Name,
    alias: Alias,
    version: Annotated[int, typer.Argument(help="One that is READY")],
    from_version: Annotated[
        int, typer.Option("--from", help="Only if it points at this version now", show_default="anything")
    ] = 0,
    comment: Comment = "",
) -> None:
    """Point a name at a version; it holds for the next call."""
    from cli.output.models import MODEL_COLUMNS

    async with yard.client() as client:
        shown = await client.models.set_alias(
            model, alias, version, from_version=from_version, comment=comment
        )
    show_one(yard.output, shown, MODEL_COLUMNS, lambda one: one.name)


@command(app)
async def rm(yard: Invocation, model: Name, alias: Alias, comment: Comment = "") -> None:
    """Take a name away; its history stays."""
    async with yard.client() as client:
        await client.models.delete_alias(model, alias, comment=comment)
    yard.say(f"{alias} of {model} is gone; what it pointed to: yard model history {model} {alias}")


@command(part)
async def history(
    yard: Invocation,
    model: Name,
    alias: Annotated[str, typer.Argument(help="None: all aliases", show_default=False)] = "",
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> None:
    """Show what aliases pointed to, who changed it and why, newest first."""
    from cli.output.models import CHANGE_COLUMNS

    async with yard.client() as client:
        answer = await client.models.history(model, alias, page_size, page_token)
    show_list(
        yard.output,
        answer,
        answer.changes,
        CHANGE_COLUMNS,
        lambda one: one.alias,
        empty="it never had an alias",
    )
