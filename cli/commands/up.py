"""`yard up`: a whole yard with one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import exit_codes
from cli.invocation import Invocation, command, new_command
from cli.options.yard import YardForm
from cli.supervisor.loop import Supervisor, say
from cli.supervisor.options import Options, remembered

app = new_command()


@command(app)
def up(
    yard: Invocation,
    wanted: YardForm,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when everything serves")] = False,
) -> int:
    """Bring up a yard: scheduler, store, graph service and agents.

    In the foreground it shows what runs where and stops cleanly on Ctrl-C. With --detach it returns when
    everything is serving (exit 0) or has failed (exit code ≠ 0, with the reason).
    """
    directory = yard.settings.state
    options = remembered(directory, **wanted.given())
    if detach:
        from cli.supervisor.detached import start

        start(directory, options)
        yard.say(summary(directory, options))
        return exit_codes.DONE
    from cli.supervisor.state import held

    with held(directory):
        code = Supervisor(directory, options, say).run(
            lambda: yard.say(summary(directory, options) + "\nCtrl-C stops it.")
        )
    yard.say("stopped")
    return code


def summary(state: Path, options: Options) -> str:
    """What runs where, and what to try next."""
    nodes = f"{options.agents} node" + ("" if options.agents == 1 else "s")
    lines = [
        f"scheduler  {options.endpoint}{'  (TLS)' if options.tls else ''}",
        f"store      {options.store}",
        f"graph      {options.graph}",
        *([f"trainer    {options.training}"] if options.trainer else []),
        *([f"models     {options.serving}"] if options.models else []),
        f"nodes      {nodes} on this machine",
        f"state      {state}",
    ]
    from modelyard.settings import default_state

    given = "" if state == default_state() else f" --state {state}"
    lines.append(f"next: yard call echo --param value=1{given}")
    if options.tls:
        lines.append(f"another machine joins with the line that this prints: yard nodes token{given}")
    return "\n".join(lines)
