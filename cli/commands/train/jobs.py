"""`yard train run` and what belongs to jobs: they are queued, watched, steered, explained."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import exit_codes
from cli.completion import complete_jobs
from cli.documents import read_document
from cli.errors import UsageError
from cli.invocation import Invocation, command, new_part
from cli.options import work as work_options
from cli.options import work_values
from cli.options.jobs import Counts, Data, JobFile, counts_of, data_of, stored
from cli.options.lists import PageSize, PageToken
from cli.output.render import show_list, show_one

if TYPE_CHECKING:
    from modelyard.client.aio import Client
    from modelyard.v1 import job_pb2

part = new_part()

Job = Annotated[str, typer.Argument(help="For example j-12", autocompletion=complete_jobs)]
Curve = Annotated[
    str, typer.Option(help="Whose curve is drawn on a terminal", show_default="the loss", metavar="NAME")
]
Comment = Annotated[str, typer.Option(help="What for, for people")]
NO_JOBS = "no jobs; next: yard train run FILE"


@command(part)
def run(
    yard: Invocation,
    file: JobFile,
    param: work_options.Param = [],  # noqa: B006
    count: Counts = [],  # noqa: B006
    name: Annotated[str, typer.Option(help="Instead of the file's name")] = "",
    dir: Annotated[str, typer.Option(help="Directory that every instance runs in a copy of")] = "",
    data: Data = [],  # noqa: B006
    contact: work_options.Contact = "",
    notify: work_options.Notify = "",
    silent: work_options.Silent = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait; print the job's id")] = False,
    metric: Curve = "",
    idempotency_key: Annotated[
        str, typer.Option(help="A UUID; the same key and request is the same job")
    ] = "",
    local: Annotated[
        bool, typer.Option("--local", help="On this machine, with no yard; everything ends with this command")
    ] = False,
    into: Annotated[str, typer.Option(help="With --local: directory for logs and kept files")] = "",
) -> int | Awaitable[int]:
    """Train: queue a job file, tell what becomes of it until its end. Interrupting leaves the job alone.

    With --local the job runs on this machine, without a yard, and ends with this command.
    """
    text, counts, params = read_document(file), counts_of(count), work_values.params_of(param)
    named = data_of(data)
    if local:
        from cli.commands.train.local import run_local

        if detach or contact or notify or idempotency_key:
            raise UsageError("with --local the job ends with this command, and nobody else is told of it",
                             next_step=f"yard train run --local {file}")  # fmt: skip
        return run_local(
            yard, text, file, params=params, counts=counts, name=name, dir=dir, data=named, into=into
        )
    if into:
        raise UsageError("--into is for --local", next_step="yard train logs, yard artifacts get")
    told = {"contact": contact, "notify": notify, "silent": silent, "request_id": idempotency_key}
    request = {"params": params, "counts": counts, "name": name, **told}
    return _queued(yard, text, dir, named, request, detach=detach, metric=metric)


async def _queued(
    yard: Invocation,
    text: str,
    dir: str,
    data: Mapping[str, Path | str],
    request: dict[str, Any],
    *,
    detach: bool,
    metric: str,
) -> int:
    async with yard.client() as client:
        attachments = await stored(client, data)
        digest = await client.artifacts.bundle(dir) if dir else ""
        job = await client.jobs.create(text, bundle_digest=digest, attachments=attachments, **request)
        return await _followed(yard, client, job, detach=detach, metric=metric)


async def _followed(
    yard: Invocation, client: Client, job: job_pb2.Job, *, detach: bool, metric: str = ""
) -> int:
    from cli.following.jobs import followed
    from cli.following.leaving import goes_on
    from cli.output.jobs import JOB_FIELDS, exit_code
    from modelyard.client.jobs import ENDED

    if detach:
        show_one("name" if yard.output == "table" else yard.output, job, JOB_FIELDS, lambda job: job.id)
        return exit_codes.DONE
    yard.say(f"{job.id}; to stop it: yard train stop {job.id}")
    with goes_on(yard, job.id, f"yard train watch {job.id}", f"yard train stop {job.id}"):
        job = await followed(client, job.id, metric)
    assert job.state in ENDED
    show_one(yard.output, job, JOB_FIELDS, lambda job: job.id)
    if code := exit_code(job):
        await _tell_failed(yard, client, job.id)
        return code
    return exit_codes.DONE


async def _tell_failed(yard: Invocation, client: Client, job: str) -> None:
    """The last lines of the instances that failed, and where all of them are."""
    from cli.output.jobs import failed_lines

    instances = await client.jobs.instances(job)
    for line in failed_lines(instances):
        yard.say(line)
    yard.say(f"next: yard train logs {job}; yard train get {job}; yard train why {job}")


@command(part)
async def watch(yard: Invocation, job: Job, metric: Curve = "") -> int:
    """Tell what becomes of a job until its end: on a terminal bars, what remains and a curve, else lines."""
    async with yard.client() as client:
        return await _followed(yard, client, await client.jobs.get(job), detach=False, metric=metric)


@command(part)
async def ls(
    yard: Invocation,
    all_times: Annotated[bool, typer.Option("--all", help="Ended ones however old")] = False,
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> None:
    """List jobs, newest first: those that go on, and those of the last day."""
    from cli.output.jobs import JOB_COLUMNS

    async with yard.client() as client:
        answer = await client.jobs.list(page_size, page_token, all_times=all_times)
    show_list(yard.output, answer, answer.jobs, JOB_COLUMNS, lambda job: job.id, empty=NO_JOBS)


@command(part)
async def get(yard: Invocation, job: Job) -> None:
    """Show a job and its instances; with -o json its conditions and its file too."""
    from cli.output.jobs import INSTANCE_COLUMNS, JOB_FIELDS
    from modelyard.v1 import job_pb2

    async with yard.client() as client:
        found = await client.jobs.get(job)
        instances = await client.jobs.instances(job)
    show_one(yard.output, found, JOB_FIELDS, lambda job: job.id)
    if yard.output == "table":
        answer = job_pb2.ListInstancesResponse(instances=instances)
        show_list(yard.output, answer, instances, INSTANCE_COLUMNS, lambda one: f"{one.role}-{one.index}")


@command(part)
async def stop(yard: Invocation, job: Job, comment: Comment = "") -> None:
    """End a job: everything of it is asked to end. One that has ended stays as it is."""
    async with yard.client() as client:
        await _show(yard, await client.jobs.stop(job, comment))


@command(part)
async def suspend(yard: Invocation, job: Job, comment: Comment = "") -> None:
    """Let a job give back everything that it holds; it waits until it is resumed."""
    async with yard.client() as client:
        await _show(yard, await client.jobs.suspend(job, comment))


@command(part)
async def resume(yard: Invocation, job: Job) -> None:
    """Queue a suspended job again."""
    async with yard.client() as client:
        await _show(yard, await client.jobs.resume(job))


@command(part)
async def scale(
    yard: Invocation,
    job: Job,
    role: Annotated[str, typer.Argument(help="ROLE=N, for example worker=4", metavar="ROLE=N")],
) -> None:
    """Change the number of a role's instances, while the job runs if its framework can."""
    counts = counts_of([role])
    if len(counts) != 1:
        raise UsageError("one role at a time", next_step="yard train scale j-12 worker=4")
    [(name, count)] = counts.items()
    async with yard.client() as client:
        await _show(yard, await client.jobs.scale(job, name, count))


