"""The options of `yard up`: what they are called, and what was given of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from cli.errors import UsageError
from modelyard.quantities import parse_size


@dataclass
class YardForm:
    """What a yard is to consist of, as it was typed; what was not typed is remembered."""

    state: Annotated[str, typer.Option(help="State directory; default $YARD_STATE", show_default=False)] = ""
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; any but loopback turns TLS on", show_default="127.0.0.1"),
    ] = ""
    port_base: Annotated[
        int, typer.Option(help="Scheduler; store and graph service listen above it", show_default="7070")
    ] = 0
    agents: Annotated[int, typer.Option(help="Nodes on this machine", show_default="1")] = -1
    cpu: Annotated[float, typer.Option(help="Cores for all nodes together", show_default="the machine's")] = (
        0.0
    )
    memory: Annotated[
        str, typer.Option(help="Memory for all nodes together, e.g. 8Gi", show_default="the machine's")
    ] = ""
    metrics_port_base: Annotated[
        int,
        typer.Option(
            help="Loopback port of the scheduler's Prometheus metrics; the others have the next ones",
            show_default="off",
        ),
    ] = 0
    trainer: Annotated[
        bool | None,
        typer.Option("--trainer/--no-trainer", help="With the training controller", show_default="no"),
    ] = None
    models: Annotated[
        bool | None,
        typer.Option("--models/--no-models", help="With the models service", show_default="no"),
    ] = None
    trust: Annotated[
        str,
        typer.Option(
            metavar="WHO|WHO=TYPE+TYPE,…",
            help="Whose pickles and .pt2 are opened in frames, or for whom skops constructs these types, where WHO is "
            "ACCOUNT, ACCOUNT/MODEL or sha256:DIGEST; none: nobody's",
            show_default="none",
        ),
    ] = ""
    notify_allow: Annotated[
        str,
        typer.Option(
            metavar="NETWORK,…",
            help="Networks that are not public and that contacts may be in, for example 10.1.2.0/24; none: no more",
            show_default="none",
        ),
    ] = ""
    webhook_port: Annotated[
        int, typer.Option(help="Port that takes webhooks for triggers", show_default="off")
    ] = -1

    def given(self) -> dict[str, Any]:
        """By the names of `supervisor.options.Options`; None: not given. Raises UsageError."""
        return {
            "host": self.host or None,
            "port_base": self.port_base or None,
            "agents": None if self.agents < 0 else self.agents,
            "cpu": self.cpu or None,
            "memory_bytes": _memory(self.memory),
            "metrics_port_base": self.metrics_port_base or None,
            "trainer": self.trainer,
            "models": self.models,
            "trust": "" if self.trust == "none" else self.trust or None,
            "notify_allow": "" if self.notify_allow == "none" else self.notify_allow or None,
            "webhook_port": None if self.webhook_port < 0 else self.webhook_port,
        }


def _memory(text: str) -> int | None:
    try:
        return parse_size(text) if text else None
    except ValueError as error:
        raise UsageError(str(error)) from error
