"""Warm parents of the launcher, one per interpreter, imports and paths.

Owns which there are, how they are started and when they are ended. Standard library only, as everything
that the launcher imports. How a template forks is in `modelyard.worker.template`.
"""

import os
import socket
import time
from pathlib import Path

import modelyard
from modelyard.worker.frames import BadFrame, FrameBuffer, Message, encode
from modelyard.worker.template import fork_template

_IDLE_S = 600.0

# Interpreter, imports, paths, and how many threads libraries are told of when they are loaded.
Key = tuple[str, tuple[str, ...], tuple[str, ...], str]
_THREADS = "OMP_NUM_THREADS"
_SILENT = {"ORT_DISABLE_TELEMETRY": "1"}
"""ONNX Runtime reports names and digests of models to its maker unless it is told not to before it is imported."""


class Template:
    """One warm parent and the spawns that it still has to answer."""

    def __init__(self, key: Key, pid: int, control: socket.socket) -> None:
        self.key = key
        self.pid = pid
        self.control = control
        self.used_at = time.monotonic()
        self.asked: list[str] = []
        self._frames = FrameBuffer()

    def request(self, spawn: Message) -> None:
        self.used_at = time.monotonic()
        self.asked.append(spawn["worker"])
        try:
            self.control.sendall(encode(spawn))
        except OSError:
            # Its end shows when it is read from; the spawn is answered there.
            return

    def answers(self) -> tuple[list[Message], bool]:
        """What it answered, and whether it is still there."""
        try:
            data = self.control.recv(65536)
            answers = self._frames.feed(data)
        except (OSError, BadFrame):
            return [], False
        for answer in answers:
            self.asked.remove(answer["worker"])
        return answers, bool(data)


class Templates:
    def __init__(self, state_dir: Path, orphan_timeout_s: float) -> None:
        self._state_dir = state_dir
        self._orphan_timeout_s = orphan_timeout_s
        self._templates: dict[Key, Template] = {}

    @property
    def is_forking(self) -> bool:
        """Whether there may be a worker that has not been told of yet."""
        return any(template.asked for template in self._templates.values())

    def pids(self) -> list[int]:
        return [template.pid for template in self._templates.values()]

    def get(self, spawn: Message) -> tuple[Template, bool]:
        """The template for a SpawnWorker, and whether it was started for it. Raises OSError."""
        imports = tuple(spawn.get("imports", ()))
        threads = spawn.get("env", {}).get(_THREADS, "") if imports else ""
        key = (spawn.get("python", ""), imports, tuple(spawn.get("paths", ())), threads)
        found = self._templates.get(key)
        if found is not None:
            return found, False
        template = self._start(key)
        self._templates[key] = template
        return template, True

    def lost(self, template: Template) -> list[str]:
        """Forgets a template that has ended; the workers that it still owed."""
        self._templates.pop(template.key, None)
        template.control.close()
        return template.asked

    def end_idle(self) -> list[Template]:
        """Forgets those that nobody has asked for long; they end when their control is closed."""
        now = time.monotonic()
        idle = [t for t in self._templates.values() if not t.asked and now - t.used_at > _IDLE_S]
        for template in idle:
            del self._templates[template.key]
        return idle

    def _start(self, key: Key) -> Template:
        python, imports, paths, threads = key
        env = {**_SILENT, **({_THREADS: threads} if threads else {})}
        ours, theirs = socket.socketpair()
        with theirs:
            if python:
                pid = self._execute(python, imports, paths, theirs, env)
            else:
                pid = fork_template(theirs, list(paths), list(imports), self._orphan_timeout_s, env)
        return Template(key, pid, ours)

    def _execute(
        self,
        python: str,
        imports: tuple[str, ...],
        paths: tuple[str, ...],
        control: socket.socket,
        own: dict[str, str],
    ) -> int:
        """Starts another environment's interpreter, which finds `modelyard` and nothing else of ours."""
        control.set_inheritable(True)
        argv = [python, "-m", "modelyard.worker.template", "--control-fd", str(control.fileno())]
        argv += ["--orphan-timeout", str(self._orphan_timeout_s)]
        argv += [word for path in paths for word in ("--path", path)]
        argv += [word for name in imports for word in ("--import", name)]
        env = {**os.environ, "PYTHONPATH": self._shared_package(), **own}
        return os.posix_spawn(python, argv, env, setsid=True, setsigdef=(), setsigmask=())

    def _shared_package(self) -> str:
        folder = self._state_dir / "packages"
        folder.mkdir(parents=True, exist_ok=True)
        link = folder / "modelyard"
        source = Path(modelyard.__file__).parent
        if not link.is_symlink() or link.readlink() != source:
            link.unlink(missing_ok=True)
            link.symlink_to(source)
        return str(folder)
