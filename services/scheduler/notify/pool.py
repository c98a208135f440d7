"""The processes that send: kept warm, bounded in number, ended when one takes too long.

A process is started from a fresh interpreter, never forked: this one has gRPC's threads. What is sent goes through
its stdin, so that no address is ever seen in a list of processes.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

import services
from services.chassis.logs import get_logger
from services.scheduler.notify.guard import CERTIFICATE_VARIABLES
from services.scheduler.notify.schemes import WEBHOOKS

MOST_SENDERS = 6
# Contacts whose last message was not taken may hold so many of them: the others always find one.
MOST_SUSPECT = 3
# A message is over after so long, whatever its service does.
SEND_S = 20.0
# To load the library, once for each process.
WARM_S = 60.0
IDLE_S = 60.0
_KEPT = ("YARD_STATE", "PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", *CERTIFICATE_VARIABLES)
_WARM = {"op": "warm", "url": ""}
Compose = Callable[[], Awaitable[dict[str, Any]]]
_log = get_logger("scheduler.notify")


class Sent(msgspec.Struct, frozen=True):
    """What became of a request; ``error`` is empty where it was taken. ``missing``: there is no library for it."""

    ok: bool
    error: str = ""
    missing: bool = False


class SenderPool:
    """Use from one event loop; must be closed."""

    def __init__(self, allow: str, most: int = MOST_SENDERS, most_suspect: int = MOST_SUSPECT) -> None:
        self._allow = allow
        self._slots = asyncio.Semaphore(most)
        self._suspects = asyncio.Semaphore(most_suspect)
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()

    async def ask(self, request: dict[str, Any]) -> Sent:
        """What one sender says to a request. Safe to cancel: the sender is then ended."""

        async def made() -> dict[str, Any]:
            return request

        return await self.send(made)

    async def send(self, compose: Compose, *, is_suspect: bool = False) -> Sent:
        """The same; the request is made when its turn has come, so that only a few are ever in memory."""
        async with contextlib.AsyncExitStack() as held:
            if is_suspect:
                await held.enter_async_context(self._suspects)
            await held.enter_async_context(self._slots)
            request = await compose()
            needs_library = request["url"].partition("://")[0].lower() not in WEBHOOKS
            process = await self._take(needs_library)
            self._busy.add(process)
            try:
                return await self._ask(process, request, needs_library)
            finally:
                self._busy.discard(process)
                await self._put_back(process)

    async def _take(self, needs_library: bool) -> "_Process":
        """One that is idle, best one that has what is needed; else a new one."""
        best_first = sorted(
            self._idle, key=lambda p: (p.is_warm == needs_library, p.idle_since), reverse=True
        )
        for process in best_first:
            self._idle.remove(process)
            if process.is_alive:
                return process
            await process.close()
        return await _Process.start(self._allow)

    async def _ask(self, process: "_Process", request: dict[str, Any], needs_library: bool) -> Sent:
        try:
            if needs_library:
                await process.warm()
            async with asyncio.timeout(SEND_S):
                return await process.ask(request)
        except TimeoutError:
            process.kill()
            return Sent(False, f"nothing was heard of the service for {SEND_S:g} s")
        except (OSError, EOFError, msgspec.MsgspecError) as error:
            process.kill()
            return Sent(False, f"the process that sends has died ({type(error).__name__})")
        except asyncio.CancelledError:
            process.kill()
            raise

    async def _put_back(self, process: "_Process") -> None:
        """The last one used goes first, so that those that are not needed become old."""
        if process.is_alive:
            process.idle_since = time.monotonic()
            self._idle.append(process)
        else:
            await process.close()

    async def warm(self) -> None:
        """Makes sure that the first message need not wait for the library to be loaded."""
        if not any(process.is_warm for process in (*self._idle, *self._busy)):
            await self.ask(_WARM)

    async def trim(self) -> None:
        """Ends those that were idle for long; one stays, and one that has loaded the library."""
        oldest = time.monotonic() - IDLE_S
        for process in [process for process in self._idle if process.idle_since < oldest]:
            is_last = process.is_warm and sum(other.is_warm for other in self._idle) == 1
            if len(self._idle) > 1 and not is_last:
                self._idle.remove(process)
                await process.close()

    async def close(self) -> None:
        """Ends all. What was being sent is sent again by whoever comes next."""
        for process in (*self._idle, *self._busy):
            await process.close()
        self._idle.clear()


class _Process:
    """One sender."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.idle_since = 0.0
        # Whether it has loaded the library.
        self.is_warm = False
        self._is_killed = False

    @classmethod
    async def start(cls, allow: str) -> "_Process":
        environ = {name: os.environ[name] for name in _KEPT if name in os.environ}
        root = str(Path(services.__file__ or "").parents[1])
        paths = [root, *filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))]
        # No proxy and no .netrc: what is connected to must be what was checked, with nobody's password.
        environ |= {
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
            "HOME": "/nonexistent",
            "NO_PROXY": "*",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-B", "-m", "services.scheduler.notify.sender", "--allow", allow,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environ, cwd="/", start_new_session=True,
        )  # fmt: skip
        _log.debug("sender_started", pid=process.pid)
        return cls(process)

    @property
    def is_alive(self) -> bool:
        return not self._is_killed and self._process.returncode is None

    async def ask(self, request: dict[str, Any]) -> Sent:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(json.dumps(request).encode() + b"\n")
        await stdin.drain()
        line = await stdout.readline()
        if not line:
            raise EOFError
        return msgspec.json.decode(line, type=Sent)

    async def warm(self) -> None:
        """Has the library loaded. Without it the answer to the request itself says so."""
        if not self.is_warm:
            async with asyncio.timeout(WARM_S):
                self.is_warm = (await self.ask(_WARM)).ok

    def kill(self) -> None:
        self._is_killed = True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        self.kill()
        await self._process.wait()
