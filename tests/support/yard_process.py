"""The command line as a user runs it: a process, its two streams, its exit code."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


def environment(state: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Nothing of the developer's settings, and a state directory of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("YARD_", "XDG_"))}
    kept |= {"YARD_STATE": str(state), "XDG_CONFIG_HOME": str(state / "config"), "COLUMNS": "120"}
    return {**kept, "PYTHONPATH": str(ROOT), **(extra or {})}


async def start(
    *words: str, state: Path, extra: Mapping[str, str] | None = None, cwd: Path | None = None
) -> asyncio.subprocess.Process:
    """Starts `yard words…`."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(state, extra),
        cwd=cwd,
    )


async def finish(process: asyncio.subprocess.Process, stdin: str = "", timeout_s: float = 60.0) -> Result:
    """Waits for the end."""
    async with asyncio.timeout(timeout_s):
        stdout, stderr = await process.communicate(stdin.encode())
    return Result(process.returncode or 0, stdout.decode(), stderr.decode())


async def run(
    *words: str,
    state: Path,
    extra: Mapping[str, str] | None = None,
    stdin: str = "",
    cwd: Path | None = None,
    timeout_s: float = 60.0,
) -> Result:
    """Runs `yard words…` to its end."""
    process = await start(*words, state=state, extra=extra, cwd=cwd)
    return await finish(process, stdin, timeout_s)
