"""What an agent can be told, and by which directory and names it goes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from modelyard.quantities import parse_size
from services.chassis.process.config import ConfigInvalid, ServiceConfig, option

_NODE = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_RESERVED = ("cpu", "memory", "gpu")


@dataclass(frozen=True, kw_only=True)
class AgentConfig(ServiceConfig):
    """The agent of one machine. It dials the scheduler and listens nowhere."""

    node: str = option("", "name of this node; empty: the host's name")
    scheduler: str = option("127.0.0.1:7070", "address of the scheduler")
    store: str = option("", "address of the store; empty: the scheduler's host, next port")
    trainer: str = option("", "address of the trainer; empty: the scheduler's host, three ports further")
    graph: str = option("", "address of the graph service; empty: the scheduler's host, two ports further")
    models: str = option("", "address of the models service; empty: the scheduler's host, four ports further")
    advertise: str = option(
        "",
        "name or number by which other machines reach this one; empty: the one that it speaks to the yard from",
    )
    join_token_file: str = option("", "file with a join token, used once when the node has no credentials")
    ca_file: str = option("", "certificate of the yard's authority; with it the agent speaks TLS")
    ca_hash: str = option("", "sha256 of that certificate; a different one stops the start")
    labels: str = option("", "comma-separated key=value pairs that tasks can ask for")
    cpu: float = option(0.0, "cores to offer; 0: all that the process may use")
    memory: str = option("", "memory to offer, for example 8Gi; empty: all of the machine or its cgroup")
    gpu: str = option(
        "auto",
        "comma-separated device numbers to offer; auto: what NVIDIA's library or nvidia-smi lists; none",
    )
    custom: str = option("", "comma-separated name=amount pairs of anything else that tasks can ask for")
    warm_workers: int = option(2, "workers that are kept forked for the first who asks")
    workers_most: int = option(256, "worker processes at the same time")
    idle_worker_s: float = option(60.0, "seconds after which a worker without work ends")
    task_pids: int = option(4096, "processes that one task may have; 0: no limit")
    enforcement: str = option(
        "auto",
        "how limits are enforced; auto: cgroups where they can be written, else rlimits",
        choices=("auto", "cgroup", "rlimit", "none"),
    )
    drain_grace_s: float = option(5.0, "seconds that running tasks have after SIGTERM")
    cache: str = option("20Gi", "disk that bundles, inputs and environments may take when nobody uses them")

    @property
    def store_address(self) -> str:
        """Where the bytes are."""
        if self.store:
            return self.store
        host, _, port = self.scheduler.rpartition(":")
        return f"{host}:{int(port) + 1}"

    def addresses(self) -> dict[str, str]:
        """Of every service, as tasks are told."""
        host, _, port = self.scheduler.rpartition(":")
        return {
            "endpoint": self.scheduler,
            "store": self.store_address,
            "graph": self.graph or f"{host}:{int(port) + 2}",
            "trainer": self.trainer_address(""),
            "models": self.models or f"{host}:{int(port) + 4}",
        }

    def trainer_address(self, endpoint: str) -> str:
        """Where the trainer is that a seat names: host:port, :port of the scheduler's host, or nothing."""
        host, _, port = self.scheduler.rpartition(":")
        if not endpoint:
            return self.trainer or f"{host}:{int(port) + 3}"
        return f"{host}{endpoint}" if endpoint.startswith(":") else endpoint


def check_node_name(node: str) -> str:
    """The name, if a node can have it. Raises ConfigInvalid."""
    if not _NODE.fullmatch(node):
        raise ConfigInvalid(
            f"node: {node!r} cannot be a node's name; use lower-case letters, digits, '-' and '.', at most 63"
        )
    return node


def parse_pairs(text: str, field: str) -> dict[str, str]:
    """ "a=1,b=2" as a dictionary. Raises ConfigInvalid, which names the field."""
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise ConfigInvalid(f"{field}: {part!r} is not name=value")
        pairs[name.strip()] = value.strip()
    return pairs


def parse_custom(text: str) -> dict[str, float]:
    """Amounts of custom resources. Raises ConfigInvalid."""
    amounts: dict[str, float] = {}
    for name, value in parse_pairs(text, "custom").items():
        if name in _RESERVED:
            raise ConfigInvalid(f"custom: {name} has an option of its own, --{name}")
        try:
            amounts[name] = float(value)
        except ValueError:
            raise ConfigInvalid(f"custom: {value!r} is not an amount of {name}") from None
    return amounts


def parse_bytes(text: str, field: str) -> int:
    """ "8Gi" in bytes; empty: 0. Raises ConfigInvalid."""
    try:
        return parse_size(text) if text else 0
    except ValueError as error:
        raise ConfigInvalid(f"{field}: {error}") from None


@dataclass(frozen=True)
class Places:
    """The agent's own directory and what stands where in it."""

    root: Path

    @classmethod
    def of(cls, state_dir: Path, node: str) -> Places:
        """Those of a node; makes the directories."""
        places = cls(state_dir.absolute() / "agents" / node)
        for path in (
            places.tasks,
            places.shims,
            places.bundles,
            places.inputs,
            places.environments,
            places.logs,
        ):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return places

    @property
    def tasks(self) -> Path:
        return self.root / "tasks"

    @property
    def shims(self) -> Path:
        """What workers that run commands keep: <worker>.records and <worker>.room."""
        return self.root / "shims"

    @property
    def bundles(self) -> Path:
        return self.root / "bundles"

    @property
    def inputs(self) -> Path:
        return self.root / "inputs"

    @property
    def environments(self) -> Path:
        return self.root / "environments"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def credentials(self) -> Path:
        return self.root / "credentials"

    @property
    def epoch(self) -> Path:
        return self.root / "epoch"

    @property
    def specifications(self) -> Path:
        return self.root / "specifications"

    @property
    def holdings(self) -> Path:
        return self.root / "holdings.json"

    @property
    def suspensions(self) -> Path:
        return self.root / "suspensions.json"

    @property
    def workers(self) -> Path:
        return self.root / "workers"

    def task(self, key: str) -> Path:
        """The directory of an attempt, by its key "<task>/<attempt>"."""
        return self.tasks / task_directory_name(key)


def task_directory_name(key: str) -> str:
    """Of an attempt, by its key "<task>/<attempt>"."""
    return key.replace("/", "-")


def key_of_directory(name: str) -> str:
    """The reverse of `task_directory_name`; empty: no attempt has such a directory."""
    task_id, _, attempt = name.rpartition("-")
    return f"{task_id}/{attempt}" if task_id and attempt.isdecimal() else ""
