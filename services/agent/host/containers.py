"""Containers of seats and commands that nobody keeps any more: found by their label, and removed.

Owns the search. A container ends with the process beside it; this is the last resort, where the engine was away
by then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from modelyard.enclosure.container import LABEL
from modelyard.enclosure.engine import Engine, EngineFailed, socket_path
from services.agent.host.cookies import cookie
from services.chassis.logs import get_logger

_log = get_logger("agent.containers")


def end_all(word: str) -> int:
    """Removes those of one seat, by its cookie; how many there were. Blocks."""
    return _remove(lambda whose: whose == word)


def end_strays(root: Path, alive: Callable[[], Iterable[str]]) -> int:
    """Removes those of this agent's seats but of these keys; how many there were. Blocks. ``alive`` is asked once the
    containers are known: one that begins meanwhile is none of them."""
    return _remove(lambda whose: whose.startswith(cookie(root, "")) and not _is_of(whose, root, alive()))


def _is_of(whose: str, root: Path, keys: Iterable[str]) -> bool:
    return any(whose == cookie(root, key) for key in keys)


def _remove(is_unwanted: Callable[[str], bool]) -> int:
    try:
        path = socket_path(os.environ)
    except EngineFailed:
        # No engine, no containers.
        return 0
    count, engine = 0, Engine(path)
    try:
        for container, whose in engine.labelled(LABEL).items():
            if is_unwanted(whose):
                engine.remove(container)
                count += 1
    except EngineFailed as error:
        _log.warning("containers_not_swept", reason=str(error))
    return count
