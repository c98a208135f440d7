"""What training jobs have kept: outputs and checkpoints, shown and fetched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.commands.train.jobs import Job
from cli.errors import CommandError
from cli.invocation import Invocation, command, new_part
from cli.output.render import show_list

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelyard.client.aio import Client
    from modelyard.v1 import task_pb2

part = new_part()

Out = Annotated[str, typer.Option(help="Fetch them into this directory", show_default="only list them")]


@command(part)
async def outputs(yard: Invocation, job: Job, out: Out = "") -> None:
    """Show what a job has kept of its instances (clean: {keep: …}), or fetch it."""
    from cli.output.kept import OUTPUT_COLUMNS
    from modelyard.v1 import job_pb2

    async with yard.client() as client:
        found = await client.jobs.get(job)
        answer = job_pb2.Job(id=found.id, outputs=found.outputs)
        show_list(
            yard.output, answer, found.outputs, OUTPUT_COLUMNS, lambda one: one.name, empty="nothing was kept"
        )
        if out:
            await _fetch(yard, client, found.outputs, Path(out))


@command(part)
async def checkpoints(
    yard: Invocation,
    job: Job,
    name: Annotated[str, typer.Argument(help="Only this one", show_default="all")] = "",
    out: Out = "",
) -> None:
    """Show the complete checkpoints of a job, or fetch them."""
    from cli.output.kept import CHECKPOINT_COLUMNS
    from modelyard.v1 import job_pb2, task_pb2

    async with yard.client() as client:
        found = [one for one in (await client.jobs.get(job)).checkpoints if name in ("", one.name)]
        answer = job_pb2.Job(id=job, checkpoints=found)
        show_list(
            yard.output, answer, found, CHECKPOINT_COLUMNS, lambda one: f"{one.role}-{one.index}/{one.name}",
            empty="no checkpoints",
        )  # fmt: skip
        if not out:
            return
        files = [
            task_pb2.Output(name=f"{one.role}-{one.index}/{file.name}", digest=file.digest)
            for one in found
            if one.is_stored
            for file in one.files
        ]
        await _fetch(yard, client, files, Path(out))


async def _fetch(yard: Invocation, client: Client, files: Iterable[task_pb2.Output], directory: Path) -> None:
    """Each complete and checked, at its own name below the directory."""
    root = directory.resolve()
    for file in files:
        target = root / file.name
        if not target.resolve().is_relative_to(root):
            raise CommandError(
                f"{file.name!r} leads out of {directory}",
                code=exit_codes.USAGE,
                next_step=f"yard artifacts get {file.digest} FILE",
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        await client.artifacts.get(file.digest, target)
        yard.say(f"downloaded {target}")
