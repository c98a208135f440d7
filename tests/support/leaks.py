"""What a test may not leave behind: asyncio tasks, threads, child processes, open files.

Sockets are not looked at: gRPC closes them on a thread of its own, some time later.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_SETTLE_S = 2.0


@dataclass(frozen=True)
class Held:
    """What this process holds at one moment."""

    files: frozenset[str]
    children: frozenset[str]
    threads: frozenset[threading.Thread]


def held() -> Held:
    """Open regular files, child processes and threads that would keep the process alive."""
    return Held(_open_files(), _children(), _threads())


def leaked_since(before: Held) -> list[str]:
    """What is held now and was not before, in words; waits a little for what is just ending."""
    deadline = time.monotonic() + _SETTLE_S
    found = _new(before)
    if found:
        gc.collect()  # a connection or file in a cycle is not a leak
        found = _new(before)
    while found and time.monotonic() < deadline:
        time.sleep(0.02)
        found = _new(before)
    return found


async def leaked_tasks() -> list[str]:
    """The tasks of the running loop that do not end by themselves within two seconds."""
    own = asyncio.current_task()
    pending = {task for task in asyncio.all_tasks() if task is not own}
    if pending:
        _, pending = await asyncio.wait(pending, timeout=_SETTLE_S)
    return [f"task {task.get_name()}: {task.get_coro()!r}" for task in pending]


def _new(before: Held) -> list[str]:
    now = held()
    return [
        *(f"file {name}" for name in sorted(now.files - before.files)),
        *(f"process {name}" for name in sorted(now.children - before.children)),
        *(f"thread {thread.name}" for thread in now.threads - before.threads),
    ]


def _open_files() -> frozenset[str]:
    """Number and path of descriptors that are files of a directory (not libraries' own, not devices)."""
    names = set()
    for entry in Path("/proc/self/fd").iterdir():
        target = _or_empty(lambda entry=entry: str(entry.readlink()))
        if target.startswith("/") and not target.startswith(("/dev/", "/proc/", "/sys/")):
            names.add(f"{entry.name} -> {target}")
    return frozenset(names)


def _children() -> frozenset[str]:
    names = set()
    for thread in Path("/proc/self/task").iterdir():
        for pid in _or_empty((thread / "children").read_text).split():
            command = _or_empty(Path(f"/proc/{pid}/cmdline").read_text).replace("\0", " ").strip()
            names.add(f"{pid} ({command})" if command else f"{pid} (ended, not waited for)")
    return frozenset(name for name in names if str(os.getpid()) != name)


def _threads() -> frozenset[threading.Thread]:
    """Threads that would keep the process alive; the loop's own executor is ended with the loop."""
    return frozenset(
        thread
        for thread in threading.enumerate()
        if not thread.daemon and not thread.name.startswith("asyncio_")
    )


def _or_empty(read: Callable[[], str]) -> str:
    """What `read` gives, or nothing if it has gone meanwhile."""
    try:
        return read()
    except OSError:
        return ""
