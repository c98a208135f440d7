"""What computes an operator, as one digest.

Owns the answer to "would the same call give the same result?": two operators of equal digests are the same code.
Must not import the operator's libraries: their versions are read from what is installed.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def code_digest(function: Callable[..., Any], name: str, version: str, libraries: Sequence[str]) -> str:
    """sha256 of the source of the operator's module, its place in it, its version, the version of Python, and the
    versions of the libraries that it declares. What its module imports beside those is not part of it: an author who
    changes that changes the version."""
    module = getattr(function, "__module__", None) or ""
    digest = hashlib.sha256(_source(module))
    for part in (
        module,
        getattr(function, "__qualname__", name),
        version,
        f"python {sys.version_info.major}.{sys.version_info.minor}",
        *(f"{library} {_version(library)}" for library in libraries),
    ):
        digest.update(b"\0" + part.encode())
    return digest.hexdigest()


def _source(module: str) -> bytes:
    file = getattr(sys.modules.get(module), "__file__", None)
    # A module that is built in has none; it changes with Python.
    return Path(file).read_bytes() if file and Path(file).is_file() else b""


def _version(library: str) -> str:
    # Loading this takes 4 MB and 15 ms, which most workers never need.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(library)
    except PackageNotFoundError:
        return "absent"
