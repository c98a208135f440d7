"""The options of `yard up`, and where they are remembered: `yard.toml` of the state directory."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli import exit_codes
from cli.errors import CommandError
from cli.supervisor.files import write_atomically
from modelyard.addresses import is_loopback

AGENT_PORT_OFFSET = 9
"""From the port base to the scheduler's mutual-TLS port for agents."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a yard on one machine consists of. `cpu` and `memory_bytes` are for all agents together; 0: the
    machine's."""

    host: str = "127.0.0.1"
    port_base: int = 7070
    agents: int = 1
    cpu: float = 0.0
    memory_bytes: int = 0
    # Of the scheduler; store, graph service, agents, trainer and models service have the next ones. 0: none.
    metrics_port_base: int = 0
    # Networks that are not public and that contacts may be in, with commas between them.
    notify_allow: str = ""
    # Whether there is a trainer.
    trainer: bool = False
    # Whether there is a models service.
    models: bool = False
    # Accounts and digests of components whose pickles may be opened, with commas between them.
    trust: str = ""
    # Whether there is a graph service.
    graphs: bool = True
    # Of webhooks that fire triggers; 0: none.
    webhook_port: int = 0

    @property
    def tls(self) -> bool:
        """Anything but loopback is encrypted."""
        return not is_loopback(self.host)

    @property
    def reach(self) -> str:
        """The address at which this machine itself finds the services."""
        return "127.0.0.1" if self.host in ("0.0.0.0", "::", "localhost") else self.host

    @property
    def endpoint(self) -> str:
        return f"{self.reach}:{self.port_base}"

    @property
    def store(self) -> str:
        return f"{self.reach}:{self.port_base + 1}"

    @property
    def graph(self) -> str:
        return f"{self.reach}:{self.port_base + 2}"

    @property
    def training(self) -> str:
        return f"{self.reach}:{self.port_base + 3}"

    @property
    def serving(self) -> str:
        return f"{self.reach}:{self.port_base + 4}"

    @property
    def ports(self) -> dict[str, int]:
        """Every port that is taken, by service."""
        ports = {"scheduler": self.port_base, "store": self.port_base + 1, "graph": self.port_base + 2}
        if self.trainer:
            ports["trainer"] = self.port_base + 3
        if self.models:
            ports["models service"] = self.port_base + 4
        if self.webhook_port:
            ports["webhooks"] = self.webhook_port
        return {**ports, "scheduler (agents)": self.port_base + AGENT_PORT_OFFSET} if self.tls else ports


def remembered(state: Path, **given: Any) -> Options:
    """What was given, then what `yard.toml` remembers, then the defaults."""
    path = state / "yard.toml"
    known = {field.name for field in dataclasses.fields(Options)}
    try:
        stored = {key: value for key, value in tomllib.loads(path.read_text()).items() if key in known}
    except FileNotFoundError:
        stored = {}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CommandError(
            f"{path} cannot be read: {error}", code=exit_codes.USAGE, next_step=f"correct or remove {path}"
        ) from error
    options = Options(**{**stored, **{key: value for key, value in given.items() if value is not None}})
    if not 1 <= options.port_base <= 65535 - AGENT_PORT_OFFSET:
        raise CommandError(f"port base {options.port_base} is not a port", code=exit_codes.USAGE)
    if not 0 <= options.webhook_port <= 65535:
        raise CommandError(f"--webhook-port {options.webhook_port} is not a port", code=exit_codes.USAGE)
    if not 0 <= options.metrics_port_base <= 65535 - options.agents - 4:
        raise CommandError(
            f"--metrics-port-base {options.metrics_port_base} is not a port", code=exit_codes.USAGE
        )
    for network in filter(None, options.notify_allow.split(",")):
        try:
            ipaddress.ip_network(network.strip(), strict=False)
        except ValueError as error:
            raise CommandError(
                f"--notify-allow {network}: {error}", code=exit_codes.USAGE,
                next_step="write networks, for example 10.1.2.0/24,192.168.7.5",
            ) from error  # fmt: skip
    if options.agents < 0:
        raise CommandError("--agents must not be negative", code=exit_codes.USAGE)
    return options


def remember(state: Path, options: Options) -> None:
    """Writes `yard.toml`."""
    lines = ["# The options of `yard up`; used again when they are not given."]
    for key, value in dataclasses.asdict(options).items():
        # A JSON scalar is a TOML one.
        lines.append(f"{key} = {json.dumps(value)}")
    write_atomically(state / "yard.toml", "\n".join(lines) + "\n")
