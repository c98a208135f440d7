"""What a model.yaml says, as values. Pure.

Datatypes and their names are those of the Open Inference Protocol, version 2.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

TENSORS_MOST = 256
"""Inputs, or outputs, of a model."""
AXES_MOST = 16
DIMENSION_MOST = 1 << 31


class Format(Enum):
    """How a component's files are kept."""

    ONNX = "onnx"
    SKOPS = "skops"
    PICKLE = "pickle"
    """Of scikit-learn or anything else, by pickle or joblib: opened in a frame only, where the server allows it."""
    XGBOOST = "xgboost"
    LIGHTGBM = "lightgbm"
    TORCHSCRIPT = "torchscript"
    TORCH_EXPORT = "torch-export"
    SAFETENSORS = "safetensors"
    """Weights, with Python code beside them that knows what to do."""
    MLFLOW = "mlflow"
    PYTHON = "python"
    """A class with `predict`."""


class Provenance(Enum):
    """How a field came to its value."""

    DECLARED = "declared"
    INSPECTED = "inspected"
    PROBED = "probed"
    DEFAULT = "default"


class Datatype(Enum):
    """Of the elements of a tensor."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BF16 = "BF16"
    BYTES = "BYTES"


class Codec(Enum):
    """What callers give or get beside plain tensors."""

    TENSOR = "tensor"
    JSON = "json"
    TEXT = "text"
    IMAGE = "image"
    TABLE = "table"
    FILE = "file"


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """An input or an output. A size of −1 is any."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    codec: Codec = Codec.TENSOR
    columns: tuple[str, ...] = ()
    """Names along its last axis."""
    labels: tuple[str, ...] = ()
    """What its numbers stand for, from 0."""
    is_optional: bool = False


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Before or after the computation: an operation by name, or the component's own code."""

    op: str = ""
    code: str = ""
    """ "module:function" of the component."""
    options: tuple[tuple[str, Any], ...] = ()


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """Where it is loaded."""

    kind: str = "environment"
    """"environment" or "container"."""
    python: str = ""
    """"3.11"; empty: the agent's."""
    requirements: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    """What the machine, or the image, has to have beside Python: names of Debian's packages."""
    image: str = ""
    cpu: float = 1.0
    memory_bytes: int = 0
    gpu: float = 0.0
    has_network: bool = False
    threads: int = 1


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """How calls are taken."""

    min_instances: int = 0
    max_instances: int = 1
    idle_unload_s: float = 300.0
    max_batch: int = 0
    """Rows that are computed together; 0: its first axis is no batch."""
    batch_delay_ms: float = 0.0
    queue_most: int = 256
    deadline_s: float = 10.0
    is_idempotent: bool = True


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A whole model.yaml."""

    name: str
    format: Format
    file: str = ""
    """Below the component; what is loaded first."""
    inputs: tuple[Tensor, ...] = ()
    """What callers give: to the first step before the computation, where there is one."""
    outputs: tuple[Tensor, ...] = ()
    """What callers get: from the last step after it."""
    component_inputs: tuple[Tensor, ...] = ()
    """What the component itself takes, where there are steps before it; empty: `inputs`, or not known."""
    component_outputs: tuple[Tensor, ...] = ()
    """What it gives, likewise."""
    pre: tuple[Step, ...] = ()
    post: tuple[Step, ...] = ()
    visualise: tuple[Step, ...] = ()
    runtime: Runtime = Runtime()
    serving: Serving = Serving()
