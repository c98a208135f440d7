"""`yard accounts`: who may ask for what."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.invocation import Invocation, command, new_group
from cli.options.lists import PageSize, PageToken
from cli.output.render import show_list, show_one
from cli.prompts import confirm

app = new_group("Accounts: each sees only its own tasks, logs and artefacts.")

Name = Annotated[str, typer.Argument(help="Name of the account")]


@command(app)
async def add(yard: Invocation, name: Name) -> None:
    """Make an account."""
    async with yard.client() as client:
        account = await client.accounts.add(name)
    show_one(yard.output, account, (("account", lambda item: item.name),), lambda item: item.name)
    yard.say(f"next: yard tokens add --account {name}")


@command(app, "ls")
async def list_accounts(
    yard: Invocation,
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> None:
    """List accounts."""
    from cli.output.nouns import age

    async with yard.client() as client:
        response = await client.accounts.list(page_size=page_size, page_token=page_token)
    columns = (("ACCOUNT", lambda item: item.name), ("AGE", lambda item: age(item.create_time)))
    show_list(yard.output, response, response.accounts, columns, lambda item: item.name)


@command(app, "rm")
async def remove(
    yard: Invocation, name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False
) -> None:
    """Delete an account; its tokens end at once. Refused while it has unfinished tasks."""
    confirm(f"Delete the account {name} and its tokens?", yes=yes)
    async with yard.client() as client:
        await client.accounts.remove(name)
    yard.say(f"deleted {name}")


@command(app)
async def whoami(yard: Invocation) -> None:
    """Show as whom this token speaks."""
    from cli.output.nouns import role

    async with yard.client() as client:
        identity = await client.accounts.identity()
    fields = (
        ("account", lambda item: item.account),
        ("role", lambda item: role(item.role)),
        ("node", lambda item: item.node),
        ("task", lambda item: item.task_id),
        ("token", lambda item: item.token_id),
    )
    show_one(yard.output, identity, fields, lambda item: item.account)
