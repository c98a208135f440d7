"""Private Unix sockets.

Owns how one is made: 0600 in a directory 0700 of the same user, in place of a stale one.
"""

import os
import socket
import stat
from pathlib import Path


class InsecureDirectory(PermissionError):
    """The directory of a socket belongs to, or is open to, somebody else."""


def listen(path: str) -> socket.socket:
    """A listening socket at ``path``; what stood there before is replaced.

    Raises `InsecureDirectory`, or OSError where the path is too long (107 bytes) or cannot be written.
    """
    directory = Path(path).parent
    directory.mkdir(parents=True, mode=0o700, exist_ok=True)
    info = directory.stat()
    mode = stat.S_IMODE(info.st_mode)
    if info.st_uid != os.getuid() or mode & 0o077:
        raise InsecureDirectory(f"{directory} must belong to this user with mode 0700; it has {mode:04o}")
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(previous)
    listener.listen(16)
    return listener
