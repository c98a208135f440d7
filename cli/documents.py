"""Documents that a command is given: a file, or standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from cli.errors import UsageError


def read_document(path: str) -> str:
    """The text of a file, or of standard input for "-". Raises UsageError."""
    if path == "-":
        return sys.stdin.read()
    try:
        return Path(path).read_text()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text") from error
