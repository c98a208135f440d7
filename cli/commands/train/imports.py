"""`yard train import` and `schema`: files from elsewhere, and how ours are written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.documents import read_document
from cli.errors import UsageError
from cli.invocation import Invocation, command, new_part
from cli.output.render import show_document, to_document

if TYPE_CHECKING:
    from modelyard.v1 import job_pb2

part = new_part()


@command(part, "import")
async def import_job(
    yard: Invocation,
    file: Annotated[str, typer.Argument(help="Another controller's job, YAML or JSON; - reads stdin")],
    out: Annotated[str, typer.Option(help="Write the job file here", show_default="stdout")] = "",
    name: Annotated[str, typer.Option(help="Which one, where the file holds several jobs")] = "",
    submit: Annotated[bool, typer.Option("--submit", help="Queue it")] = False,
    dir: Annotated[
        str, typer.Option(help="With --submit: directory that every instance runs in a copy of")
    ] = "",
) -> int:
    """Make a job file of a PyTorchJob, TFJob, MPIJob, XGBoostJob, JAXJob, PaddleJob, TrainJob, JobSet or Volcano job.

    Needs no yard unless it is submitted. What is left out, or means something else here, is told with its line.
    """
    if dir and not submit:
        raise UsageError("--dir is for --submit", next_step=f"yard train import {file} --submit --dir {dir}")
    text = read_document(file)
    converted = _converted(yard, text, name, file)
    if converted is None:
        return exit_codes.INVALID_SPECIFICATION
    answer = await _submitted(yard, text, name, dir) if submit else converted
    if out:
        Path(out).write_text(answer.document)
    _show(yard, answer, file, out)
    return exit_codes.DONE


@command(part)
def schema(
    yard: Invocation,
    what: Annotated[str, typer.Argument(help="job, sweep or framework", metavar="job|sweep|framework")],
) -> None:
    """Print the JSON Schema of job files, sweeps or definitions, for editors that complete them."""
    from modelyard.training.schemas.published import SCHEMAS, text_of

    name = f"training-{what}.schema.json"
    if name not in SCHEMAS:
        raise UsageError(f"there is no schema of {what!r}", next_step="yard train schema job")
    sys.stdout.write(text_of(name))


def _converted(yard: Invocation, text: str, name: str, file: str) -> job_pb2.ImportJobResponse | None:
    """None: it cannot be, and that is told."""
    from cli.output.training import write_problems
    from modelyard.training import Refused
    from modelyard.training.imports import convert
    from modelyard.training_messages import problem_messages
    from modelyard.v1 import framework_pb2, job_pb2

    try:
        found = convert(text, name)
    except Refused as refused:
        problems = problem_messages(refused.problems)
        if yard.output == "table":
            write_problems(problems, file, sys.stderr)
        else:
            show_document(yard.output, to_document(framework_pb2.ValidateJobResponse(problems=problems)))
        return None
    return job_pb2.ImportJobResponse(document=found.document, findings=problem_messages(found.findings))


async def _submitted(yard: Invocation, text: str, name: str, dir: str) -> job_pb2.ImportJobResponse:
    async with yard.client() as client:
        digest = await client.artifacts.bundle(dir) if dir else ""
        return await client.jobs.import_job(text, name=name, submit=True, bundle_digest=digest)


def _show(yard: Invocation, answer: job_pb2.ImportJobResponse, file: str, out: str) -> None:
    from cli.output.training import write_problems

    if yard.output != "table":
        show_document(yard.output, to_document(answer))
        return
    write_problems(answer.findings, file, sys.stderr)
    if answer.job.id:
        yard.say(f"{answer.job.id} is queued; next: yard train watch {answer.job.id}")
    elif not out:
        sys.stdout.write(answer.document)
    else:
        yard.say(f"{out} is written; next: yard train validate {out}")
