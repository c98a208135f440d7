"""`yard quotas`: what an account may hold, over all queues, and of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import UsageError
from cli.invocation import Invocation, command, new_group
from cli.sharing_options import (
    Guarantee,
    Limit,
    MaxCalls,
    MaxComponentBytes,
    MaxRunning,
    MaxUnfinished,
    MaxVersions,
    Weight,
    changes_of,
    model_changes_of,
)

if TYPE_CHECKING:
    from modelyard.client import Client
    from modelyard.v1 import model_pb2

app = new_group(
    "Quotas: what an account may hold, over all queues, and of models. Those of queues: yard queues set."
)


@command(app, "ls")
async def list_quotas(
    yard: Invocation,
    page_size: Annotated[int, typer.Option(help="Most rows")] = 50,
    page_token: Annotated[str, typer.Option(help="Where the last page ended")] = "",
) -> None:
    """List every account's quotas and what it holds; for administrators."""
    from cli.output.shares import show_accounts

    async with yard.client() as client:
        response = await client.accounts.list(page_size=page_size, page_token=page_token)
        of_models = await _of_models(client, [account.name for account in response.accounts])
    show_accounts(yard.output, response, of_models)


@command(app, "get")
async def get_quota(
    yard: Invocation,
    account: Annotated[str, typer.Argument(help="Account; unset: your own")] = "",
) -> None:
    """Show an account's quotas and what it holds."""
    from cli.output.shares import show_account

    async with yard.client() as client:
        found = await client.accounts.get(account)
        of_models = await _of_models(client, [found.name])
    show_account(yard.output, found, of_models)


@command(app, "set")
async def set_quota(
    yard: Invocation,
    account: Annotated[str, typer.Argument(help="Account")],
    weight: Weight = None,
    limit: Limit = [],  # noqa: B006
    guarantee: Guarantee = [],  # noqa: B006
    max_running: MaxRunning = None,
    max_unfinished: MaxUnfinished = None,
    max_versions: MaxVersions = None,
    max_component_bytes: MaxComponentBytes = "",
    max_calls: MaxCalls = None,
) -> None:
    """Change an account's weight and quota; what is not named stays."""
    from cli.output.shares import show_account

    changes = changes_of(weight, limit, guarantee, max_running, max_unfinished)
    model_changes = model_changes_of(max_versions, max_component_bytes, max_calls)
    if not changes and not model_changes:
        raise UsageError("name what to change, for example --limit cpu=8, --weight 2 or --max-calls 16")
    async with yard.client() as client:
        found = await client.accounts.get(account)
        # First what may not be there at all, so that nothing is half changed.
        if model_changes:
            await client.models.set_quota(account, **model_changes)
        if changes:
            found = await client.accounts.set(account, **changes)
        of_models = await _of_models(client, [account])
    show_account(yard.output, found, of_models)


async def _of_models(client: Client, accounts: Sequence[str]) -> dict[str, model_pb2.AccountModelQuota]:
    """By account; empty where no models service runs."""
    if not accounts or not await client.connection.is_there("models"):
        return {}
    return {one.account: one for one in await client.models.quotas(*accounts)}
