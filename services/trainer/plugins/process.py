"""One package's process as the trainer sees it: started when it is asked something, killed when it takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import pickle
import signal
import sys
from typing import Any

from services.chassis.logs import get_logger

LOAD_S = 20.0
"""For the imports of a package."""
LIMIT_S = 5.0
"""For an answer."""
MOST_BYTES = 32 << 20

_log = get_logger("trainer.plugins")


class PluginFailed(Exception):
    """The package gave no answer; in words that name it."""


class PluginProcess:
    """Asked one thing at a time, in turn."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._loaded = b""

    async def load(self) -> bytes:
        """What the package offers, as `safely_loaded` reads it. Raises PluginFailed."""
        async with self._turn:
            await self._started()
            return self._loaded

    async def ask(self, function: str, arguments: tuple[Any, ...], limit_s: float = LIMIT_S) -> bytes:
        """Raises PluginFailed, at the latest when the limit is over; that ends the process, and the next call begins a
        new one."""
        async with self._turn:
            process = await self._started()
            request = pickle.dumps((function, arguments))
            return await self._exchange(process, request, f"its function {function}", limit_s)

    async def close(self) -> None:
        """Ends the process."""
        await self._kill()

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.trainer.plugins.worker", self._name, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._loaded = await self._exchange(self._process, b"", "its import", LOAD_S)
        return self._process

    async def _exchange(
        self, process: asyncio.subprocess.Process, request: bytes, what: str, limit_s: float
    ) -> bytes:
        assert process.stdin is not None and process.stdout is not None
        is_whole = False
        try:
            async with asyncio.timeout(limit_s):
                if request:
                    process.stdin.write(len(request).to_bytes(4, "big") + request)
                    await process.stdin.drain()
                size = int.from_bytes(await process.stdout.readexactly(4), "big")
                if not 0 < size <= MOST_BYTES:
                    raise PluginFailed(f"{self._of(what)} gave {size} bytes; at most {MOST_BYTES}")
                found = await process.stdout.readexactly(size)
                is_whole = True
        except TimeoutError:
            raise PluginFailed(
                f"{self._of(what)} did not answer within {limit_s:g} s; its process was ended"
            ) from None
        except (OSError, asyncio.IncompleteReadError):
            raise PluginFailed(f"{self._of(what)} gave no answer: its process has ended") from None
        finally:
            if not is_whole:
                await self._kill()
        if not found[0]:
            raise PluginFailed(f"{self._of(what)} failed: {found[1:].decode(errors='replace')}")
        return found[1:]

    def _of(self, what: str) -> str:
        return f"the package of the framework {self._name}: {what}"

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        _log.warning("plugin_process_ended", name=self._name, pid=process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


class _Reader(pickle.Unpickler):
    """Values of the language and nothing else: what a package says runs nothing here."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "builtins" and name in ("frozenset", "set"):
            return super().find_class(module, name)
        if module == "modelyard.training" or module.startswith("modelyard.training."):
            return super().find_class(module, name)
        if module.startswith("msgspec"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no value of the language")


def safely_loaded(content: bytes) -> Any:
    """Raises PluginFailed."""
    try:
        return _Reader(io.BytesIO(content)).load()
    except (pickle.UnpicklingError, AttributeError, EOFError, TypeError, ValueError) as error:
        raise PluginFailed(f"a package gave what cannot be read: {error}") from error
