"""Files of a task's directory that another user is to read and write from within a container.

Owns what is handed over: what others have as well, large files of a cache, stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def open_up(directory: Path, user: int, group: int, names: Iterable[str]) -> None:
    """Lets others into the directory; below it these, where they are, belong to the user with all that is in them. For
    root only. Raises OSError."""
    directory.chmod(0o755)
    for name in names:
        path = directory / name
        if path.is_dir():
            _give(path, user, group)
        elif path.exists():
            os.chown(path, user, group)


def _give(directory: Path, user: int, group: int) -> None:
    os.chown(directory, user, group)
    for root, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = Path(root, name)
            info = path.lstat()
            if path.is_dir() or info.st_nlink == 1:
                os.chown(path, user, group, follow_symlinks=False)
