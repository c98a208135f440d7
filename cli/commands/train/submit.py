"""`yard train submit`: a job is queued and left alone; attached, what its instances write is followed to its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.documents import read_document
from cli.invocation import Invocation, command, new_part
from cli.options import work as work_options
from cli.options import work_values
from cli.options.jobs import Counts, Data, JobFile, counts_of, data_of, stored
from cli.output.render import show_one

if TYPE_CHECKING:
    from modelyard.client.aio import Client
    from modelyard.v1 import job_pb2

REST_OF_LOGS_S = 30.0
"""How long the last bytes may take after the job's end."""
part = new_part()


@command(part)
async def submit(
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
    attach: Annotated[
        bool,
        typer.Option("--attach", "-a", help="Follow what is written to the end; exit code 1 if it fails"),
    ] = False,
    idempotency_key: Annotated[
        str, typer.Option(help="A UUID; the same key and request is the same job")
    ] = "",
) -> int:
    """Queue a job file and print the job's id. With --attach: what its instances write, until the job's end.

    Interrupting leaves the job alone. `yard train run` draws progress and curves instead.
    """
    from cli.output.jobs import JOB_FIELDS

    text, named = read_document(file), data_of(data)
    async with yard.client() as client:
        job = await client.jobs.create(
            text, params=work_values.params_of(param), counts=counts_of(count), name=name,
            bundle_digest=await client.artifacts.bundle(dir) if dir else "", contact=contact, notify=notify,
            silent=silent, request_id=idempotency_key, attachments=await stored(client, named),
        )  # fmt: skip
        if attach:
            return await _attached(yard, client, job)
    show_one("name" if yard.output == "table" else yard.output, job, JOB_FIELDS, lambda job: job.id)
    return exit_codes.DONE


async def _attached(yard: Invocation, client: Client, job: job_pb2.Job) -> int:
    """The exit code that is the job's outcome, after the last byte was written."""
    from cli.following.jobs import followed
    from cli.following.leaving import goes_on
    from cli.output.jobs import JOB_FIELDS, exit_code

    yard.say(f"{job.id}; to stop it: yard train stop {job.id}")
    lines = asyncio.create_task(_write(yard, client, job.id))
    try:
        with goes_on(yard, job.id, f"yard train logs {job.id} --follow", f"yard train stop {job.id}"):
            ended = await followed(client, job.id, may_draw=False)
            _, late = await asyncio.wait([lines], timeout=REST_OF_LOGS_S)
    finally:
        lines.cancel()
    if late:
        yard.say(f"warning: the end of the logs is late; next: yard train logs {job.id}")
    if yard.output != "table":
        show_one(yard.output, ended, JOB_FIELDS, lambda job: job.id)
    if code := exit_code(ended):
        yard.say(f"next: yard train why {job.id}; yard train get {job.id}")
    return code


async def _write(yard: Invocation, client: Client, job: str) -> None:
    from cli.output.job_logs import PrefixedLines
    from modelyard.errors import YardError

    # One value goes to stdout where that was asked for, and nothing else.
    writer = PrefixedLines(only_stderr=yard.output != "table")
    try:
        async for chunk in client.jobs.logs(job, follow=True, merge=True):
            writer.write(chunk)
    except YardError as error:
        yard.say(f"warning: its output cannot be followed: {error.message}")
    writer.finish()
