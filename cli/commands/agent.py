"""`yard agent`: make this machine a node of a yard."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli import exit_codes
from cli.errors import CommandError, UsageError
from cli.invocation import Invocation, command, new_group
from cli.options.work_values import pairs
from cli.supervisor.child import environment
from cli.supervisor.files import write_atomically
from cli.supervisor.renewal import serves_again, serving

app = new_group("Make this machine a node of a yard.")

_TOKEN = re.compile(r"yard_join_[A-Za-z0-9_-]+(\.[0-9a-f]{64})?")


@command(app)
def join(
    yard: Invocation,
    where: Annotated[str, typer.Argument(metavar="TOKEN@HOST:PORT", help="As `yard nodes token` prints it")],
    name: Annotated[str, typer.Option(help="Name of this node", show_default="the host's")] = "",
    label: Annotated[list[str], typer.Option(help="Label k=v; repeatable")] = [],  # noqa: B006
    cpu: Annotated[float, typer.Option(help="Cores to offer", show_default="all")] = 0.0,
    memory: Annotated[str, typer.Option(help="Memory to offer, e.g. 8Gi", show_default="all")] = "",
    gpu: Annotated[
        str, typer.Option(help="Device numbers to offer, or none", show_default="what nvidia-smi lists")
    ] = "",
    store: Annotated[
        str, typer.Option(help="host:port of the store", show_default="the port after the scheduler's")
    ] = "",
    advertise: Annotated[
        str, typer.Option(help="How other machines reach this one", show_default="as it reaches the yard")
    ] = "",
    ca_file: Annotated[str, typer.Option(help="The yard's authority", show_default="fetched, pinned")] = "",
) -> None:
    """Join a yard and serve it until Ctrl-C. The token works once; later: yard agent run."""
    token, endpoint = _parse(where)
    node = name or socket.gethostname().split(".")[0].lower()
    home = yard.settings.state / "agents" / node
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(home / "join.token", token + "\n")
    options: dict[str, str | float] = {
        "node": node,
        "scheduler": endpoint,
        "store": store,
        "join_token_file": str(home / "join.token"),
        "labels": ",".join(f"{key}={value}" for key, value in pairs(label, "--label").items()),
        "cpu": cpu,
        "memory": memory,
        "gpu": gpu,
        "advertise": advertise,
        "ca_file": ca_file,
    }
    write_atomically(home / "agent.toml", _toml(options))
    yard.say(f"{node} joins {endpoint}; Ctrl-C stops it, `yard agent run --name {node}` starts it again")
    _become_agent(yard.settings.state, home / "agent.toml")


@command(app)
def run(
    yard: Invocation, name: Annotated[str, typer.Option(help="Which node", show_default="the only one")] = ""
) -> None:
    """Serve again as a node that joined before."""
    homes = sorted((yard.settings.state / "agents").glob(f"{name or '*'}/agent.toml"))
    if len(homes) != 1:
        what = f"no node {name or ''} has joined" if not homes else "several nodes have joined"
        known = ", ".join(path.parent.name for path in homes)
        raise CommandError(
            f"{what} from {yard.settings.state} {known}".strip(),
            code=exit_codes.NOT_FOUND,
            next_step="yard agent run --name NODE" if homes else "yard agent join TOKEN@HOST:PORT",
        )
    _become_agent(yard.settings.state, homes[0])


@command(app)
def restart(
    yard: Invocation,
    name: Annotated[str, typer.Option(help="Which node", show_default="all of this machine")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for each")] = 60.0,
) -> None:
    """Begin the agent anew, for an upgrade: its tasks run on, and the new process finds them.

    Install the new version first, then: yard agent restart
    """
    run = yard.settings.state / "run"
    found = {
        path: ready for path in sorted(run.glob(f"agent-{name or '*'}.json")) if (ready := serving(path))
    }
    if not found:
        raise CommandError(
            f"no agent {name} of {yard.settings.state} runs on this machine".replace("  ", " "),
            code=exit_codes.NOT_FOUND,
            next_step="yard agent run; the agents of `yard up` have its --state",
        )
    for path, ready in found.items():
        os.kill(ready["pid"], signal.SIGUSR1)
        node = path.stem.removeprefix("agent-")
        if not serves_again(path, ready["start_time_ms"], timeout):
            raise CommandError(
                f"{node} does not serve again after {timeout:g} s",
                code=exit_codes.WAIT_TIMED_OUT,
                next_step=f"read its log; yard nodes get {node}",
            )
        yard.say(f"{node} has begun anew; its tasks were not touched")


def _parse(where: str) -> tuple[str, str]:
    """Token, with the hash of the yard's authority where there is TLS, and address."""
    secret, _, endpoint = where.rpartition("@")
    if not _TOKEN.fullmatch(secret) or not re.fullmatch(r".+:[0-9]+", endpoint):
        raise UsageError("this is no join line", next_step="on the yard: yard nodes token")
    return secret, endpoint


def _toml(options: dict[str, str | float]) -> str:
    lines = ["# How this machine serves its yard; `yard agent run` reads it."]
    for key, value in options.items():
        if value:
            lines.append(f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}")
    return "\n".join(lines) + "\n"


def _become_agent(state: Path, config: Path) -> None:
    """The agent takes the place of this process: signals and exit code are its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    argv = [sys.executable, "-m", "services.agent", "--state", str(state), "--config", str(config)]
    os.execve(sys.executable, argv, environment({}))
