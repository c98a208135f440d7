"""`yard quotas`: what an account may hold, over all queues, and of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.errors import CommandError, UsageError
from cli.invocation import Invocation, command, new_group
from cli.options.lists import PageSize, PageToken
from cli.options.sharing import (
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
    from modelyard.client.sharing import ModelQuotaChanges, QuotaChanges
    from modelyard.errors import YardError
    from modelyard.v1 import account_pb2, model_pb2

app = new_group(
    "Quotas: what an account may hold, over all queues, and of models. Those of queues: yard queues set."
)


@command(app, "ls")
async def list_quotas(
    yard: Invocation,
    page_size: PageSize = 50,
    page_token: PageToken = "",
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
        found = await set_both(client, account, changes, model_changes)
        of_models = await _of_models(client, [account])
    show_account(yard.output, found, of_models)


async def set_both(
    client: Client, account: str, changes: QuotaChanges, model_changes: ModelQuotaChanges
) -> account_pb2.Account:
    """The scheduler's part and the models', each where something of it is named; the account as it then is.

    Both services keep their own, so that no one step sets both: neither is written before both have said that they
    would. Raises what the first refuses, when nothing has changed, and CommandError where only the models' part stands.
    """
    from modelyard.errors import YardError

    if not model_changes:
        return await client.accounts.set(account, **changes)
    if changes:
        await client.accounts.set(account, validate_only=True, **changes)
        await client.models.set_quota(account, validate_only=True, **model_changes)
    [before] = await client.models.quotas(account)
    await client.models.set_quota(account, **model_changes)
    if not changes:
        return await client.accounts.get(account)
    try:
        return await client.accounts.set(account, **changes)
    except YardError as error:
        raise _half_set(account, before.quota, model_changes, error) from error


def _half_set(
    account: str, before: model_pb2.ModelQuota, model_changes: ModelQuotaChanges, error: YardError
) -> CommandError:
    code = exit_codes.OF_STATUS.get(error.code, exit_codes.WORK_FAILED)
    rest = "may not" if code == exit_codes.UNREACHABLE else "does not"
    flags = {name: "--" + name.replace("_", "-") for name in model_changes}
    undo = " ".join(f"{flag} {getattr(before, name)}" for name, flag in flags.items())
    return CommandError(
        f"half of it is set: {', '.join(flags.values())} (models) now counts for {account}, the rest {rest}",
        code=code,
        why=str(error),
        next_step=f"repeat the command; or undo that half: yard quotas set {account} {undo}",
    )


async def _of_models(client: Client, accounts: Sequence[str]) -> dict[str, model_pb2.AccountModelQuota]:
    """By account; empty where no models service runs."""
    if not accounts or not await client.connection.is_there("models"):
        return {}
    return {one.account: one for one in await client.models.quotas(*accounts)}
