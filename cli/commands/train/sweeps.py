"""`yard train sweep`: one job many times, each with other values; watched, compared, stopped, exported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.completion import complete_sweeps
from cli.documents import read_document
from cli.errors import UsageError
from cli.invocation import Invocation, command, new_group, new_part
from cli.options import work as work_options
from cli.options.lists import PageSize, PageToken
from cli.output.render import show_list, show_one

if TYPE_CHECKING:
    from modelyard.client.aio import Client
    from modelyard.v1 import sweep_pb2

app = new_group(
    "Search for values: one training job many times, in a grid, at random, or the best only to the end."
)
part = new_part()
part.add_typer(app, name="sweep")

Sweep = Annotated[str, typer.Argument(help="For example s-3", autocompletion=complete_sweeps)]
Comment = Annotated[str, typer.Option(help="What for, for people")]
NO_SWEEPS = "no sweeps; next: yard train sweep run FILE"
SweepFile = Annotated[str, typer.Argument(help="A sweep file, YAML or JSON; - reads stdin")]


@command(app)
async def run(
    yard: Invocation,
    file: SweepFile,
    name: Annotated[str, typer.Option(help="Instead of the file's name")] = "",
    queue: Annotated[str, typer.Option(help="Instead of the job's queue")] = "",
    parallel: Annotated[int, typer.Option(help="Trials at a time", min=0, show_default="the file's")] = 0,
    dir: Annotated[str, typer.Option(help="Directory that every instance runs in a copy of")] = "",
    contact: work_options.Contact = "",
    notify: work_options.Notify = "",
    silent: work_options.Silent = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait; print the sweep's id")] = False,
    idempotency_key: Annotated[
        str, typer.Option(help="A UUID; the same key and request is the same sweep")
    ] = "",
) -> int:
    """Search: begin a sweep, tell what becomes of its trials until its end. Interrupting leaves it alone."""
    async with yard.client() as client:
        digest = await client.artifacts.bundle(dir) if dir else ""
        sweep = await client.sweeps.create(
            read_document(file), name=name, queue=queue, parallel=parallel, bundle_digest=digest,
            contact=contact, notify=notify, silent=silent, request_id=idempotency_key,
        )  # fmt: skip
        return await _followed(yard, client, sweep, detach=detach)


async def _followed(yard: Invocation, client: Client, sweep: sweep_pb2.Sweep, *, detach: bool) -> int:
    from cli.following.leaving import goes_on
    from cli.output.sweeps import SWEEP_FIELDS, exit_code, state_of, write_best
    from modelyard.client.sweeps import ENDED

    if detach:
        show_one("name" if yard.output == "table" else yard.output, sweep, SWEEP_FIELDS, lambda one: one.id)
        return exit_codes.DONE
    yard.say(f"{sweep.id}: {sweep.trial_count} trials, {sweep.parallel_count} at a time; "
             f"to stop it: yard train sweep stop {sweep.id}")  # fmt: skip
    with goes_on(yard, sweep.id, f"yard train sweep watch {sweep.id}", f"yard train sweep stop {sweep.id}"):
        sweep = await _watched(yard, client, sweep)
    assert sweep.state in ENDED
    yard.say(f"{sweep.id} {state_of(sweep)}: {sweep.message}")
    show_one(yard.output, sweep, SWEEP_FIELDS, lambda one: one.id)
    if yard.output == "table":
        write_best(sweep)
    return exit_code(sweep)


async def _watched(yard: Invocation, client: Client, sweep: sweep_pb2.Sweep) -> sweep_pb2.Sweep:
    """The sweep once it has ended; what becomes of its trials goes to stderr."""
    from cli.output.sweeps import line_of

    told: dict[int, str] = {}
    async for response in client.sweeps.watch(sweep.id):
        sweep = response.sweep
        for trial in response.trials:
            line = line_of(trial, sweep)
            if told.get(trial.number) != line:
                yard.say(f"  {line}")
            told[trial.number] = line
    return sweep


@command(app)
async def watch(yard: Invocation, sweep: Sweep) -> int:
    """Tell what becomes of a sweep's trials until its end."""
    async with yard.client() as client:
        return await _followed(yard, client, await client.sweeps.get(sweep), detach=False)


@command(app)
async def ls(
    yard: Invocation,
    all_times: Annotated[bool, typer.Option("--all", help="Ended ones however old")] = False,
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> None:
    """List sweeps, newest first: those that go on, and those of the last day."""
    from cli.output.sweeps import SWEEP_COLUMNS

    async with yard.client() as client:
        answer = await client.sweeps.list(page_size, page_token, all_times=all_times)
    show_list(yard.output, answer, answer.sweeps, SWEEP_COLUMNS, lambda one: one.id, empty=NO_SWEEPS)


@command(app)
async def get(
    yard: Invocation,
    sweep: Sweep,
    csv: Annotated[bool, typer.Option("--csv", help="The trials as CSV, by number")] = False,
    most: Annotated[int, typer.Option(help="Trials that are shown; all with --csv and -o", min=1)] = 20,
) -> None:
    """Show a sweep and its trials, the best first; the best one's command line."""
    from cli.output.render import show_document, to_document
    from cli.output.sweeps import SWEEP_FIELDS, trial_columns, write_best, write_csv
    from modelyard.v1 import sweep_pb2

    if csv and yard.output != "table":
        raise UsageError("--csv is a format by itself", next_step="leave -o out")
    async with yard.client() as client:
        found = await client.sweeps.get(sweep)
        trials = await client.sweeps.trials(sweep, best_first=not csv)
    if csv:
        write_csv(found, trials)
        return
    if yard.output not in ("table", "name"):
        show_document(yard.output, {**to_document(found), "trials": [to_document(one) for one in trials]})
        return
    show_one(yard.output, found, SWEEP_FIELDS, lambda one: one.id)
    if yard.output == "table":
        answer = sweep_pb2.ListTrialsResponse(trials=trials[:most])
        show_list("table", answer, answer.trials, trial_columns(found), lambda one: f"{one.number}")
        if len(trials) > most:
            yard.say(f"{most} of {len(trials)} trials; all: --most {len(trials)}")
        write_best(found)


@command(app)
async def stop(yard: Invocation, sweep: Sweep, comment: Comment = "") -> None:
    """End a sweep: its trials are stopped, no others begin. One that has ended stays as it is."""
    async with yard.client() as client:
        _show(yard, await client.sweeps.stop(sweep, comment))


@command(app)
async def suspend(yard: Invocation, sweep: Sweep, comment: Comment = "") -> None:
    """Let a sweep give back all it holds; its trials go on from their checkpoints, or anew, when it is resumed."""
    async with yard.client() as client:
        _show(yard, await client.sweeps.suspend(sweep, comment))


@command(app)
async def resume(yard: Invocation, sweep: Sweep) -> None:
    """Let a suspended sweep go on."""
    async with yard.client() as client:
        _show(yard, await client.sweeps.resume(sweep))


def _show(yard: Invocation, sweep: sweep_pb2.Sweep) -> None:
    from cli.output.sweeps import SWEEP_FIELDS

    show_one(yard.output, sweep, SWEEP_FIELDS, lambda one: one.id)
