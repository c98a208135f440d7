"""`yard audit`: who changed what, and who was refused."""

from __future__ import annotations

import datetime
from typing import Annotated

import typer

from cli.errors import UsageError
from cli.invocation import Invocation, command, new_group
from cli.options.lists import PageSize
from cli.output.render import show_list

app = new_group("The audit log: who changed what, and who was refused. For administrators.")


@command(app, "ls")
async def list_entries(
    yard: Invocation,
    account: Annotated[str, typer.Option(help="Only what this account did")] = "",
    since: Annotated[str, typer.Option(help="For example 2h, 7d or 2026-01-31T08:00:00Z")] = "",
    rpc: Annotated[str, typer.Option(help="Only this RPC, for example CreateToken")] = "",
    resource: Annotated[str, typer.Option(help="Only what touched it: t-1, nodes/node-1")] = "",
    refused: Annotated[bool, typer.Option("--refused", help="Only what was refused")] = False,
    service: Annotated[
        str, typer.Option(help="scheduler|store|graph|trainer|models", show_default="all that run")
    ] = "",
    page_size: PageSize = 50,
    page_token: Annotated[str, typer.Option(help="Where the last page ended; needs --service")] = "",
) -> None:
    """List entries, newest first. Their moments, and all else that is kept of them: -o json."""
    from cli.output.audit import ENTRY_COLUMNS
    from modelyard.client.connection import ALWAYS, SERVICES
    from modelyard.v1 import audit_pb2

    if page_token and not service:
        raise UsageError("--page-token needs --service: each service has pages of its own")
    merged = audit_pb2.ListAuditEntriesResponse()
    async with yard.client() as client:
        for name in (service,) if service else SERVICES:
            if not service and name not in ALWAYS and not await client.connection.is_there(name):
                continue
            page = await client.audit.list(
                name,
                account=account,
                rpc=rpc,
                resource=resource,
                since=_since(since),
                refused_only=refused,
                page_size=page_size,
                page_token=page_token,
            )
            merged.entries.extend(page.entries)
            if service:
                merged.next_page_token = page.next_page_token
            elif page.next_page_token:
                yard.say(f"there is more: --service {name} --page-token {page.next_page_token}")
    newest = sorted(merged.entries, key=lambda entry: entry.time.ToNanoseconds(), reverse=True)
    del merged.entries[:]
    merged.entries.extend(newest[:page_size] if page_size > 0 else newest)
    show_list(
        yard.output, merged, merged.entries, ENTRY_COLUMNS, lambda entry: f"{entry.service}/{entry.number}",
        empty="no entries; see: yard audit ls --help",
    )  # fmt: skip


def _since(text: str) -> datetime.datetime | None:
    """A moment, or how long ago."""
    from modelyard.quantities import parse_duration

    if not text:
        return None
    now = datetime.datetime.now(datetime.UTC)
    try:
        return now - datetime.timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--since {text}: write for example 2h, 7d or 2026-01-31T08:00:00Z") from None
    return moment if moment.tzinfo else moment.astimezone()
