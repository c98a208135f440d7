"""MLflow's directories: the signature and the environment that MLmodel and the files beside it declare."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from modelyard.documents.problems import Findings, Kind
from modelyard.documents.yaml_text import read
from modelyard.inspection.detection import ComponentUnknown
from modelyard.models.facts import Inspection
from modelyard.models.values import Codec, Datatype

REQUIREMENTS_BYTES_MOST = 64 << 10
_WITHOUT = ("mlflow.onnx", "mlflow.xgboost", "mlflow.lightgbm", "mlflow.sklearn")
"""Flavours that are loaded as what they wrap."""
_MLFLOW = re.compile(r"mlflow(-skinny)?(\W|$)")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[A-Za-z0-9._, -]*\])?\s*([<>=!~][^;@:/\\]*)?(;.*)?")
"""A package by its name and version, from whatever index the node has."""
_PYTHON = re.compile(r"3\.[0-9]{1,2}(\.[0-9]{1,3})?")
REQUIREMENTS_MOST, LINES_SHOWN = 300, 3
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


def look(folder: Path, found: Inspection) -> None:
    """Fills in what is declared there."""
    findings = Findings(Kind.SOURCE)
    documents = read((folder / "MLmodel").read_bytes(), findings)
    whole = documents[0].plain() if documents else None
    if not isinstance(whole, dict):
        raise ComponentUnknown(
            f"MLmodel cannot be read: {'; '.join(map(str, findings.all()[:2])) or 'it is empty'}"
        )
    signature = whole.get("signature")
    if isinstance(signature, dict):
        for side in ("inputs", "outputs"):
            _signature(found, side, signature.get(side))
    flavors = whole.get("flavors")
    pyfunc = flavors.get("python_function") if isinstance(flavors, dict) else None
    if not isinstance(pyfunc, dict):
        found.refusals.append("MLmodel has no flavor python_function: log the model with one")
        return
    version = pyfunc.get("python_version")
    if isinstance(version, str) and _PYTHON.fullmatch(version):
        found.know("runtime.python", ".".join(version.split(".")[:2]), "python_version in MLmodel")
    requirements = folder / "requirements.txt"
    if (
        requirements.is_file()
        and not requirements.is_symlink()
        and requirements.stat().st_size <= REQUIREMENTS_BYTES_MOST
    ):
        lines = [line.strip() for line in requirements.read_text(errors="replace").splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        wanted = tuple(line for line in lines if _PLAIN.fullmatch(line))[:REQUIREMENTS_MOST]
        _tell_left_out(found, [line for line in lines if line not in wanted])
        why = "requirements.txt beside MLmodel"
        if pyfunc.get("loader_module") in _WITHOUT and pyfunc.get("predict_fn", "predict") == "predict":
            wanted = tuple(line for line in wanted if not _MLFLOW.match(line))
            why += ", without MLflow itself: what it wraps is loaded directly"
        found.know("runtime.requirements", wanted, why)


def _tell_left_out(found: Inspection, lines: list[str]) -> None:
    """Options, addresses and paths would be followed while its environment is made, where nothing is shut in."""
    if lines:
        shown = ", ".join(repr(line[:60]) for line in lines[:LINES_SHOWN])
        found.warnings.append(
            f"{len(lines)} lines of requirements.txt are not taken, as they are no packages by name: {shown};"
            " whoever means them declares runtime.requirements"
        )


def _signature(found: Inspection, side: str, text: Any) -> None:
    """As MLflow writes it: JSON in a text."""
    try:
        specs = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        specs = None
    if not isinstance(specs, list) or not all(isinstance(one, dict) for one in specs):
        return
    why = "signature in MLmodel"
    if specs and all(one.get("type") == "tensor" for one in specs):
        for place, one in enumerate(specs):
            spec = one.get("tensor-spec") or {}
            datatype = _TENSORS.get(str(spec.get("dtype", "")).split("<")[0])
            shape = tuple(size for size in spec.get("shape", []) if isinstance(size, int))
            name = str(
                one.get("name") or (f"{side.removesuffix('s')}_{place}" if len(specs) > 1 else side[:-1])
            )
            found.tensor(side, name, datatype.value if datatype else None, shape, why)
        return
    kinds = {_COLUMNS.get(str(one.get("type"))) for one in specs}
    if not specs or None in kinds:
        return
    names = tuple(str(one.get("name", place)) for place, one in enumerate(specs))
    [datatype] = kinds if len(kinds) == 1 else [Datatype.BYTES]
    assert datatype is not None
    name = side.removesuffix("s")
    # Columns of several types travel as one table.
    shape = (-1, len(specs)) if datatype is not Datatype.BYTES else (1,)
    found.tensor(side, name, datatype.value, shape, why)
    found.know(f"{side}[{name}].columns", names, why)
    if datatype is Datatype.BYTES:
        found.know(f"{side}[{name}].codec", Codec.TABLE, why)
