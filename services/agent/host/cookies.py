"""Processes of a seat, wherever they have gone: by a word in the environment that they were started with.

Owns the word and the search. It is the last resort: what is below a living shim or launcher is found by its parents.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from collections.abc import Collection, Iterator
from pathlib import Path

VARIABLE = "YARD_SEAT"
_ROUNDS = 5


def cookie(root: Path, key: str) -> str:
    """Of one attempt, by its task's key: no other agent of this machine gives the same."""
    return f"{_prefix(root)}{key}"


def _prefix(root: Path) -> str:
    return f"{hashlib.sha256(str(root).encode()).hexdigest()[:12]}:"


def end_all(word: str) -> int:
    """Kills every process that bears the cookie, and what those start meanwhile; how many there were."""
    ended: set[int] = set()
    for _ in range(_ROUNDS):
        found = [pid for pid, borne in _bearers() if borne == word and pid not in ended]
        if not found:
            break
        ended.update(found)
        _kill(found)
    return len(ended)


def end_strays(root: Path, alive: Collection[str]) -> int:
    """Kills the processes of this agent's seats but those of these keys: nobody keeps them any more."""
    prefix, kept = _prefix(root), {cookie(root, key) for key in alive}
    found = [pid for pid, borne in _bearers() if borne.startswith(prefix) and borne not in kept]
    _kill(found)
    return len(found)


def _kill(pids: Collection[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _bearers() -> Iterator[tuple[int, str]]:
    sign = f"{VARIABLE}=".encode()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            environ = Path(f"/proc/{entry.name}/environ").read_bytes()
        except OSError:
            continue
        for word in environ.split(b"\0"):
            if word.startswith(sign):
                yield int(entry.name), word[len(sign) :].decode(errors="replace")
                break
