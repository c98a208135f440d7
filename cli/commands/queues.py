"""`yard queues`: in which order accounts share the machines."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.completion import complete_queues
from cli.errors import UsageError
from cli.invocation import Invocation, command, new_group
from cli.options.lists import PageSize, PageToken
from cli.options.sharing import (
    NOTHING,
    Guarantee,
    Limit,
    MaxRunning,
    MaxUnfinished,
    Weight,
    changes_of,
)
from cli.output.render import show_list, show_one
from cli.prompts import confirm

app = new_group("Queues: in which order accounts share the machines.")

Name = Annotated[str, typer.Argument(help="Name of the queue", autocompletion=complete_queues)]
Priority = Annotated[
    int | None, typer.Option(help="Queues of higher priority go first, −1000 … 1000", show_default=False)
]
Ageing = Annotated[
    str, typer.Option(help="A task that waits so long makes up for one point of priority; 0: never")
]
Account = Annotated[
    list[str], typer.Option(help="Only these accounts may use it; none: all; repeatable", show_default=False)
]


def _settings(priority: int | None, ageing: str, account: list[str], **quota: Any) -> dict[str, Any]:
    settings: dict[str, Any] = dict(changes_of(**quota))
    if priority is not None:
        settings["priority"] = priority
    if ageing:
        settings["ageing"] = ageing
    if account:
        settings["accounts"] = [] if account == [NOTHING] else account
    return settings


@command(app, "ls")
async def list_queues(
    yard: Invocation,
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> None:
    """List queues: what is held and what waits."""
    from cli.output.shares import QUEUE_COLUMNS

    async with yard.client() as client:
        response = await client.queues.list(page_size=page_size, page_token=page_token)
    show_list(yard.output, response, response.queues, QUEUE_COLUMNS, lambda queue: queue.name)


@command(app, "get")
async def get_queue(yard: Invocation, name: Name) -> None:
    """Show one queue and the shares of those who use it."""
    async with yard.client() as client:
        _show(yard, await client.queues.get(name))


@command(app)
async def add(
    yard: Invocation,
    name: Name,
    priority: Priority = None,
    weight: Weight = None,
    limit: Limit = [],  # noqa: B006
    guarantee: Guarantee = [],  # noqa: B006
    max_running: MaxRunning = None,
    max_unfinished: MaxUnfinished = None,
    ageing: Ageing = "",
    account: Account = [],  # noqa: B006
) -> None:
    """Make a queue."""
    settings = _settings(
        priority, ageing, account, weight=weight, limit=limit, guarantee=guarantee, max_running=max_running,
        max_unfinished=max_unfinished,
    )  # fmt: skip
    async with yard.client() as client:
        _show(yard, await client.queues.add(name, **settings))
    yard.say(f"next: yard run --queue {name} -- COMMAND")


@command(app, "set")
async def set_queue(
    yard: Invocation,
    name: Name,
    priority: Priority = None,
    weight: Weight = None,
    limit: Limit = [],  # noqa: B006
    guarantee: Guarantee = [],  # noqa: B006
    max_running: MaxRunning = None,
    max_unfinished: MaxUnfinished = None,
    ageing: Ageing = "",
    account: Account = [],  # noqa: B006
) -> None:
    """Change a queue; what is not named stays."""
    settings = _settings(
        priority, ageing, account, weight=weight, limit=limit, guarantee=guarantee, max_running=max_running,
        max_unfinished=max_unfinished,
    )  # fmt: skip
    if not settings:
        raise UsageError("name what to change, for example --weight 2 or --limit cpu=8")
    async with yard.client() as client:
        _show(yard, await client.queues.set(name, **settings))


@command(app)
async def stop(yard: Invocation, name: Name) -> None:
    """Let nothing of a queue start; what runs goes on."""
    async with yard.client() as client:
        await client.queues.set(name, stopped=True)
    yard.say(f"stopped {name}; next: yard queues start {name}")


@command(app)
async def start(yard: Invocation, name: Name) -> None:
    """Let the tasks of a stopped queue start again."""
    async with yard.client() as client:
        await client.queues.set(name, stopped=False)
    yard.say(f"started {name}")


@command(app, "rm")
async def remove(
    yard: Invocation, name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False
) -> None:
    """Delete a queue. Refused while unfinished tasks are in it."""
    confirm(f"Delete the queue {name}?", yes=yes)
    async with yard.client() as client:
        await client.queues.remove(name)
    yard.say(f"deleted {name}")


def _show(yard: Invocation, queue: Any) -> None:
    from cli.output.shares import QUEUE_FIELDS

    show_one(yard.output, queue, QUEUE_FIELDS, lambda item: item.name)
