"""The signature in MLmodel: what MLflow itself checks calls by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from modelyard.inspection.detection import ComponentUnknown
from modelyard.models.facts import Inspection
from modelyard.models.values import Codec, Datatype

_WHY = "signature in MLmodel"
_COLUMNS = {
    "double": Datatype.FP64, "float": Datatype.FP32, "long": Datatype.INT64, "integer": Datatype.INT32,
    "boolean": Datatype.BOOL, "string": Datatype.BYTES, "binary": Datatype.BYTES, "datetime": Datatype.BYTES,
}  # fmt: skip
_TENSORS = {
    "float16": Datatype.FP16, "float32": Datatype.FP32, "float64": Datatype.FP64, "int8": Datatype.INT8,
    "int16": Datatype.INT16, "int32": Datatype.INT32, "int64": Datatype.INT64, "uint8": Datatype.UINT8,
    "uint16": Datatype.UINT16, "uint32": Datatype.UINT32, "uint64": Datatype.UINT64, "bool": Datatype.BOOL,
    "str": Datatype.BYTES, "object": Datatype.BYTES,
}  # fmt: skip

Specs = Sequence[dict[str, Any]]


def note(signature: Any, found: Inspection) -> None:
    """Takes down both sides; what is no signature says nothing."""
    if not isinstance(signature, dict):
        return
    for side in ("inputs", "outputs"):
        specs = _specs(signature.get(side))
        if not specs:
            continue
        if all(one.get("type") == "tensor" for one in specs):
            _tensors(found, side, specs)
        else:
            _columns(found, side, specs)
    names = [str(one.get("name")) for one in _specs(signature.get("params"))]
    if names:
        found.warnings.append(f"its params keep their defaults: {', '.join(names[:12])}")


def _specs(text: Any) -> Specs:
    """As MLflow writes it: JSON in a text."""
    try:
        specs = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return []
    return specs if isinstance(specs, list) and all(isinstance(one, dict) for one in specs) else []


def _tensors(found: Inspection, side: str, specs: Specs) -> None:
    for place, one in enumerate(specs):
        spec = one.get("tensor-spec")
        sizes = spec.get("shape") if isinstance(spec, dict) else ""
        if not isinstance(spec, dict) or not isinstance(sizes, (list, type(None))):
            raise ComponentUnknown(f"the signature in MLmodel says no shape of its {side}: {str(spec)[:80]}")
        datatype = _TENSORS.get(str(spec.get("dtype", "")).split("<")[0])
        shape = tuple(size for size in sizes if isinstance(size, int)) if sizes is not None else None
        name = str(one.get("name") or (f"{side[:-1]}_{place}" if len(specs) > 1 else side[:-1]))
        found.tensor(side, name, datatype.value if datatype else None, shape, _WHY)


def _columns(found: Inspection, side: str, specs: Specs) -> None:
    """Columns of one type are a matrix, of several types one table; what has no name is a list."""
    name, kinds = side[:-1], {_COLUMNS.get(str(one.get("type"))) for one in specs}
    columns = tuple(str(one.get("name", place)) for place, one in enumerate(specs))
    if None in kinds:
        # Arrays, objects, maps: what JSON says.
        found.tensor(side, name, Datatype.BYTES.value, (1,), _WHY)
        found.know(f"{side}[{name}].codec", Codec.JSON, _WHY)
        return
    datatype = next(iter(kinds)) if len(kinds) == 1 else Datatype.BYTES
    assert datatype is not None
    if len(specs) == 1 and (side == "outputs" or not specs[0].get("name")):
        # Of one column models give a list or a table, as they like; texts without a name are a list of texts.
        is_text = datatype is Datatype.BYTES
        found.tensor(side, name, datatype.value, (-1,) if is_text else None, _WHY)
        if is_text:
            found.know(f"{side}[{name}].codec", Codec.TEXT, _WHY)
        return
    is_table = datatype is Datatype.BYTES
    found.tensor(side, name, datatype.value, (1,) if is_table else (-1, len(specs)), _WHY)
    found.know(f"{side}[{name}].columns", columns, _WHY)
    if is_table:
        found.know(f"{side}[{name}].codec", Codec.TABLE, _WHY)
