"""From the first word of a command to the file that is executed.

Owns the search and what a user reads when it finds nothing.
"""

import os
from collections.abc import Mapping
from pathlib import Path


class NotExecutable(ValueError):
    """There is nothing to execute under that name."""


def find_executable(name: str, env: Mapping[str, str], directory: str) -> str:
    """The path to execute: as it is, below ``directory``, or found by the command's own PATH."""
    if not name:
        raise NotExecutable("the command is empty; give the program as its first word")
    if "/" in name:
        path = Path(directory, name)
        _check(name, path)
        return str(path)
    search = env.get("PATH") or os.defpath
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
