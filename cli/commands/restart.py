"""`yard restart`: services of `yard up` begin anew, one after the other, as an upgrade has them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from cli import exit_codes
from cli.errors import CommandError
from cli.invocation import Invocation, command, new_command
from cli.supervisor.files import read_ready
from cli.supervisor.renewal import serves_again
from cli.supervisor.stop import is_supervisor, running_services

SERVICES = ("scheduler", "store", "graph", "trainer", "models")
"""In the order in which an upgrade takes them."""

app = new_command()


@command(app)
def restart(
    yard: Invocation,
    services: Annotated[
        list[str] | None, typer.Argument(help="|".join(SERVICES), show_default="all that run")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for each")] = 60.0,
) -> None:
    """Begin services of `yard up` anew, one after the other, for an upgrade: what runs on the agents runs on.

    Install the new version first; then yard restart, and yard agent restart
    """
    state = yard.settings.state
    up = read_ready(state / "run" / "up.json")
    if up is None or not is_supervisor(up):
        raise CommandError(
            f"no `yard up` keeps the services of {state}, so nothing would start them again",
            code=exit_codes.NOT_FOUND,
            next_step="with systemd: systemctl restart modelyard-scheduler",
        )
    for name in _wanted(state, services or []):
        _begin_anew(state, name, timeout)
        yard.say(f"{name} serves again")


def _wanted(state: Path, names: list[str]) -> list[str]:
    """Those that run, in their order. Raises CommandError where one that is named does not."""
    there = running_services(state)
    running = [name for name in SERVICES if name in there]
    for name in names:
        if name not in running:
            raise CommandError(
                f"no service {name!r} runs from {state}",
                code=exit_codes.NOT_FOUND,
                next_step=f"choose of {', '.join(running)}; agents: yard agent restart",
            )
    return [name for name in running if not names or name in names]


def _begin_anew(state: Path, name: str, timeout_s: float) -> None:
    path = state / "run" / f"{name}.json"
    ready = read_ready(path)
    pid = running_services(state).get(name)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
    if not serves_again(path, ready["start_time_ms"] if ready is not None else 0, timeout_s):
        raise CommandError(
            f"{name} does not serve again after {timeout_s:g} s",
            code=exit_codes.WAIT_TIMED_OUT,
            next_step=f"read {state / 'logs' / f'{name}.log'}",
        )
