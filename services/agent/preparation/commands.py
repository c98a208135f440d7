"""What a command finds when it starts: its directory, its files, its environment variables.

Owns the layout of tasks/<task>-<attempt>/: work/ (the current directory), inputs/, params.json,
progress, stdout, stderr. What is not staged here is made by the shim.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from services.agent.config import Places
from services.agent.host import cookies
from services.agent.messages.decode import DEVICES, THREADS, device_number
from services.agent.preparation import quoted
from services.agent.preparation.attachments import give
from services.agent.preparation.contained import ENGINE, ContainedCommands
from services.agent.preparation.reach import Reach
from services.agent.preparation.variables import file_name, task_variables
from services.agent.tasks.events import WorkMoved
from services.agent.tasks.model import Body, Phase, Task
from services.agent.tasks.params import merged_params

RECORDS, ROOM = ".records", ".room"
_PROGRESS_BYTES = 64 * 1024
_ENGINES = ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR")
"""By which who starts a container finds the engine, and what `docker login` has left; no secrets themselves."""


class CommandSetup:
    """Makes directories and variables for commands of one node."""

    def __init__(self, places: Places, node: str, has_gpus: bool, reach: Reach) -> None:
        self._places = places
        self._has_gpus = has_gpus
        self._no_params = places.root / "no-params.json"
        self._no_params.write_text("{}\n")
        self._shims = str(places.shims)
        own_bin = str(Path(sys.executable).parent)
        self._path = f"{own_bin}:{os.environ.get('PATH') or os.defpath}"
        self.reach = reach
        self.contained = ContainedCommands(places, node)
        self._fixed = {"YARD_NODE": node, "PYTHONUNBUFFERED": "1"}
        if engine := os.environ.get(ENGINE):
            self._fixed[ENGINE] = engine
        self._read: dict[str, int] = {}

    def stage(self, task: Task, bundle: Path | None, input_paths: Mapping[str, str]) -> Path:
        """Fills the directory of an attempt: a fresh copy of the bundle, of a command the inputs; its working
        directory. Blocks. Raises ValueUnreadable, OSError."""
        directory = self._places.task(task.key)
        shutil.rmtree(directory, ignore_errors=True)
        work, inputs = directory / "work", directory / "inputs"
        directory.mkdir(mode=0o700)
        if bundle is not None:
            shutil.copytree(bundle, work, symlinks=True)
        else:
            work.mkdir(mode=0o700)
        if not task.body.is_command:
            return work
        if task.body.inputs:
            inputs.mkdir(mode=0o700)
        for name, source in task.body.inputs.items():
            target, is_value = inputs / file_name(name), name in task.body.values
            if isinstance(source, bytes):
                target.write_bytes(quoted.text_of(source) if is_value else source)
            elif is_value and quoted.is_text(Path(input_paths[source])):
                quoted.write_text(Path(input_paths[source]), target)
            else:
                give(Path(input_paths[source]), target)
        return work

    def work(self, task: Task, worker: str, directory: str, limits: dict[str, object]) -> dict[str, Any]:
        """What the shim is asked to run, with all that it has to make first. Touches no file."""
        work: dict[str, Any] = {
            "argv": task.body.argv,
            "directory": f"{directory}/work",
            "log_directory": directory,
            "record_path": f"{self._shims}/{worker}{RECORDS}",
        }
        if task.body.image:
            # Its container has the limits; what stands beside that needs none.
            return self.contained.work(task, work, directory)
        if not task.body.staged:
            work["spare_path"] = f"{self._shims}/{worker}{ROOM}"
        if limits:
            work["limits"] = limits
        params = str(self._no_params)
        if task.body.params_json or task.params_json or task.body.modify_signal:
            params = f"{directory}/params.json"
            work["params_json"] = merged_params(task.body.params_json, task.params_json) or "{}"
        work["env"] = self._env(task, directory, params)
        return work

    def seat(
        self, task: Task, worker: str, directory: str, limits: dict[str, object], lease_path: str
    ) -> dict[str, Any]:
        """What the shim is asked to keep. Touches no file."""
        place = task.body.seat
        assert place is not None
        env = self._env(task, directory, str(self._no_params)) | self.reach.of_seat()
        env |= {name: os.environ[name] for name in _ENGINES if name in os.environ}
        env[cookies.VARIABLE] = cookies.cookie(self._places.root, task.key)
        work: dict[str, Any] = {
            "job_id": place.job_id,
            "role": place.role,
            "index": place.index + max(task.array_index, 0),
            "ports": [{"name": name, "low": low, "high": high} for name, low, high in place.ports],
            "env": env,
            "directory": f"{directory}/work",
            "log_directory": directory,
            "record_path": f"{self._shims}/{worker}{RECORDS}",
            "lease_path": lease_path,
        }
        if place.forward:
            work["forward"] = True
        if task.body.image:
            return self.contained.seat(task, work, directory)
        if limits:
            work["limits"] = limits
        return work

    def progress(self, tasks: Iterable[Task]) -> list[tuple[str, WorkMoved]]:
        """What running commands have said since the last call: lines of "ratio message"."""
        moved = []
        running = [task for task in tasks if task.phase is Phase.RUNNING and task.body.is_command]
        self._read = {task.key: self._read.get(task.key, 0) for task in running}
        for task in running:
            line = self._last_line(task.key)
            if line is not None:
                ratio, _, message = line.partition(" ")
                with contextlib.suppress(ValueError):
                    share = min(1.0, max(0.0, float(ratio)))
                    moved.append((task.worker, WorkMoved(task.work_key, share, message.strip())))
        return moved

    def _last_line(self, key: str) -> str | None:
        path = self._places.task(key) / "progress"
        try:
            size = path.stat().st_size
            if size <= self._read[key]:
                return None
            with path.open("rb") as file:
                file.seek(max(self._read[key], size - _PROGRESS_BYTES))
                lines = file.read(_PROGRESS_BYTES).decode(errors="replace").splitlines()
        except OSError:
            return None
        self._read[key] = size
        return next((line for line in reversed(lines) if line.strip()), None)

    def _env(self, task: Task, directory: str, params: str) -> dict[str, str]:
        body = task.body
        env = {
            "PATH": self._path,
            THREADS: str(body.threads),
            **self._fixed,
            **self.reach.variables(),
            **_environment(self._places, body, self._path),
            **body.env,
            **task_variables(task, directory, params),
        }
        if task.token:
            env["YARD_TASK_TOKEN"] = task.token
        if task.gpu_devices:
            env[DEVICES] = ",".join(map(device_number, task.gpu_devices))
        elif self._has_gpus:
            env[DEVICES] = ""
        return env


def _environment(places: Places, body: Body, path: str) -> dict[str, str]:
    if not body.environment:
        return {}
    venv = places.environments / body.environment
    return {"VIRTUAL_ENV": str(venv), "PATH": f"{venv}/bin:{path}"}
