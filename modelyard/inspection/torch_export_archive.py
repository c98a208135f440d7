"""torch.export: names, types and shapes of what its graph takes and gives, from the JSON inside the archive.

Opening one unpickles what else is in it: which names that would import is told as for any pickle.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from modelyard.inspection.archives import BAD_MEMBER, member
from modelyard.inspection.detection import ComponentUnknown
from modelyard.inspection.pickles import NAMES_SHOWN, judge, names_of
from modelyard.models.facts import Inspection
from modelyard.models.values import Datatype

JSON_BYTES_MOST = 256 << 20
MEMBERS_MOST = 20_000
PICKLE_BYTES_MOST = 128 << 20
_HEADS = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""What torch.save, and pickle itself, begin with."""
_TYPES = {
    1: Datatype.UINT8, 2: Datatype.INT8, 3: Datatype.INT16, 4: Datatype.INT32, 5: Datatype.INT64, 6: Datatype.FP16,
    7: Datatype.FP32, 8: Datatype.FP64, 12: Datatype.BOOL, 13: Datatype.BF16,
}  # fmt: skip
"""By the number of a scalar type in the export's schema."""


def look(folder: Path, found: Inspection) -> None:
    """Fills in what the graph says."""
    try:
        with zipfile.ZipFile(folder / found.file) as archive:
            program = msgspec.json.decode(member(archive, _program(archive), JSON_BYTES_MOST))
            _warn(archive, found)
        graph, signature = program["graph_module"]["graph"], program["graph_module"]["signature"]
        _note(found, "inputs", _arguments(signature["input_specs"], "user_input"), graph)
        _note(found, "outputs", _arguments(signature["output_specs"], "user_output"), graph)
    except (zipfile.BadZipFile, msgspec.MsgspecError, KeyError, TypeError, RecursionError) as error:
        raise ComponentUnknown(f"{found.file} is no program of torch.export: {error}") from None


def _warn(archive: zipfile.ZipFile, found: Inspection) -> None:
    names = set[str]().union(*(names_of(data)[0] for data in _pickles(archive)))
    judge(found, names)
    known = ", ".join(sorted({name.partition(".")[0] for name in names})[:NAMES_SHOWN]) or "nothing"
    compiled = ", compiled code" if any("/aotinductor/" in name for name in archive.namelist()) else ""
    found.warnings.append(
        f"an archive of torch.export runs what is in it when it is opened: pickles that import {known}, texts that"
        f" PyTorch evaluates{compiled}; it is opened in a frame only, where the server trusts it"
    )


def _pickles(archive: zipfile.ZipFile) -> Iterator[bytes]:
    """Members that are, or hold, a pickle. Weights as they are may look like one: then no names are found in them."""
    members = archive.infolist()
    if len(members) > MEMBERS_MOST:
        raise ComponentUnknown(f"the archive has more than {MEMBERS_MOST} members")
    left = PICKLE_BYTES_MOST
    for one in members:
        if not _head(archive, one).startswith(_HEADS):
            continue
        data = member(archive, one.filename, PICKLE_BYTES_MOST)
        left -= len(data)
        if left < 0:
            raise ComponentUnknown(f"the pickles in the archive have more than {PICKLE_BYTES_MOST} bytes")
        yield _inner(data) if data.startswith(b"PK") else data


def _head(archive: zipfile.ZipFile, one: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(one) as opened:
            return opened.read(2)
    except BAD_MEMBER as error:
        raise ComponentUnknown(f"the archive has no readable {one.filename[:80]}: {error}") from None


def _inner(data: bytes) -> bytes:
    """What torch.save has pickled."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            name = next((name for name in archive.namelist() if name.endswith("data.pkl")), "")
            return member(archive, name, PICKLE_BYTES_MOST) if name else b""
    except zipfile.BadZipFile:
        return b""


def _program(archive: zipfile.ZipFile) -> str:
    for name in archive.namelist():
        if name.endswith(("serialized_exported_program.json", "models/model.json")):
            return name
    raise ComponentUnknown("the archive has no exported program")


def _arguments(specs: list[Any], kind: str) -> list[str]:
    return [
        spec[kind]["arg"]["as_tensor"]["name"]
        for spec in specs
        if kind in spec and "as_tensor" in spec[kind]["arg"]
    ]


def _note(found: Inspection, side: str, names: list[str], graph: Any) -> None:
    for name in names:
        value = graph["tensor_values"][name]
        datatype = _TYPES.get(value["dtype"])
        if datatype is None:
            found.refusals.append(
                f"{side}[{name}] has a type that the protocol for inference has not: cast it"
            )
            continue
        shape = tuple(int(size["as_int"]) if "as_int" in size else -1 for size in value["sizes"])
        found.tensor(side, name, datatype.value, shape, f"graph in {found.file}")
