"""A program that is to run in a container: what is asked for, and what the engine is asked for then. Pure.

The task's directory is `/task` in there, for reading; below it `/task/work` is where a command runs and may write.
Programs of seats find it where it is on this machine, as all that they are told has its paths, and share its network.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from modelyard.enclosure.confinement import Limits, host_config

TASK = "/task"
SCRATCH_BYTES = 1024**3
"""Of /tmp, and of shared memory; both count as memory of the command."""
OOM_SCORE = 500
"""As of all work: it is to be ended for want of memory before the agent is."""
_TMPFS = f"rw,nosuid,nodev,exec,mode=1777,size={SCRATCH_BYTES}"


@dataclass(frozen=True, kw_only=True)
class CommandOrder:
    """One attempt."""

    image: str
    argv: tuple[str, ...]
    """Instead of the image's own entry point."""
    env: dict[str, str]
    """Over the image's own."""
    directory: str
    """Of the task, on this machine; all that is mounted lies below it."""
    outcome_path: str
    """Where it is told how it has ended."""
    label: str
    """Whose the container is: no other attempt of this machine is called so."""
    user: str
    place: str = TASK
    """Where the directory is seen."""
    writable: tuple[str, ...] = ("work", "progress")
    """Below the directory; absolute ones, on file systems that nodes share, are seen where they are, and are made."""
    given: tuple[str, ...] = ()
    """Below the directory: the container's user owns them before it starts. None: somebody has seen to that."""
    pid_path: str = ""
    """Where the number of its first process is told, as this machine counts."""
    network: str = "none"
    """none, bridge, or host: that of this machine."""
    gpus: tuple[str, ...] = ()
    memory_bytes: int = 0
    cpu: float = 0.0
    pids: int = 0

    def text(self) -> str:
        """As `read` takes it."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> CommandOrder:
        """Raises ValueError, TypeError."""
        said = json.loads(text)
        return cls(**said | {name: tuple(said[name]) for name in ("argv", "gpus", "writable", "given")})

    def config(self, image: str, label: str) -> dict[str, Any]:
        """What the engine is asked for. ``image``: its id here; ``label``: the name under which it is found again."""
        limits = Limits(
            memory_bytes=self.memory_bytes,
            cpu=self.cpu,
            pids=self.pids,
            devices=self.gpus,
            has_network=self.network == "bridge",
        )
        # It is looked at once it has ended, and removed then.
        own = {
            "AutoRemove": False,
            "Init": True,
            "OomScoreAdj": OOM_SCORE,
            "Tmpfs": {"/tmp": _TMPFS},
            "ShmSize": SCRATCH_BYTES,
            "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
            "Mounts": [_mount(self.directory, self.place), *map(self._writable, self.writable)],
        }
        if self.network == "host":
            own["NetworkMode"] = "host"
        return {
            "Image": image,
            "Entrypoint": [self.argv[0]],
            "Cmd": [*self.argv[1:]],
            "Env": [f"{name}={value}" for name, value in self.env.items()],
            "Labels": {label: self.label},
            "User": self.user,
            "WorkingDir": f"{self.place}/work",
            "AttachStdout": True,
            "AttachStderr": True,
            "HostConfig": {**host_config(limits), **own},
        }

    def _writable(self, name: str) -> dict[str, Any]:
        at = (name, name) if name.startswith("/") else (f"{self.directory}/{name}", f"{self.place}/{name}")
        return _mount(*at) | {"ReadOnly": False}


def _mount(source: str, target: str) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": True}
