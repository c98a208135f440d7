"""`yard train logs` and `yard train plot`: what a job has written, and how its metrics went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.train import app
from cli.commands.train_jobs import Job
from cli.errors import UsageError
from cli.invocation import Invocation, command

if TYPE_CHECKING:
    from modelyard.v1 import job_pb2

Who = Annotated[
    str, typer.Argument(help="ROLE or ROLE-INDEX, for example worker or worker-0", metavar="[ROLE[-INDEX]]")
]


@command(app)
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
