"""`yard restore`: a state directory from a backup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import exit_codes
from cli.errors import CommandError, UsageError
from cli.invocation import Invocation, command, new_command

app = new_command()


@command(app)
def restore(
    yard: Invocation,
    file: Annotated[str, typer.Argument(help="As `yard backup` wrote it")],
    state: Annotated[str, typer.Option(help="State directory to make", show_default=False)] = "",
    force: Annotated[bool, typer.Option("--force", help="Put what is there aside, beside it")] = False,
) -> None:
    """Make a state directory from a backup; all of it, checked, or nothing.

    Work that was submitted after the backup is not in it; tasks that agents still run are taken up again.
    """
    import time

    from cli.archives.archive import read_backup
    from cli.supervisor.files import read_ready, write_atomically
    from cli.supervisor.options import remembered
    from cli.supervisor.state import client_toml
    from cli.supervisor.stop import is_supervisor, running_services

    source, target = Path(file), yard.settings.state
    if not source.is_file():
        raise UsageError(f"there is no file {source}")
    ready = read_ready(target / "run" / "up.json")
    if (ready and is_supervisor(ready)) or running_services(target):
        raise CommandError(
            f"a yard is running in {target}",
            code=exit_codes.CONFLICT,
            next_step=f"yard down --state {target}",
        )
    if target.is_dir() and any(target.iterdir()):
        if not force:
            raise CommandError(
                f"{target} is not empty",
                code=exit_codes.CONFLICT,
                next_step="choose another --state, or add --force to put it aside",
            )
        aside = target.with_name(f"{target.name}.before-{int(time.time())}")
        target.rename(aside)
        yard.say(f"{target} was put aside as {aside}")
    counts = read_backup(source, target, yard.say)
    write_atomically(target / "client.toml", client_toml(target, remembered(target)))
    yard.say(f"restored {counts['databases']} databases and {counts['files']} files")
    yard.say(f"next: yard up --state {target}")
