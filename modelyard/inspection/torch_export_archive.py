"""torch.export: names, types and shapes of what its graph takes and gives, from the JSON inside the archive."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import msgspec

from modelyard.inspection.archives import member
from modelyard.inspection.detection import ComponentUnknown
from modelyard.models.facts import Inspection
from modelyard.models.values import Datatype

JSON_BYTES_MOST = 256 << 20
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
        graph, signature = program["graph_module"]["graph"], program["graph_module"]["signature"]
        _note(found, "inputs", _arguments(signature["input_specs"], "user_input"), graph)
        _note(found, "outputs", _arguments(signature["output_specs"], "user_output"), graph)
    except (zipfile.BadZipFile, msgspec.MsgspecError, KeyError, TypeError, RecursionError) as error:
        raise ComponentUnknown(f"{found.file} is no program of torch.export: {error}") from None


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
