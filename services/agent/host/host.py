"""What this machine is and offers: capacity, labels, boot, operators."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from modelyard.enclosure.means import find_means
from modelyard.v1 import agent_link_pb2 as pb
from modelyard.v1 import node_pb2, operator_pb2
from services.agent.config import AgentConfig, check_node_name, parse_bytes, parse_custom, parse_pairs
from services.agent.host.gpus import Gpus
from services.agent.tasks.model import UNITS
from services.chassis.logs import get_logger
from services.chassis.process.state_dir import write_atomically

_log = get_logger("agent.host")
PROTOCOL_VERSION = 1
_GPU_TIMEOUT_S = 10.0
_LIST_TIMEOUT_S = 60.0


def node_name(config: AgentConfig) -> str:
    """The configured name, or the host's. Raises ConfigInvalid for one that no node can have."""
    return check_node_name(config.node or socket.gethostname().split(".")[0].lower().replace("_", "-"))


def read_capacity(config: AgentConfig) -> node_pb2.NodeCapacity:
    """What tasks can have here. Raises ConfigInvalid."""
    memory_bytes = parse_bytes(config.memory, "memory") or _memory()
    return node_pb2.NodeCapacity(
        cpu=config.cpu or float(len(os.sched_getaffinity(0))),
        memory_bytes=memory_bytes,
        gpu_devices=_gpus(config.gpu),
        custom=parse_custom(config.custom),
    )


def capacity_units(capacity: node_pb2.NodeCapacity) -> dict[str, int]:
    """The same for the machine."""
    units = {
        "cpu": round(capacity.cpu * UNITS),
        "memory": capacity.memory_bytes,
        "gpu": len(capacity.gpu_devices) * UNITS,
    }
    units.update({name: round(amount * UNITS) for name, amount in capacity.custom.items()})
    return units


def offered_shares(capacity: node_pb2.NodeCapacity) -> tuple[float, float]:
    """How much of the machine's cores and memory is offered, 0 to 1; several agents may divide a machine."""
    cpu = capacity.cpu / (os.cpu_count() or 1)
    memory = capacity.memory_bytes / psutil.virtual_memory().total
    return min(1.0, cpu), min(1.0, memory)


def read_labels(config: AgentConfig) -> dict[str, str]:
    """The configured labels over those that every machine has."""
    own = {"os": sys.platform, "arch": platform.machine(), "python": platform.python_version()}
    means = find_means()
    _log.info("frames_shut_in_by", engine=means.engine or means.engine_missing, sandbox=means.sandbox)
    own |= means.labels()
    return {**own, **parse_pairs(config.labels, "labels")}


def boot_id() -> str:
    """Changes with every boot."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(int(psutil.boot_time()))


def next_incarnation(path: Path) -> int:
    """A number that grows with every start of the agent, also after a power loss."""
    try:
        last = int(path.read_text())
    except (FileNotFoundError, ValueError):
        last = 0
    write_atomically(path, b"%d\n" % (last + 1))
    return last + 1


def agent_version() -> str:
    """The version of this program."""
    return importlib.metadata.version("modelyard")


def read_operators() -> list[operator_pb2.Operator]:
    """What this node offers. Operators of other packages are described in a process of their own:
    theirs is code that the agent must not load."""
    if importlib.metadata.entry_points(group="modelyard.operators"):
        described = _described_elsewhere()
    else:
        from modelyard.catalog import describe_all

        described = describe_all()
    return [_operator(description) for description in described]


def _described_elsewhere() -> list[dict[str, Any]]:
    code = "import json; from modelyard.catalog.registry import installed; print(json.dumps(installed()))"
    try:
        answer = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, timeout=_LIST_TIMEOUT_S, check=True
        )
        described: list[dict[str, Any]] = json.loads(answer.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        _log.error("operators_not_listed", reason=str(error))
        return []
    return described


def _operator(description: dict[str, Any]) -> operator_pb2.Operator:
    return operator_pb2.Operator(
        name=description["name"],
        version=description["version"],
        summary=description["summary"],
        params_schema_json=description["params_schema_json"],
        inputs=[_port(port) for port in description["inputs"]],
        outputs=[_port(port) for port in description["outputs"]],
        has_effects=description["has_effects"],
        code_digest=description["code_digest"],
    )


def _port(port: dict[str, Any]) -> operator_pb2.Port:
    return operator_pb2.Port(name=port["name"], type=port["type"], required=port["required"])


def _memory() -> int:
    """The machine's memory, or what the cgroup of this process leaves of it."""
    total = int(psutil.virtual_memory().total)
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limit = Path(path).read_text().strip()
        except OSError:
            continue
        if limit.isdigit():
            total = min(total, int(limit))
    return total


def _gpus(wanted: str) -> list[str]:
    if wanted == "none":
        return []
    if wanted != "auto":
        return [device.strip() for device in wanted.split(",") if device.strip()]
    library = Gpus.open()
    if library is not None:
        return library.devices()
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        answer = subprocess.run(
            [tool, "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_GPU_TIMEOUT_S,
            check=True,
        )
    except (subprocess.SubprocessError, OSError) as error:
        _log.warning("gpus_not_listed", reason=str(error), next_step="name them with --gpu 0,1")
        return []
    return answer.stdout.split()


def make_hello(
    config: AgentConfig, node: str, capacity: node_pb2.NodeCapacity, incarnation: int, enforcement: str
) -> pb.Hello:
    """Everything that a Hello says about the machine, but its tasks."""
    return pb.Hello(
        node=node,
        boot_id=boot_id(),
        incarnation=incarnation,
        protocol_version=PROTOCOL_VERSION,
        agent_version=agent_version(),
        labels=read_labels(config),
        capacity=capacity,
        operators=read_operators(),
        enforcement=enforcement,
    )
