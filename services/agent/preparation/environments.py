"""Python environments: requirements → a uv venv, built once per machine and shared.

The key is the hash of the requirements' text and the Python version; what uv resolved stands in the
environment's lock file. Where uv cannot have them, on a machine that reaches no index for example, and this
interpreter has all that is required, they are copied from there (ADR 0028).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from pathlib import Path

from services.chassis.logs import get_logger

_READY, _COMPILED, _COPIED = ".ready", ".compiled", ".copied"
_OWN = ".own"
"""Copies of this interpreter's packages, which environments link to; made anew after a restart."""
_MESSAGE_BYTES = 3_000
BUILD_TIMEOUT_S = 1_800.0
_log = get_logger("agent.environments")


class EnvironmentFailed(Exception):
    """The environment cannot be built; the message is uv's own."""

    next_step = "correct the requirements, or see whether this node reaches the package index"


class Environments:
    """The environments of this machine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._locks: dict[str, asyncio.Lock] = {}

    def path(self, key: str) -> Path:
        """Where the environment is once it was built."""
        return self._directory / key

    def python(self, key: str) -> Path:
        """Its interpreter."""
        return self.path(key) / "bin" / "python"

    async def build(
        self, key: str, requirements: str, python: str = "", *, is_compiled: bool = False
    ) -> None:
        """Makes the environment exist. Raises EnvironmentFailed. Idempotent; one build at a time per key."""
        path = self.path(key)
        async with self._locks.setdefault(key, asyncio.Lock()):
            await self._provide(path, requirements, python)
            if is_compiled and not (path / _COMPILED).exists():
                await self._compile(path)
        self._locks.pop(key, None)

    async def _provide(self, path: Path, requirements: str, python: str) -> None:
        if (path / _READY).exists():
            (path / _READY).touch()
            return
        try:
            await self._build(path, requirements, python)
        except BaseException:  # cancelled, too: half an environment is none
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
            raise

    async def _build(self, path: Path, requirements: str, version: str) -> None:
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        await _uv("venv", "--quiet", "--python", _interpreter(version), str(path))
        (path / "requirements.txt").write_text(requirements)
        try:
            await self._install(path)
        except EnvironmentFailed as error:
            if _interpreter(version) != sys.executable:
                raise
            await self._copy(path, requirements, error)
        (path / _READY).touch()

    async def _install(self, path: Path) -> None:
        wanted, lock = str(path / "requirements.txt"), str(path / "requirements.lock")
        python = ("--python", str(path / "bin" / "python"))
        await _uv("pip", "compile", "--quiet", *python, wanted, "--output-file", lock)
        await _uv("pip", "sync", "--quiet", "--allow-empty-requirements", *python, lock)

    async def _copy(self, path: Path, requirements: str, error: EnvironmentFailed) -> None:
        """Of what this interpreter has. Raises the error: it lacks something."""
        from services.agent.preparation import installed

        try:
            found = await asyncio.to_thread(installed.satisfying, requirements)
        except installed.NotInstalled as lack:
            raise EnvironmentFailed(f"{error}\nand not of this node's own packages: {lack}") from error
        is_compiled = await asyncio.to_thread(installed.put, found, path, self._directory / _OWN)
        (path / "requirements.lock").write_text(installed.lock_of(found))
        for mark in (_COPIED, _COMPILED) if is_compiled else (_COPIED,):
            (path / mark).touch()
        _log.info("environment_of_own_packages", environment=path.name, packages=len(found))

    async def _compile(self, path: Path) -> None:
        """Of what stands in the lock; whoever imports from there meanwhile reads the source."""
        python = str(path / "bin" / "python")
        if (path / _COPIED).exists():
            # What a package ships for other versions does not compile, and is not imported.
            await _run(python, "-m", "compileall", "-qq", "-j", "2", str(path / "lib"), is_lenient=True)
        else:
            lock, allow = str(path / "requirements.lock"), "--allow-empty-requirements"
            await _uv("pip", "sync", "--quiet", "--compile-bytecode", allow, "--python", python, lock)
        (path / _COMPILED).touch()


def _interpreter(version: str) -> str:
    own = ".".join(map(str, sys.version_info[:3]))
    return sys.executable if not version or f"{own}.".startswith(f"{version}.") else version


async def _uv(*arguments: str) -> None:
    """Raises EnvironmentFailed with what uv said."""
    from uv import find_uv_bin

    await _run(find_uv_bin(), *arguments, "--no-progress", "--color=never")


async def _run(program: str, *arguments: str, is_lenient: bool = False) -> None:
    """Raises EnvironmentFailed with what it said; `is_lenient`: only where it takes too long."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("YARD_", "VIRTUAL_ENV"))}
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(BUILD_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        raise EnvironmentFailed(f"{Path(program).name} took longer than {BUILD_TIMEOUT_S:.0f} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode and not is_lenient:
        said = output.decode(errors="replace").strip()[-_MESSAGE_BYTES:]
        raise EnvironmentFailed(f"the requirements cannot be installed: {said}")
