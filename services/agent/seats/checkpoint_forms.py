"""Whether the bytes of a checkpoint's file are whole, as far as its form says so. Reads no more than it must; blocks.

Nothing is executed or loaded: a zip (torch, numpy, keras) has its directory at its end, a safetensors file says in its
head how long it is, a pickle ends where its program ends.
"""

from __future__ import annotations

import json
import pickletools
import struct
import zipfile
from enum import Enum
from pathlib import Path

PICKLE_MOST = 64 << 20
"""Larger pickles are not walked through."""
HEADER_MOST = 100 << 20
_ZIPS = frozenset({".zip", ".npz", ".keras"})
_PICKLES = frozenset({".pkl", ".pickle"})


class Form(Enum):
    """What is known of a file."""

    WHOLE = "whole"
    """Its form proves that nothing is missing."""
    UNKNOWN = "unknown"
    """Nothing speaks against it."""


class Torn(Exception):
    """It is not whole; the text says why."""


def form_of(path: Path) -> Form:
    """Raises Torn, OSError."""
    size = path.stat().st_size
    if not size:
        raise Torn("it is empty")
    with path.open("rb") as file:
        head = file.read(8)
    if path.suffix == ".safetensors":
        return _safetensors(path, size)
    if head.startswith(b"PK\x03\x04") or path.suffix in _ZIPS:
        return _zip(path)
    if path.suffix in _PICKLES:
        return _pickle(path, size)
    return Form.UNKNOWN


def _zip(path: Path) -> Form:
    try:
        with zipfile.ZipFile(path) as archive:
            archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise Torn(f"its zip directory is not there: {error}") from error
    return Form.WHOLE


def _safetensors(path: Path, size: int) -> Form:
    with path.open("rb") as file:
        head = file.read(8)
        (length,) = struct.unpack("<Q", head) if len(head) == 8 else (size,)
        if length > min(HEADER_MOST, size - 8):
            raise Torn("its head is cut off")
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            wanted = 8 + length + max(map(int, ends), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise Torn("its head is no description of tensors") from error
    if size != wanted:
        raise Torn(f"it has {size} bytes, and its head speaks of {wanted}")
    return Form.WHOLE


def _pickle(path: Path, size: int) -> Form:
    with path.open("rb") as file:
        file.seek(-1, 2)
        if file.read() != b".":
            raise Torn("its end is missing")
        if size > PICKLE_MOST:
            return Form.UNKNOWN
        file.seek(0)
        try:
            for _ in pickletools.genops(file):
                pass
        except (ValueError, IndexError, OverflowError) as error:
            raise Torn(f"it is no whole pickle: {error}") from error
        return Form.WHOLE if file.tell() == size else Form.UNKNOWN
