"""How nodes, ports and projects may be called. Pure."""

import re

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile("[0-9a-f]{64}")
_PORT = re.compile(r"[^\x00-\x1f/\\]{1,100}")


def is_id(text: str) -> bool:
    """Letters, digits, "_", "-" and ".", at most 100, no path: it becomes a part of names of files."""
    return _ID.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """A sha256, as artefacts are known by."""
    return _DIGEST.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """What a task can have as the name of an input or a variable."""
    return _NAME.fullmatch(text) is not None


def is_port(text: str) -> bool:
    """1 to 100 characters without control characters and slashes; not "." or ".."."""
    return _PORT.fullmatch(text) is not None and text not in (".", "..")
