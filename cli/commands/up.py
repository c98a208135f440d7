"""`yard up`: a whole yard with one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import exit_codes
from cli.errors import UsageError
from cli.invocation import Invocation, command, new_command
from cli.supervisor.loop import Supervisor, say
from cli.supervisor.options import Options, remembered
from modelyard.quantities import parse_size

app = new_command()


@command(app)
def up(
    yard: Invocation,
    state: Annotated[str, typer.Option(help="State directory; default $YARD_STATE", show_default=False)] = "",
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; any but loopback turns TLS on", show_default="127.0.0.1"),
    ] = "",
    port_base: Annotated[
        int, typer.Option(help="Scheduler; store and graph service listen above it", show_default="7070")
    ] = 0,
    agents: Annotated[int, typer.Option(help="Nodes on this machine", show_default="1")] = -1,
    cpu: Annotated[
        float, typer.Option(help="Cores for all nodes together", show_default="the machine's")
    ] = 0.0,
    memory: Annotated[
        str, typer.Option(help="Memory for all nodes together, e.g. 8Gi", show_default="the machine's")
    ] = "",
    metrics_port_base: Annotated[
        int,
        typer.Option(
            help="Loopback port of the scheduler's Prometheus metrics; the others have the next ones",
            show_default="off",
        ),
    ] = 0,
    trainer: Annotated[
        bool | None,
        typer.Option("--trainer/--no-trainer", help="With the training controller", show_default="no"),
    ] = None,
    models: Annotated[
        bool | None,
        typer.Option("--models/--no-models", help="With the models service", show_default="no"),
    ] = None,
    trust: Annotated[
        str,
        typer.Option(
            metavar="WHO|WHO=TYPE+TYPE,…",
            help="Whose pickles and .pt2 are opened in frames, or for whom skops constructs these types, where WHO is "
            "ACCOUNT, ACCOUNT/MODEL or sha256:DIGEST; none: nobody's",
            show_default="none",
        ),
    ] = "",
    notify_allow: Annotated[
        str,
        typer.Option(
            metavar="NETWORK,…",
            help="Networks that are not public and that contacts may be in, for example 10.1.2.0/24; none: no more",
            show_default="none",
        ),
    ] = "",
    webhook_port: Annotated[
        int, typer.Option(help="Port that takes webhooks for triggers", show_default="off")
    ] = -1,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when everything serves")] = False,
) -> int:
    """Bring up a yard: scheduler, store, graph service and agents.

    In the foreground it shows what runs where and stops cleanly on Ctrl-C. With --detach it returns when
    everything is serving (exit 0) or has failed (exit code ≠ 0, with the reason).
    """
    directory = yard.settings.state
    options = remembered(
        directory,
        host=host or None,
        port_base=port_base or None,
        agents=None if agents < 0 else agents,
        cpu=cpu or None,
        memory_bytes=_memory(memory),
        metrics_port_base=metrics_port_base or None,
        trainer=trainer,
        models=models,
        trust="" if trust == "none" else trust or None,
        notify_allow="" if notify_allow == "none" else notify_allow or None,
        webhook_port=None if webhook_port < 0 else webhook_port,
    )
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


def _memory(text: str) -> int | None:
    try:
        return parse_size(text) if text else None
    except ValueError as error:
        raise UsageError(str(error)) from error


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
