"""Commands that name an image: what their shim is asked to start beside their container, and what that finds.

Owns the order of a container and who may read and write below the task's directory from within. The container itself is
`modelyard.enclosure.command`'s.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from modelyard.enclosure import command
from modelyard.enclosure.command_order import TASK, CommandOrder
from services.agent.config import Places
from services.agent.host.containers import end_all
from services.agent.host.cookies import cookie
from services.agent.messages.decode import THREADS, device_number
from services.agent.preparation.variables import task_variables
from services.agent.tasks.model import Body, Task
from services.agent.tasks.params import merged_params

_ORDER, _OUTCOME, _PROGRESS = "container.json", "outcome.json", "progress"
_NOBODY = 65_534
ENGINE = "DOCKER_HOST"
"""Where the container engine is, if not in the usual place."""


class ContainedCommands:
    """Those of one node."""

    def __init__(self, places: Places, node: str) -> None:
        self._places = places
        self._node = node
        self.are_used = False
        """Whether there has been any since the agent's start."""
        self._is_root = os.getuid() == 0
        host = os.environ.get(ENGINE, "")
        self._engine = {ENGINE: host} if host else {}
        # The agent's own user; of root's agents nobody, so that nothing runs as root.
        self._user, self._group = (_NOBODY, _NOBODY) if self._is_root else (os.getuid(), os.getgid())

    def stage(self, task: Task) -> None:
        """Writes the order into the attempt's directory, which is filled by now. Blocks. Raises OSError."""
        self.are_used = True
        directory = self._places.task(task.key)
        (directory / _PROGRESS).touch(0o600)
        draft = os.open(directory / _ORDER, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(draft, "w", encoding="utf-8") as file:
            file.write(self._order(task, directory).text())
        self.open_up(task.body, directory)

    def end(self, key: str) -> None:
        """Removes the container of an attempt whose shim has gone, and what stood beside it with that. Blocks."""
        end_all(cookie(self._places.root, key))

    def open_up(self, body: Body, directory: Path) -> None:
        """Lets the container's user read all below the directory and write where it may. Blocks. Raises OSError."""
        if not (body.image and self._is_root):
            return
        directory.chmod(0o755)
        os.chown(directory / _PROGRESS, self._user, self._group)
        _give(directory / "work", self._user, self._group)
        if body.inputs:
            _give(directory / "inputs", self._user, self._group)

    def work(self, task: Task, work: dict[str, Any], directory: str) -> dict[str, Any]:
        """What the shim is asked to run instead of the command. Touches no file."""
        whose = cookie(self._places.root, task.key)
        work |= {
            "argv": command.words(command.RUN, f"{directory}/{_ORDER}"),
            "cleanup_argv": command.words(command.REMOVE, whose),
            "outcome_path": f"{directory}/{_OUTCOME}",
            "is_shared": self._is_root,
            "env": self._engine,
            "params_json": merged_params(task.body.params_json, task.params_json) or "{}",
        }
        return work

    def _order(self, task: Task, directory: Path) -> CommandOrder:
        body = task.body
        env = {
            "HOME": "/tmp",
            "YARD_NODE": self._node,
            "PYTHONUNBUFFERED": "1",
            THREADS: str(body.threads),
            **body.env,
            **task_variables(task, TASK, f"{TASK}/params.json"),
        }
        return CommandOrder(
            image=body.image,
            argv=body.argv,
            env=env,
            directory=str(directory),
            outcome_path=str(directory / _OUTCOME),
            label=cookie(self._places.root, task.key),
            user=f"{self._user}:{self._group}",
            network=body.network or "none",
            gpus=tuple(map(device_number, task.gpu_devices)),
            memory_bytes=body.limits.memory_bytes,
            cpu=body.limits.cpu,
            pids=body.limits.pids,
        )


def _give(directory: Path, user: int, group: int) -> None:
    """All of it, but for what others have as well: large files of the cache, which anybody may read."""
    os.chown(directory, user, group)
    for root, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = Path(root, name)
            info = path.lstat()
            if path.is_dir() or info.st_nlink == 1:
                os.chown(path, user, group, follow_symlinks=False)
