"""What is asked of a model, derived from its metadata."""

from __future__ import annotations

import struct
from typing import Any

from modelyard.oip.v2 import inference_pb2 as pb

SIZES = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
    "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8,
}  # fmt: skip
_CODES = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i",
    "INT64": "q", "FP16": "e", "BF16": "H", "FP32": "f", "FP64": "d",
}  # fmt: skip
CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
DATATYPES = (*SIZES, "BYTES")


def values_of(datatype: str, count: int) -> list[Any]:
    """Small values of a type, not all alike. Of BF16 the bits of 1.0 and 2.0."""
    if datatype == "BYTES":
        return [b"text" if at % 2 == 0 else "\u00e9\u4e16".encode() for at in range(count)]
    if datatype == "BOOL":
        return [at % 2 == 0 for at in range(count)]
    if datatype == "BF16":
        return [0x3F80 if at % 2 == 0 else 0x4000 for at in range(count)]
    if datatype.startswith("FP"):
        return [0.5 + at % 3 for at in range(count)]
    return [1 + at % 3 for at in range(count)]


def pack(datatype: str, values: list[Any]) -> bytes:
    """As the protocol has them raw."""
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(one)) + one for one in values)
    return struct.pack(f"<{len(values)}{_CODES[datatype]}", *values)


def shape_of(spec: Any, rows: int) -> list[int]:
    """One that the model takes: the first free axis has `rows`, others that are free two."""
    free = [at for at, size in enumerate(spec.shape) if size < 0]
    return [
        size if size >= 0 else (rows if free and at == free[0] == 0 else 2)
        for at, size in enumerate(spec.shape)
    ]


def count_of(shape: Any) -> int:
    """Elements."""
    count = 1
    for size in shape:
        count *= size
    return count


def request_for(
    metadata: pb.ModelMetadataResponse, *, rows: int = 1, typed: bool = False, names: tuple[str, ...] = ()
) -> pb.ModelInferRequest:
    """A call that the model should answer; `names`: only these inputs."""
    request = pb.ModelInferRequest(model_name=metadata.name, id="conformance-1")
    for spec in metadata.inputs:
        if names and spec.name not in names:
            continue
        if typed and spec.datatype not in CONTENTS:
            continue
        shape = shape_of(spec, rows)
        values = values_of(spec.datatype, count_of(shape))
        tensor = request.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
        if typed:
            getattr(tensor.contents, CONTENTS[spec.datatype]).extend(values)
        else:
            request.raw_input_contents.append(pack(spec.datatype, values))
    return request


def raw_of(answer: pb.ModelInferResponse) -> dict[str, bytes]:
    """The outputs packed, however they came."""
    found = {}
    for at, output in enumerate(answer.outputs):
        if answer.raw_output_contents:
            found[output.name] = answer.raw_output_contents[at]
        else:
            found[output.name] = pack(
                output.datatype, list(getattr(output.contents, CONTENTS[output.datatype]))
            )
    return found
