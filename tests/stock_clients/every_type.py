"""The model that stock clients call, `every-type` (tests/conformance/component), and what it is given: numpy alone.

Its programs run in environments of their own, as `python PROGRAM HOST TOKEN_FILE`. Each prints the steps that went
well, as one JSON list; the first that does not ends it. Nothing of this project is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

MODEL = "every-type"
ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "BOOL": np.array([[True, False]]), "UINT8": np.array([[0, 255]], np.uint8),
    "UINT16": np.array([[1, 65535]], np.uint16), "UINT32": np.array([[2, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[3, 2**64 - 1]], np.uint64), "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-32768, 32767]], np.int16), "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64), "FP16": np.array([[0.5, -2.0]], np.float16),
    "FP32": np.array([[0.25, -1e30]], np.float32), "FP64": np.array([[1e300, -0.1]], np.float64),
    "BYTES": np.array([[b"\x00\xff", "é".encode()]], np.object_),
}  # fmt: skip


def arguments() -> tuple[str, str]:
    """The server, and who calls it: the value of `authorization`."""
    host, token_file = sys.argv[1:3]
    return host, f"Bearer {Path(token_file).read_text().strip()}"


def code_named(status: object) -> str:
    """A code of gRPC as both clients print it, without its class."""
    return str(status).removeprefix("StatusCode.")
