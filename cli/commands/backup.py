"""`yard backup`: a consistent copy of a yard, also while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import exit_codes
from cli.errors import CommandError
from cli.invocation import Invocation, command, new_command
from modelyard.quantities import format_size

app = new_command()


@command(app)
def backup(
    yard: Invocation,
    file: Annotated[str, typer.Argument(help="For example yard.tar.gz; it holds secrets")],
    state: Annotated[str, typer.Option(help="State directory; default $YARD_STATE", show_default=False)] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file")] = False,
) -> None:
    """Write databases, artefacts, logs of tasks, secrets and certificates to one file.

    The yard may run. Keep the file like a password: it holds the yard's secrets.
    """
    from cli.archives.archive import write_backup

    target = Path(file)
    if target.exists() and not force:
        raise CommandError(f"{target} exists", code=exit_codes.CONFLICT, next_step="add --force")
    counts = write_backup(yard.settings.state, target)
    size = format_size(target.stat().st_size)
    yard.say(f"wrote {target}: {counts['databases']} databases, {counts['files']} files, {size}")
    yard.say(f"next: yard restore {target} --state DIR")
