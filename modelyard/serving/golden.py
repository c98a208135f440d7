"""What a version answered to its example when it was proved, and whether it still does (golden output).

The digest is a sha256 over each output's name, type, shape and elements, in the order of their names. Integers, flags
and texts count as they are. Numbers are rounded to a grid of the tensor's own scale: steps of 2^(e − BITS), where 2^e
is the first power of two that no magnitude of the tensor exceeds; so what differs between processors in the last places
is mostly rounded away. Mostly: a value that lies at the edge of a step may fall to either side. So the example keeps
the outputs too (at most `KEPT_MOST` elements of each, evenly taken), and where digests differ they are what decides:
numbers are the same within RELATIVE of their own magnitude plus ABSOLUTE of the tensor's. What differs by more is
another answer.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from modelyard.serving.calls import Answer, Call
from modelyard.serving.errors import ServingError
from modelyard.serving.tensors import Array, from_wire, narrowed, to_wire
from modelyard.serving.wire import Buffer

Example = Mapping[str, Any]
"""{inputs: [{name, datatype, shape, data: base64}], parameters?, outputs?}."""

BITS = {"FP16": 5, "BF16": 4, "FP32": 9, "FP64": 12}
RELATIVE = {"FP16": 2e-2, "BF16": 5e-2, "FP32": 1e-3, "FP64": 1e-4}
ABSOLUTE = {"FP16": 1e-2, "BF16": 3e-2, "FP32": 1e-4, "FP64": 1e-5}
KEPT_MOST = 4096
EXAMPLE_BYTES_MOST = 16 << 20


class GoldenDiffers(ServingError):
    """It answers its example otherwise than when it was proved."""

    code = "GOLDEN_DIFFERS"


def call_of(example: Mapping[str, Any]) -> Call:
    """The call that an example stands for: inputs with `data` in base64. Raises ValueError."""
    try:
        inputs = [dict(one) for one in example.get("inputs") or ()]
        buffers = [bytearray(base64.b64decode(str(one.pop("data")), validate=True)) for one in inputs]
        return Call("golden", inputs, buffers, parameters=dict(example.get("parameters") or {}))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the example is none: {type(error).__name__} {error}") from None


def example_of(call: Call, answer: Answer) -> dict[str, Any]:
    """What is kept of a call and its answer, as plain data."""
    return {
        "inputs": [
            {**meta, "data": base64.b64encode(buffer).decode()}
            for meta, buffer in zip(call.inputs, call.buffers, strict=True)
        ],
        "parameters": dict(call.parameters),
        "outputs": [_kept(meta, buffer) for meta, buffer in zip(answer.outputs, answer.buffers, strict=True)],
    }


def digest_of(answer: Answer) -> str:
    """By the rule above; `sha256:…`."""
    found = hashlib.sha256()
    pairs = sorted(zip(answer.outputs, answer.buffers, strict=True), key=lambda pair: str(pair[0]["name"]))
    for meta, buffer in pairs:
        found.update(f"{meta['name']}\0{meta['datatype']}\0{meta['shape']}\0".encode())
        if meta["datatype"] in BITS:
            found.update(_rounded(from_wire(meta, buffer), BITS[meta["datatype"]]))
        else:
            found.update(buffer)
    return f"sha256:{found.hexdigest()}"


def compare(example: Mapping[str, Any], digest: str, answer: Answer) -> str:
    """The digest of the answer, or the given one where the outputs kept with the example are the same within bounds.

    Raises GoldenDiffers, with the output that differs as field and by how much.
    """
    found = digest_of(answer)
    if not digest or found == digest:
        return found
    kept = {str(one["name"]): one for one in example.get("outputs") or ()}
    if not kept:
        raise GoldenDiffers(f"its example is answered with {found}, and was with {digest}", "outputs")
    given = {
        str(meta["name"]): (meta, buffer) for meta, buffer in zip(answer.outputs, answer.buffers, strict=True)
    }
    if set(given) != set(kept):
        raise GoldenDiffers(f"it has outputs {', '.join(given)}, and had {', '.join(kept)}", "outputs")
    for name, one in kept.items():
        _compare(name, one, *given[name])
    return digest


def _compare(name: str, kept: Mapping[str, Any], meta: Mapping[str, Any], buffer: Buffer) -> None:
    field, datatype = f"outputs[{name}]", str(meta["datatype"])
    for what in ("datatype", "shape"):
        if kept[what] != meta[what]:
            raise GoldenDiffers(f"{what} is {meta[what]}, and was {kept[what]}", field)
    raw = bytearray(base64.b64decode(str(kept["data"])))
    now = _sampled(from_wire(meta, buffer))
    was = from_wire({"name": name, "datatype": datatype, "shape": list(now.shape)}, raw)
    close = _close(now, was, datatype)
    if not close.all():
        place = int(np.argmin(close))
        raise GoldenDiffers(
            f"{int(np.count_nonzero(~close))} of {now.size} elements differ from when it was proved, for example"
            f" {now[place]!s:.80} instead of {was[place]!s:.80}",
            field,
        )


def same(now: Array, was: Array, datatype: str) -> bool:
    """Whether two arrays are the same answer, within the bounds above."""
    return now.shape == was.shape and bool(_close(now, was, datatype).all())


def _close(now: Array, was: Array, datatype: str) -> Array:
    if datatype not in RELATIVE:
        equal: Array = np.asarray(now == was)
        return equal
    a, b = now.astype(np.float64), was.astype(np.float64)
    scale = float(np.max(np.abs(b[np.isfinite(b)]), initial=0.0))
    found: Array = np.isclose(a, b, rtol=RELATIVE[datatype], atol=ABSOLUTE[datatype] * scale, equal_nan=True)
    return found


def _kept(meta: Mapping[str, Any], buffer: Buffer) -> dict[str, Any]:
    sample = _sampled(from_wire(meta, buffer))
    if meta["datatype"] == "BF16":
        raw: Buffer = narrowed(sample).tobytes()
    else:
        raw = to_wire(str(meta["name"]), sample)[1]
    return {
        "name": meta["name"],
        "datatype": meta["datatype"],
        "shape": meta["shape"],
        "data": base64.b64encode(raw).decode(),
    }


def _sampled(array: Array) -> Array:
    """At most `KEPT_MOST` elements, evenly taken; the same of every array of this size."""
    flat = array.reshape(-1)
    return flat[:: math.ceil(flat.size / KEPT_MOST)] if flat.size > KEPT_MOST else flat


def _rounded(array: Array, bits: int) -> bytes:
    wide = array.astype(np.float64)
    finite = np.isfinite(wide)
    most = float(np.max(np.abs(wide[finite]), initial=0.0))
    if not most:
        return np.where(finite, 0.0, wide).tobytes()
    step = 2.0 ** (math.frexp(most)[1] - bits)
    # No negative zero: it is the same number.
    rounded = np.where(finite, np.rint(np.where(finite, wide, 0.0) / step), wide) + 0.0
    return np.where(np.isnan(rounded), np.nan, rounded).tobytes()
