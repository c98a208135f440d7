"""`yard train logs` and `yard train plot`: what a job has written, and how its metrics went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.commands.train.jobs import Job
from cli.errors import CommandError, UsageError
from cli.invocation import Invocation, command, new_part
from cli.output.render import show_document

if TYPE_CHECKING:
    from modelyard.v1 import job_pb2

part = new_part()

Who = Annotated[
    str, typer.Argument(help="ROLE or ROLE-INDEX, for example worker or worker-0", metavar="[ROLE[-INDEX]]")
]
Metric = Annotated[list[str], typer.Option(help="Only this one; repeatable", metavar="NAME")]


@command(part)
async def logs(
    yard: Invocation,
    job: Job,
    who: Who = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job has ended and its last byte is here")
    ] = False,
    merge: Annotated[
        bool | None,
        typer.Option(
            "--merge/--in-turn",
            help="Lines as they arrive, or one instance after the other",
            show_default="--merge with --follow",
        ),
    ] = None,
) -> None:
    """Print what instances wrote, those of all epochs: stdout to stdout, stderr to stderr."""
    from cli.output.job_logs import JsonLines, PlainBytes, PrefixedLines

    async with yard.client() as client:
        role, index = _named(await client.jobs.get(job), who)
        is_merged = follow if merge is None else merge
        writer = PlainBytes() if index is not None else PrefixedLines()
        lines = JsonLines() if yard.output in ("json", "jsonl") else writer
        async for chunk in client.jobs.logs(job, role, index, follow=follow, merge=is_merged):
            lines.write(chunk)
        lines.finish()


@command(part)
async def metrics(
    yard: Invocation,
    job: Job,
    metric: Metric = [],  # noqa: B006
    points: Annotated[
        int, typer.Option(help="Of each curve at most, evenly thinned out", min=1, max=10_000)
    ] = 1_000,
) -> None:
    """Show the metrics that a job has told; with -o json every point."""
    from cli.output.curves import SERIES_COLUMNS, name_of
    from cli.output.render import show_list
    from modelyard.v1 import job_pb2

    async with yard.client() as client:
        series = await client.jobs.metrics(job, metric, points)
    answer = job_pb2.ListJobMetricsResponse(series=series)
    show_list(yard.output, answer, series, SERIES_COLUMNS, name_of, empty="no metrics")


@command(part)
async def plot(
    yard: Invocation,
    job: Job,
    out: Annotated[str, typer.Option("--out", help="A file that ends with .png or .svg")],
    metric: Metric = [],  # noqa: B006
) -> None:
    """Draw the curves of a job's metrics by step, a picture above the other, a line for each instance."""
    from cli.output.plotting import draw, require

    require(out)
    async with yard.client() as client:
        series = await client.jobs.metrics(job, metric)
    if not series:
        told = f"metric {', '.join(metric)}" if metric else "metric"
        raise CommandError(
            f"{job} has told no {told}", code=exit_codes.NOT_FOUND, next_step=f"yard train metrics {job}"
        )
    draw(series, out, title=job)
    yard.say(f"{out}: {len({one.name for one in series})} metrics")


@command(part)
async def report(
    yard: Invocation,
    job: Job,
    who: Annotated[str, typer.Argument(help="ROLE-INDEX", metavar="ROLE-INDEX")],
    step: Annotated[int | None, typer.Option(help="How many steps are done")] = None,
    total: Annotated[int | None, typer.Option(help="How many there are")] = None,
    metric: Annotated[list[str], typer.Option(help="NAME=VALUE; repeatable", metavar="NAME=VALUE")] = [],  # noqa: B006
    message: Annotated[str, typer.Option(help="For people")] = "",
) -> None:
    """Tell how far an instance is, on behalf of its program. Prints "stop" where it is to save its state and end."""
    async with yard.client() as client:
        role, index = _named(await client.jobs.get(job), who)
        if index is None:
            raise UsageError(f"{who!r} is no single instance", next_step=f"for example {who}-0")
        should_stop = await client.jobs.report(
            job, role, index, step=step, total_steps=total, metrics=_values(metric), message=message
        )
    if yard.output in ("json", "jsonl", "yaml"):
        show_document(yard.output, {"shouldStop": should_stop})
    else:
        yard.say("stop" if should_stop else "go on")


def _values(words: list[str]) -> dict[str, float]:
    found = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise UsageError(f"--metric {word!r} is no NAME=VALUE", next_step="--metric loss=0.25") from error
    return found


def _named(job: job_pb2.Job, who: str) -> tuple[str, int | None]:
    """Role and index of "worker-0"; a role's name may end with a number too. Raises UsageError."""
    roles = [role.name for role in job.roles]
    if not who or who in roles:
        return who, None
    role, _, index = who.rpartition("-")
    if role in roles and index.isascii() and index.isdecimal():
        return role, int(index)
    raise UsageError(
        f"{job.id} has no role or instance {who!r}",
        next_step=f"it has the roles {', '.join(roles)}; for example {roles[0]}-0",
    )