@command(part)
async def why(yard: Invocation, job: Job) -> None:
    """Tell what a job and each of its instances waits for, at which address, and for how long."""
    from cli.output.jobs import write_stacks, write_waits
    from cli.output.render import show_document, to_document

    async with yard.client() as client:
        answer = await client.jobs.explain(job)
    if yard.output != "table":
        show_document(yard.output, to_document(answer))
        return
    yard.say(answer.summary)
    write_waits(answer.waits)
    if answer.placement.summary:
        yard.say(f"places: {answer.placement.summary}")
    if answer.next_step:
        yard.say(f"next: {answer.next_step}")
    write_stacks(answer.stacks)


@command(part)
async def register(
    yard: Invocation,
    file: Annotated[str, typer.Argument(help="A definition, YAML; - reads stdin")],
) -> None:
    """Keep a framework's definition as the next version of its id."""
    async with yard.client() as client:
        answer = await client.jobs.register(read_document(file))
    framework = answer.framework
    state = "is new" if answer.is_new else "was there already"
    yard.say(f"{framework.id} version {framework.version} {state}")


async def _show(yard: Invocation, job: job_pb2.Job) -> None:
    from cli.output.jobs import JOB_FIELDS

    show_one(yard.output, job, JOB_FIELDS, lambda job: job.id)
