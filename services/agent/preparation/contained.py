"""Commands and seats that name an image: what their shim is asked to start beside containers, and what those find.

Owns the order of a container and who may read and write below the task's directory from within. The container itself is
`modelyard.enclosure.command`'s.
"""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from modelyard.enclosure import command, giving
from modelyard.enclosure.command_order import TASK, CommandOrder
from modelyard.worker.seats.mailbox import TOKEN_FILE
from services.agent.config import Places
from services.agent.host.containers import end_all
from services.agent.host.cookies import VARIABLE, cookie
from services.agent.messages.decode import THREADS, device_number
from services.agent.preparation.variables import task_variables
from services.agent.tasks.model import Body, Task
from services.agent.tasks.params import merged_params

_ORDER, _OUTCOME, _PROGRESS, _PARAMS = "container.json", "outcome.json", "progress", "params.json"
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
        if task.body.seat is not None:
            # Its programs, and so their containers, are another's to name.
            (directory / _PARAMS).write_text("{}\n")
            return
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
        if body.image and self._is_root:
            names = (_PROGRESS, "work", *(("inputs",) if body.inputs else ()))
            giving.open_up(directory, self._user, self._group, names)

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

    def seat(self, task: Task, work: dict[str, Any], directory: str) -> dict[str, Any]:
        """What the shim is asked to keep: its programs are started in containers. Touches no file."""
        whose = cookie(self._places.root, task.key)
        order = self._order(task, Path(directory), directory)
        place = task.body.seat
        assert place is not None
        shared = place.checkpoints.directory if place.checkpoints is not None else ""
        order = replace(
            order,
            network="host",
            writable=("work", *((shared,) if shared.startswith("/") else ())),
            given=("work", TOKEN_FILE),
        )
        work |= {
            "env": order.env | {VARIABLE: whose},
            "container": {
                "argv": command.words(command.RUN, "")[:-1],
                "cleanup_argv": command.words(command.REMOVE, whose),
                "env": {**self._engine, VARIABLE: whose},
                "order": asdict(order),
            },
        }
        return work

    def _order(self, task: Task, directory: Path, place: str = TASK) -> CommandOrder:
        body = task.body
        env = {
            "HOME": "/tmp",
            "YARD_NODE": self._node,
            "PYTHONUNBUFFERED": "1",
            THREADS: str(body.threads),
            **body.env,
            **task_variables(task, place, f"{place}/{_PARAMS}"),
        }
        return CommandOrder(
            image=body.image,
            argv=body.argv,
            env=env,
            directory=str(directory),
            place=place,
            outcome_path=str(directory / _OUTCOME),
            label=cookie(self._places.root, task.key),
            user=f"{self._user}:{self._group}",
            network=body.network or "none",
            gpus=tuple(map(device_number, task.gpu_devices)),
            memory_bytes=body.limits.memory_bytes,
            cpu=body.limits.cpu,
            pids=body.limits.pids,
        )
