"""`yard tokens`: the secrets that speak for accounts."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cli.invocation import Invocation, command, new_group
from cli.options.lists import PageSize, PageToken
from cli.output.render import show_list, show_one

app = new_group("Tokens: the secrets that speak for accounts.")


@command(app)
async def add(
    yard: Invocation,
    account: Annotated[str, typer.Option(help="For whom", show_default="your own account")] = "",
    role: Annotated[str, typer.Option(help="user|viewer|admin")] = "user",
    ttl: Annotated[str, typer.Option(help="For example 30d", show_default="no end")] = "",
    comment: Annotated[str, typer.Option(help="For people")] = "",
) -> None:
    """Make a token. Its secret is shown now and never again: yard tokens add > my.token"""
    async with yard.client() as client:
        answer = await client.tokens.add(account, role=role, ttl=ttl or None, comment=comment)
    if yard.output in ("table", "name"):
        sys.stdout.write(answer.secret + "\n")
        yard.say(f"token {answer.token.id}; keep it in a file of mode 0600 and use it with --token-file")
    else:
        show_one(yard.output, answer, (), lambda item: item.token.id)


@command(app, "ls")
async def list_tokens(
    yard: Invocation,
    account: Annotated[str, typer.Option(help="Only of this account")] = "",
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> None:
    """List tokens, without their secrets."""
    from cli.output.nouns import age, clock, role

    async with yard.client() as client:
        response = await client.tokens.list(account, page_size=page_size, page_token=page_token)
    columns = (
        ("TOKEN", lambda item: item.id),
        ("ACCOUNT", lambda item: item.account),
        ("ROLE", lambda item: role(item.role)),
        ("AGE", lambda item: age(item.create_time)),
        ("EXPIRES", lambda item: clock(item.expire_time) or "never"),
        ("COMMENT", lambda item: item.comment),
    )
    show_list(yard.output, response, response.tokens, columns, lambda item: item.id)


@command(app, "rm")
async def remove(yard: Invocation, token: Annotated[str, typer.Argument(help="Id of the token")]) -> None:
    """End a token at once."""
    async with yard.client() as client:
        await client.tokens.remove(token)
    yard.say(f"ended {token}")
