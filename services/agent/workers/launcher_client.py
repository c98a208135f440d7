"""The agent's end of the launcher's socket.

Owns finding or starting the launcher, and the requests to it. Keeps no state of the workers: the first
message of a connection lists them.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from services.agent.workers.sockets import FrameProtocol, Message, connect

# Exit code of a launcher that found another one on its socket.
ALREADY_RUNNING = 3
_START_TIMEOUT_S = 15.0
# What a launcher, and so every worker, gets from the agent's environment; never a secret of the suite.
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_HOME")


class LauncherFailed(Exception):
    """The launcher did not come up."""


class SpawnFailed(Exception):
    """A worker could not be started."""


class LauncherClient:
    """A connection to the launcher. ``on_ended(worker, exit_code, signal)`` tells about every worker that
    ended while connected; ``on_lost`` comes once, when the connection is gone."""

    def __init__(self, on_ended: Callable[[str, int, int], None], on_lost: Callable[[], None]) -> None:
        self._on_ended = on_ended
        self._on_lost = on_lost
        self._protocol: FrameProtocol | None = None
        self._spawning: dict[str, asyncio.Future[int]] = {}
        self._listed: asyncio.Future[dict[str, int]] = asyncio.get_running_loop().create_future()
        # Pids by worker name, kept up to date by the launcher's messages.
        self.workers: dict[str, int] = {}

    @classmethod
    async def start(
        cls,
        socket_path: str,
        state_dir: Path,
        on_ended: Callable[[str, int, int], None],
        on_lost: Callable[[], None],
        *,
        env: Mapping[str, str] | None = None,
        orphan_timeout_s: float = 3600.0,
    ) -> Self:
        """Connects to the launcher that is there, or starts one; returns with `workers` filled.

        The launcher gets a session of its own and outlives this process. Raises `LauncherFailed`.
        """
        client = cls(on_ended, on_lost)
        try:
            await client._connect(socket_path)
        except OSError:
            await _start_launcher(socket_path, state_dir, env, orphan_timeout_s)
            try:
                await client._connect(socket_path)
            except OSError as error:
                raise LauncherFailed(f"the launcher does not answer at {socket_path}: {error}") from error
        return client

    async def spawn(
        self,
        worker: str,
        socket_path: str,
        *,
        python: str = "",
        paths: Sequence[str] = (),
        log_path: str = "",
        imports: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Starts a worker and gives its pid; its socket accepts connections by then. Raises `SpawnFailed`.

        Names must be new. Not safe to cancel without a `kill` of the same name.
        """
        if worker in self._spawning or worker in self.workers:
            raise SpawnFailed(f"there is a worker {worker!r} already")
        if self._protocol is None or not self._protocol.is_open:
            raise SpawnFailed("the launcher is gone")
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._spawning[worker] = future
        request: Message = {"worker": worker, "socket_path": socket_path}
        optional = {
            "python": python,
            "paths": list(paths),
            "log_path": log_path,
            "imports": list(imports),
            "env": dict(env or {}),
        }
        request.update({name: value for name, value in optional.items() if value})
        self._protocol.send({"spawn": request})
        try:
            return await future
        finally:
            self._spawning.pop(worker, None)

    def kill(self, worker: str, signal: int = 9) -> None:
        """Sends a signal to a worker; its end comes by ``on_ended``. What ran in it dies with it."""
        if self._protocol is not None:
            self._protocol.send({"kill": {"worker": worker, "signal": signal}})

    def shut_down(self) -> None:
        """Ends every worker and the launcher."""
        if self._protocol is not None:
            self._protocol.send({"shut_down": {}})

    def close(self) -> None:
        """Ends the connection; launcher and workers go on."""
        if self._protocol is not None:
            self._protocol.close()

    async def _connect(self, socket_path: str) -> None:
        self._protocol = await connect(socket_path, self._on_message, self._on_connection_lost)
        self.workers = await self._listed

    def _on_message(self, message: Message) -> None:
        if "spawned" in message:
            self._on_spawned(message["spawned"])
        elif "ended" in message:
            ended = message["ended"]
            self.workers.pop(ended["worker"], None)
            self._on_ended(ended["worker"], ended.get("exit_code", 0), ended.get("signal", 0))
        elif "workers" in message and not self._listed.done():
            listed = message["workers"].get("workers", [])
            self._listed.set_result({item["worker"]: item["pid"] for item in listed})

    def _on_spawned(self, spawned: Message) -> None:
        worker, error = spawned["worker"], spawned.get("error", "")
        future = self._spawning.get(worker)
        if not error:
            self.workers[worker] = spawned["pid"]
        if future is not None and not future.done():
            if error:
                future.set_exception(SpawnFailed(error))
            else:
                future.set_result(spawned["pid"])

    def _on_connection_lost(self) -> None:
        for future in self._spawning.values():
            if not future.done():
                future.set_exception(SpawnFailed("the launcher is gone"))
        if self._listed.done():
            self._on_lost()
        else:
            self._listed.set_exception(ConnectionResetError("the launcher closed the connection"))


async def _start_launcher(
    socket_path: str, state_dir: Path, env: Mapping[str, str] | None, orphan_timeout_s: float
) -> None:
    """Starts a launcher; returns when it listens and its parent, which waits for that, has ended."""
    state_dir.mkdir(parents=True, exist_ok=True)
    log_path = state_dir / "launcher.log"
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    with log_path.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.agent.launcher", "--socket", socket_path),
            *("--state", str(state_dir), "--orphan-timeout", str(orphan_timeout_s), "--detach"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**kept, **(env or {})},
            cwd=_import_root(),
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            code = await process.wait()
    except TimeoutError:
        process.kill()
        code = await process.wait()
    if code not in (0, ALREADY_RUNNING):
        raise LauncherFailed(f"the launcher did not start (exit code {code}); see {log_path}")


def _import_root() -> str:
    """Where ``services`` and ``modelyard`` are imported from, whatever the launcher's directory."""
    return str(Path(__file__).resolve().parents[3])
