"""`yard quotas`: what an account may hold, over all queues."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.errors import UsageError
from cli.invocation import Invocation, command, new_group
from cli.output.render import show_list, show_one
from cli.sharing_options import Guarantee, Limit, MaxRunning, MaxUnfinished, Weight, changes_of

app = new_group("Quotas: what an account may hold, over all queues. Those of queues: yard queues set.")


@command(app, "ls")
async def list_quotas(
    yard: Invocation,
    page_size: Annotated[int, typer.Option(help="Most rows")] = 50,
    page_token: Annotated[str, typer.Option(help="Where the last page ended")] = "",
) -> None:
    """List every account's quota and what it holds; for administrators."""
    from cli.output.shares import ACCOUNT_COLUMNS

    async with yard.client() as client:
        response = await client.accounts.list(page_size=page_size, page_token=page_token)
    show_list(yard.output, response, response.accounts, ACCOUNT_COLUMNS, lambda account: account.name)


@command(app, "get")
async def get_quota(
    yard: Invocation,
    account: Annotated[str, typer.Argument(help="Account; unset: your own")] = "",
) -> None:
    """Show an account's quota and what it holds."""
    from cli.output.shares import ACCOUNT_FIELDS

    async with yard.client() as client:
        found = await client.accounts.get(account)
    show_one(yard.output, found, ACCOUNT_FIELDS, lambda item: item.name)


@command(app, "set")
async def set_quota(
    yard: Invocation,
    account: Annotated[str, typer.Argument(help="Account")],
    weight: Weight = None,
    limit: Limit = [],  # noqa: B006
    guarantee: Guarantee = [],  # noqa: B006
    max_running: MaxRunning = None,
    max_unfinished: MaxUnfinished = None,
) -> None:
    """Change an account's weight and quota; what is not named stays."""
    from cli.output.shares import ACCOUNT_FIELDS

    changes = changes_of(weight, limit, guarantee, max_running, max_unfinished)
    if not changes:
        raise UsageError("name what to change, for example --limit cpu=8 or --weight 2")
    async with yard.client() as client:
        changed = await client.accounts.set(account, **changes)
    show_one(yard.output, changed, ACCOUNT_FIELDS, lambda item: item.name)
