"""From the first word of a command to the file that is executed.

Owns the search and what a user reads when it finds nothing.
"""

import os
from collections.abc import Mapping
from pathlib import Path

_REMEMBERED_MOST = 256


class NotExecutable(ValueError):
    """There is nothing to execute under that name."""


class Executables:
    """The search, and like a shell's the memory of what it has found on a PATH."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], str] = {}

    def find(self, name: str, env: Mapping[str, str], directory: str) -> str:
        """The path to execute: as it is, below ``directory``, or found by the command's own PATH.

        Raises `NotExecutable`.
        """
        if not name:
            raise NotExecutable("the command is empty; give the program as its first word")
        if "/" in name:
            path = Path(directory, name)
            _check(name, path)
            return str(path)
        search = env.get("PATH") or os.defpath
        known = self._found.get((name, search))
        if known is not None and os.access(known, os.X_OK):
            return known
        found = _search(name, search, directory)
        if all(map(Path.is_absolute, map(Path, search.split(":")))):
            if len(self._found) >= _REMEMBERED_MOST:
                self._found.clear()
            self._found[name, search] = found
        return found


def _search(name: str, search: str, directory: str) -> str:
    for folder in search.split(":"):
        path = Path(directory, folder, name)
        if os.access(path, os.X_OK) and path.is_file():
            return str(path)
    hint = f"; write ./{name} for the one in the bundle" if Path(directory, name).exists() else ""
    raise NotExecutable(f"there is no program {name!r} on PATH ({search}){hint}")


def _check(name: str, path: Path) -> None:
    if not path.exists():
        raise NotExecutable(f"there is no file {name!r} in the working directory, nor at that path")
    if not path.is_file():
        raise NotExecutable(f"{name!r} is not a file")
    if not os.access(path, os.X_OK):
        raise NotExecutable(f"{name!r} is not executable; run it through its interpreter or set its x bit")
