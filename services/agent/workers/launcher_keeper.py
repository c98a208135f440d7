"""One launcher at all times: found or started, started again when it has died, ended with the agent if that ends.

Owns the connection to it. What becomes of workers whose launcher has died is not decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from services.agent.workers.launcher_client import LauncherClient, LauncherFailed
from services.chassis.logs import get_logger

_log = get_logger("agent.launcher_keeper")
_UP_S, _END_S, _AGAIN_S = 20.0, 5.0, 2.0


class LauncherKeeper:
    """``on_ended(worker, exit_code, signal)`` tells of ended workers, ``on_lost`` of each launcher that has died."""

    def __init__(
        self,
        socket_path: str,
        state_dir: Path,
        on_ended: Callable[[str, int, int], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._socket_path = socket_path
        self._state_dir = state_dir
        self._on_ended = on_ended
        self._on_lost = on_lost
        self._client: LauncherClient | None = None
        self._restart: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self._gone = asyncio.Event()
        self._closing = False

    @property
    def is_up(self) -> bool:
        return self._client is not None

    @property
    def workers(self) -> Mapping[str, int]:
        """Pids of the launcher's own workers; none while there is no launcher."""
        return self._client.workers if self._client is not None else {}

    async def start(self) -> None:
        """Finds the one that is there or starts one. Raises LauncherFailed."""
        self._client = await LauncherClient.start(
            self._socket_path, self._state_dir, self._on_ended, self._on_client_lost
        )
        self._gone.clear()
        self._up.set()

    async def client(self) -> LauncherClient:
        """The launcher, waited for if it is just being started again. Raises TimeoutError."""
        await asyncio.wait_for(self._up.wait(), _UP_S)
        assert self._client is not None
        return self._client

    def kill(self, worker: str) -> None:
        """SIGKILL to one of its workers; without effect for any other."""
        if self._client is not None:
            self._client.kill(worker)

    async def close(self, *, shut_down: bool) -> None:
        """Leaves it alone, or ends it with its workers and waits a moment for it."""
        self._closing = True
        if self._restart is not None:
            if shut_down:
                # One that is just coming up must be there before it can be ended.
                await asyncio.wait({self._restart}, timeout=_UP_S)
            self._restart.cancel()
            await asyncio.gather(self._restart, return_exceptions=True)
        if self._client is None:
            return
        if shut_down:
            self._client.shut_down()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), _END_S)
        self._client.close()

    def _on_client_lost(self) -> None:
        self._gone.set()
        if self._closing:
            return
        _log.error("launcher_lost", next_step="a new one is started; see launcher.log")
        self._up.clear()
        self._client = None
        self._restart = asyncio.get_running_loop().create_task(self._start_again(), name="launcher")
        self._on_lost()

    async def _start_again(self) -> None:
        """Workers wait for it, so it is tried until there is one."""
        while True:
            try:
                return await self.start()
            except LauncherFailed as error:
                _log.error("launcher_not_started", reason=str(error))
                await asyncio.sleep(_AGAIN_S)
