"""pickle and joblib: which names they would import, by their opcodes. Nothing is unpickled; the rest is the probe's."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickletools
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from modelyard.inspection import requirements
from modelyard.inspection.archives import member
from modelyard.inspection.detection import ComponentUnknown
from modelyard.models.facts import Inspection
from modelyard.models.pickled_names import COMPUTED, DANGEROUS, SUSPICIOUS

BYTES_MOST = 512 << 20
OPCODES_MOST = 20_000_000
NAMES_SHOWN = 12
NAMES_MOST = 20_000
"""No model imports so many different things."""

_TEXTS = (
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
    "UNICODE",
    "STRING",
    "SHORT_BINSTRING",
    "BINSTRING",
)
_PUTS = ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT")
_GETS = ("BINGET", "LONG_BINGET", "GET")


class TooManyNames(ComponentUnknown):
    """More than any model has."""


def look(folder: Path, found: Inspection) -> None:
    """Says what opening it would import. What goes in and comes out only a run tells."""
    names, is_whole = names_of(_opened(folder / found.file))
    judge(found, names)
    if names and "torch._utils._rebuild_tensor_v2" in names and all(_is_weight(name) for name in names):
        found.refusals.append(
            f"{found.file} holds weights and nothing that computes: save the model with torch.export or as TorchScript,"
            " or its weights as safetensors with a .py beside them whose class has load and predict"
        )
    modules = {name.partition(".")[0] for name in names} - {COMPUTED}
    also = ["joblib"] if found.file.endswith(".joblib") else []
    # What takes columns by their names gets a table.
    also += ["pandas"] if any(name.startswith("sklearn.compose.") for name in names) else []
    requirements.note_imports(modules, found, found.file, also)
    known = ", ".join(sorted({name.partition(".")[0] for name in names})[:NAMES_SHOWN]) or "nothing"
    how = "imports" if is_whole else "begins with imports of"
    found.warnings.append(
        f"a pickle runs code when it is opened: it {how} {known}; it is opened in a frame only, where the server"
        " trusts it"
    )


def judge(found: Inspection, names: set[str]) -> None:
    """Takes down which of the names no model needs."""
    bad = sorted(name for name in names if _is_of(name, DANGEROUS))
    if bad:
        found.refusals.append(
            f"opening {found.file} would call {', '.join(bad[:NAMES_SHOWN])}: keep the model as skops, ONNX or the"
            " library's own format"
        )
    odd = sorted(name for name in names if _is_of(name, SUSPICIOUS))
    if odd:
        found.warnings.append(
            f"opening {found.file} would call {', '.join(odd)}, by which other calls can be hidden"
        )


def _is_weight(name: str) -> bool:
    return name.startswith("collections.") or (name.startswith("torch.") and not name.startswith("torch.nn."))


def _is_of(name: str, known: frozenset[str]) -> bool:
    return name in known or name.partition(".")[0] in known


def names_of(data: bytes) -> tuple[set[str], bool]:
    """What a pickle would import, "module.name", and whether all of it could be read: joblib's arrays lie between.

    Raises TooManyNames.
    """
    names: set[str] = set()
    # What the last two things on the stack are: texts, or None for anything else.
    before: str | None = None
    last: str | None = None
    memo: dict[int, str | None] = {}
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(data))):
            kind = opcode.name
            if count > OPCODES_MOST:
                return names, False
            if kind in _TEXTS:
                before, last = last, str(argument)
            elif kind in _PUTS:
                memo[len(memo) if argument is None else int(str(argument))] = last
            elif kind in _GETS:
                before, last = last, memo.get(int(str(argument)))
            else:
                if kind in ("GLOBAL", "INST"):
                    names.add(str(argument).replace(" ", "."))
                elif kind == "STACK_GLOBAL":
                    names.add(COMPUTED if before is None or last is None else f"{before}.{last}")
                if opcode.stack_before:
                    before, last = None, None
                elif opcode.stack_after:
                    before, last = last, None
            if len(names) > NAMES_MOST:
                raise TooManyNames(f"opening it would import more than {NAMES_MOST} different things")
    except TooManyNames:
        raise
    except (ValueError, IndexError, KeyError, UnicodeError, OverflowError, MemoryError, EOFError):
        return names, False
    return names, True


def _opened(path: Path) -> bytes:
    """The pickle itself: joblib may have compressed it, PyTorch keeps it in an archive."""
    with path.open("rb") as opened:
        head = opened.read(8)
    if head.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                inner = [name for name in archive.namelist() if name.endswith("data.pkl")]
                if not inner:
                    raise ComponentUnknown(f"{path.name} is an archive without a pickle")
                return member(archive, inner[0], BYTES_MOST)
        except zipfile.BadZipFile as error:
            raise ComponentUnknown(f"{path.name} is cut off: {error}") from None
    with path.open("rb") as opened:
        return _inflated(opened, head, path.name)


def _inflated(opened: io.BufferedReader, head: bytes, name: str) -> bytes:
    ways: dict[bytes, Callable[[io.BufferedReader], bytes]] = {
        b"\x1f\x8b": lambda file: _read(lambda inner: gzip.GzipFile(fileobj=inner), file),
        b"BZh": lambda file: _read(bz2.BZ2File, file),
        b"\xfd7zXZ": lambda file: _read(lzma.LZMAFile, file),
        b"\x78": lambda file: zlib.decompressobj().decompress(file.read(), BYTES_MOST + 1),
    }
    way = next((way for start, way in ways.items() if head.startswith(start)), None)
    try:
        data = way(opened) if way is not None else opened.read(BYTES_MOST + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ComponentUnknown(f"{name} is cut off: {error}") from None
    if len(data) > BYTES_MOST:
        raise ComponentUnknown(
            f"{name} has more than {BYTES_MOST} bytes; a pickle so large is not looked into"
        )
    return data


def _read(unpacked: Callable[[io.BufferedReader], io.BufferedIOBase], file: io.BufferedReader) -> bytes:
    with unpacked(file) as inner:
        return inner.read(BYTES_MOST + 1)
