"""`yard trigger backfill`: runs for the times of a schedule that have passed, followed until they have ended."""

from __future__ import annotations

import asyncio
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.errors import UsageError
from cli.invocation import Invocation, command, new_part
from cli.options import work as work_options
from cli.options import work_values
from cli.options.lists import PageSize, PageToken
from cli.output.render import show_document, show_list, show_one, to_document

if TYPE_CHECKING:
    from modelyard.client.aio import Client
    from modelyard.v1 import trigger_pb2 as pb

part = new_part()

LOOK_S = 0.5
LISTED = ("list", "ls")
"""Words in place of a trigger; one of such a name is named by its id."""


@command(part)
async def backfill(
    yard: Invocation,
    trigger: Annotated[
        str, typer.Argument(help="A trigger with a schedule; or a back-fill, e.g. b-3; or list")
    ],
    begin: Annotated[
        str, typer.Option("--from", help="From this time on, e.g. 2026-01-01, in the trigger's zone")
    ] = "",
    end: Annotated[str, typer.Option("--to", help="To before this time", show_default="now")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which times would run; start none")] = False,
    max_running: Annotated[int, typer.Option(help="Runs at a time", show_default="4")] = 0,
    order: Annotated[str, typer.Option(help="oldest|newest: which come first")] = "oldest",
    again: Annotated[bool, typer.Option("--again", help="Also times whose run has ended")] = False,
    again_failed: Annotated[
        bool, typer.Option("--again-failed", help="Also times whose run failed or was cancelled")
    ] = False,
    param: work_options.Param = [],  # noqa: B006
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Of a back-fill: start no further run of it")
    ] = False,
    cancel_runs: Annotated[
        bool, typer.Option("--cancel-runs", help="With --cancel: end those that go on too")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Do not wait; print the back-fill's id")
    ] = False,
    idempotency_key: Annotated[
        str, typer.Option(help="A UUID; the same key and request is the same back-fill")
    ] = "",
) -> int:
    """Run a schedule's past: times of a range that have no run yet. Interrupting leaves the back-fill alone."""
    from cli.output.triggers import zone_of

    async with yard.client() as client:
        if trigger in LISTED:
            return _listed(yard, await client.triggers.backfills())
        if is_backfill(trigger):
            if cancel:
                return _shown(yard, await client.triggers.cancel_backfill(trigger, cancel_runs=cancel_runs))
            return await _followed(yard, client, await client.triggers.get_backfill(trigger), detach=detach)
        if cancel or cancel_runs:
            raise UsageError("--cancel ends a back-fill", next_step="name it by its id, for example b-3")
        if not begin:
            raise UsageError(
                "a range has a begin", next_step="--from 2026-01-01, and --to where it is not now"
            )
        zone = zone_of((await client.triggers.get(trigger)).trigger)
        answer = await client.triggers.backfill(
            trigger, _moment(begin, zone, "--from"), _moment(end, zone, "--to") if end else None,
            max_running=max_running, order=order, again="all" if again else "failed" if again_failed else "none",
            params=work_values.params_of(param), dry_run=dry_run, request_id=idempotency_key,
        )  # fmt: skip
        if dry_run:
            return _planned(yard, answer)
        return await _followed(yard, client, answer.backfill, detach=detach)


@command(part)
async def backfills(
    yard: Invocation,
    trigger: Annotated[str, typer.Argument(help="Only of this trigger")] = "",
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> int:
    """List back-fills, newest first, with how far each has come."""
    async with yard.client() as client:
        return _listed(
            yard, await client.triggers.backfills(trigger, page_size=page_size, page_token=page_token)
        )


def _listed(yard: Invocation, answer: pb.ListBackfillsResponse) -> int:
    from cli.output.triggers import BACKFILL_COLUMNS

    show_list(
        yard.output, answer, answer.backfills, BACKFILL_COLUMNS, lambda one: one.id,
        empty="no back-fills; to begin one: yard trigger backfill nightly --from 2026-01-01",
    )  # fmt: skip
    return exit_codes.DONE


def _moment(text: str, zone: tzinfo, option: str) -> datetime:
    """A date alone is its midnight in the zone; a time without an offset is the zone's."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{option} {text!r} is no time", next_step="for example 2026-01-01 or 2026-01-01T06:00"
        ) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=zone)


def _planned(yard: Invocation, answer: pb.CreateBackfillResponse) -> int:
    from cli.output.triggers import TIME_COLUMNS

    show_list(
        yard.output, answer, answer.times, TIME_COLUMNS, lambda one: str(one.logical_time.ToJsonString())
    )
    if yard.output == "table":
        plan = answer.backfill
        yard.say(
            f"{plan.waiting_count} would run, {plan.max_running} at a time; {plan.kept_count} have run already. "
            "Nothing was started: leave --dry-run out to do it."
        )
    return exit_codes.DONE


async def _followed(yard: Invocation, client: Client, backfill: pb.Backfill, *, detach: bool) -> int:
    """Until nothing of it waits or goes on."""
    from cli.following.leaving import goes_on
    from cli.output.triggers import progress

    if detach:
        if yard.output == "table":
            yard.say(f"to follow it: yard trigger backfill {backfill.id}")
        return _shown(yard, backfill, short=True)
    yard.say(f"{backfill.id}; to end it: yard trigger backfill {backfill.id} --cancel")
    told, again = "", f"yard trigger backfill {backfill.id}"
    with goes_on(yard, backfill.id, again, f"{again} --cancel"):
        while True:
            backfill = await client.triggers.get_backfill(backfill.id)
            line = progress(backfill)
            if line != told:
                yard.say(f"  {line}")
                told = line
            if not backfill.waiting_count and not backfill.running_count:
                return _shown(yard, backfill)
            await asyncio.sleep(LOOK_S)


def _shown(yard: Invocation, backfill: pb.Backfill, *, short: bool = False) -> int:
    from cli.output.triggers import BACKFILL_FIELDS

    if yard.output in ("table", "name"):
        show_one("name" if short else yard.output, backfill, BACKFILL_FIELDS, lambda one: one.id)
    else:
        show_document(yard.output, to_document(backfill))
    if backfill.failed_count and not short:
        yard.say(f"which, and why: yard trigger firings {backfill.id}")
        return exit_codes.WORK_FAILED
    return exit_codes.DONE


def is_backfill(name: str) -> bool:
    """Whether that is the id of one."""
    return name.startswith("b-") and name[2:].isdecimal()
