"""A frame as a task of kind seat: files, environment, room. What it says when it has ended (the edge)."""

from __future__ import annotations

import re

from modelyard.models import Format
from modelyard.v1 import task_pb2 as pb
from services.models.frames.model import Shape
from services.models.frames.state import Frame
from services.models.seams import Served

PORT = "serve"
ROLE = "frame"
COMPONENT = "component"
"""Where the component's files lie, below the seat's directory."""
EXAMPLE = "example"
"""Where the example lies to which the golden output belongs."""
_IMPORTS = {
    Format.ONNX: ("numpy", "onnxruntime"),
    Format.SKOPS: ("numpy", "skops.io", "sklearn"),
    Format.PICKLE: ("numpy", "sklearn"),
    Format.XGBOOST: ("numpy", "xgboost"),
    Format.LIGHTGBM: ("numpy", "lightgbm"),
    Format.TORCHSCRIPT: ("numpy", "torch"),
    Format.TORCH_EXPORT: ("numpy", "torch"),
    Format.SAFETENSORS: ("numpy", "safetensors.numpy"),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def imports_of(served: Served) -> tuple[str, ...]:
    """What a warm parent has imported when the frame is forked from it; one that is absent only costs the speed."""
    return _IMPORTS.get(served.config.format, ("numpy",))


def requirements_of(served: Served) -> str:
    """What it needs, and numpy; the same needs give the same text, so that one environment serves all of them."""
    wanted = list(dict.fromkeys(one.strip() for one in served.config.runtime.requirements if one.strip()))
    names = {found[0].lower() for one in wanted if (found := _NAME.match(one)) is not None}
    if "numpy" not in names:
        wanted.append("numpy")
    return "\n".join(sorted(wanted)) + "\n"


def spec_of(frame: Frame, served: Served, endpoint: str) -> pb.TaskSpec:
    """The seat that it asks for. `endpoint`: where its agent finds this service."""
    key = frame.key
    spec = pb.TaskSpec(name=f"{key.model}-{key.version}", delivery=pb.DELIVERY_AT_MOST_ONCE)
    spec.seat.job_id, spec.seat.role, spec.seat.endpoint = f"f-{frame.number}", ROLE, endpoint
    spec.seat.ports.add(name=PORT)
    spec.notification.silent = True
    spec.labels.update({"model": key.model, "version": str(key.version), "frame": f"f-{frame.number}"})
    _fit(spec, frame.shape, frame.node, served)
    if frame.shape.runtime == "environment":
        spec.seat.imports.extend(imports_of(served))
        spec.environment.requirements = requirements_of(served)
    for path, digest, _ in served.files:
        spec.attachments.add(path=f"{COMPONENT}/{path}", digest=digest)
    if served.golden_example:
        spec.attachments.add(path=EXAMPLE, digest=served.golden_example)
    return spec


def _fit(spec: pb.TaskSpec, shape: Shape, node: str, served: Served) -> None:
    """How much it takes, and where it may be."""
    runtime, said, place = served.config.runtime, shape.resources, shape.placement
    spec.resources.cpu = runtime.cpu if said.cpu is None else said.cpu
    spec.resources.gpu = said.gpu or runtime.gpu
    spec.resources.memory_bytes = shape.memory_bytes
    spec.resources.custom.update(said.custom)
    spec.placement.node = node or place.node
    spec.placement.pool = place.pool
    spec.placement.labels.update(place.labels)
    spec.placement.policy = place.policy  # type: ignore[assignment]
    spec.placement.avoid_nodes.extend(place.avoid)


def cause_of(outcome: pb.TaskOutcome) -> tuple[str, str]:
    """Why its seat is gone: a word, and a sentence; both empty where it was closed."""
    if outcome.state == pb.TASK_STATE_SUCCEEDED:
        return "", ""
    word = pb.TaskCause.Name(outcome.error.cause).removeprefix("TASK_CAUSE_")
    if word == "UNSPECIFIED":
        word = pb.TaskState.Name(outcome.state).removeprefix("TASK_STATE_")
    return word, outcome.error.message or word.lower()
