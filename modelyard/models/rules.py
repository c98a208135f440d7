"""What holds of a component where nobody says otherwise: codecs, requirements, memory, batches (S2.2, S2.3). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from modelyard.models.pictures import is_image
from modelyard.models.steps import requirements_of
from modelyard.models.values import Codec, Datatype, Format, Step, Tensor
from modelyard.serving.vocabulary import PILLOW

MEMORY_LEAST = 512 << 20
MEMORY_FACTOR = 3
"""What a component is given by its size, at least `MEMORY_LEAST`: its files lie in memory while they are read."""
LARGE_LIBRARIES = ("torch", "tensorflow", "tensorflow-cpu", "jax", "keras", "transformers")
LARGE_BYTES = 1536 << 20
"""What these hold by being loaded, for which `MEMORY_LEAST` has no room."""
BATCH_ROWS = 32
BATCH_DELAY_S = 0.0
_PIXELS = (Datatype.UINT8, Datatype.FP16, Datatype.FP32)

REQUIREMENTS: dict[Format, tuple[str, ...]] = {
    Format.ONNX: ("onnxruntime>=1.20",),
    Format.SKOPS: ("skops>=0.11", "scikit-learn"),
    Format.PICKLE: ("scikit-learn", "joblib"),
    Format.XGBOOST: ("xgboost>=2",),
    Format.LIGHTGBM: ("lightgbm>=4",),
    Format.TORCHSCRIPT: ("torch",),
    Format.TORCH_EXPORT: ("torch",),
    Format.SAFETENSORS: ("safetensors>=0.5",),
    Format.MLFLOW: ("mlflow-skinny>=2.20", "pandas"),
    Format.PYTHON: (),
}
"""What a frame needs to load a format, where the component does not say it itself."""


def memory_of(size_bytes: int, requirements: Sequence[str]) -> tuple[int, str]:
    """Of a frame with a component of this size and these packages, and why."""
    memory, why = max(MEMORY_LEAST, MEMORY_FACTOR * size_bytes), f"a component of {size_bytes} bytes"
    large = next((name for name in map(_project, requirements) if name in LARGE_LIBRARIES), "")
    return (memory + LARGE_BYTES, f"{why}, and what {large} itself holds") if large else (memory, why)


def _project(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def codec_of(datatype: Datatype, shape: Sequence[int], columns: Sequence[str]) -> tuple[Codec, str]:
    """What callers may send beside tensors, and why."""
    if columns:
        return Codec.TABLE, "its columns have names"
    if datatype is Datatype.BYTES:
        return Codec.TEXT, "its elements are texts"
    if datatype in _PIXELS and is_image(shape):
        return Codec.IMAGE, "height, width and channels, as images have them"
    return Codec.TENSOR, "numbers"


def more_requirements(
    tensors: Sequence[Tensor], steps: Sequence[Step], drawings: Sequence[Step]
) -> tuple[str, ...]:
    """What codecs, steps and drawings need in a frame."""
    pictures = PILLOW if any(one.codec is Codec.IMAGE for one in tensors) else ()
    return tuple(dict.fromkeys((*pictures, *requirements_of(steps, drawings))))


def why_required(format_: Format, more: tuple[str, ...]) -> str:
    if not REQUIREMENTS[format_]:
        return "its codecs and steps need it" if more else "none were named"
    return f"{format_.value} is loaded with it{', its codecs and steps need the rest' if more else ''}"
