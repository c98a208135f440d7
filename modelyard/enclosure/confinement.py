"""What a container may, as its engine is told. Pure.

The same numbers hold for sandboxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

USER = 10_001
TMP_BYTES, SHARED_BYTES, DESCRIPTORS = 256 * 1024**2, 64 * 1024**2, 4_096
FILE_BYTES, OUTPUT_BYTES = 1024**3, 256 * 1024**2
PIDS = 256
FOUND = "/found.json"
"""What a program inside may write, if it is given anything."""
_PRIVILEGES = "no-new-privileges"
_TMPFS = f"rw,nosuid,nodev,noexec,mode=1777,size={TMP_BYTES}"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one frame; 0 is none."""

    memory_bytes: int = 0
    cpu: float = 0.0
    pids: int = PIDS
    file_bytes: int = FILE_BYTES
    devices: tuple[str, ...] = ()
    has_network: bool = False


def host_config(limits: Limits) -> dict[str, Any]:
    """As the engine's interface has it, but for mounts."""
    config: dict[str, Any] = {
        "AutoRemove": True,
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": _TMPFS},
        "NetworkMode": _network(limits),
        "IpcMode": "private",
        "ShmSize": SHARED_BYTES,
        "CapDrop": ["ALL"],
        "SecurityOpt": [_PRIVILEGES],
        "PidsLimit": limits.pids,
        "LogConfig": {"Type": "none"},
        "Ulimits": [
            {"Name": name, "Soft": most, "Hard": most}
            for name, most in (("nofile", DESCRIPTORS), ("fsize", limits.file_bytes), ("core", 0))
        ],
    }
    if limits.memory_bytes:
        config |= {"Memory": limits.memory_bytes, "MemorySwap": limits.memory_bytes}
    if limits.cpu:
        config["NanoCpus"] = round(limits.cpu * 1e9)
    if limits.devices:
        config["DeviceRequests"] = [{"DeviceIDs": [*limits.devices], "Capabilities": [["gpu"]]}]
    return config


def _network(limits: Limits) -> str:
    return "bridge" if limits.has_network else "none"
