"""A frame as a task of kind seat: files, environment, room. What it says when it has ended (the edge)."""

from __future__ import annotations

import msgspec

from modelyard.models import Runtime
from modelyard.v1 import task_pb2 as pb
from services.models.catalogue.component import attachments_of
from services.models.frames.model import Shape
from services.models.frames.state import Frame
from services.models.seams import Served
from services.models.surroundings.association import Association, RuntimeMap, node_labels, seat_memory_bytes
from services.models.surroundings.environment import environment_of

PORT = "serve"
ROLE = "frame"
IDLE_SHARE = 0.1
"""Of its cores a frame holds so much, unless its deployment says how many: it mostly waits, and what busy ones are
measured to use counts for placement anyway."""
COMPONENT = "component"
"""Where the component's files lie, below the seat's directory."""


def runtime_of(served: Served, shape: Shape) -> Runtime:
    """What model.yaml says, with what a deployment has laid over it."""
    runtime, said = served.config.runtime, shape.resources
    return msgspec.structs.replace(
        runtime,
        kind=shape.runtime,
        memory_bytes=shape.memory_bytes,
        cpu=runtime.cpu if said.cpu is None else said.cpu,
        gpu=said.gpu or runtime.gpu,
    )


def association_of(served: Served, shape: Shape, runtimes: RuntimeMap) -> Association:
    """The container or environment that fits it. Raises NoImage."""
    key = served.key
    return runtimes.find(runtime_of(served, shape), (key.model, key.version, key.config_revision))


def spec_of(frame: Frame, served: Served, endpoint: str, runtimes: RuntimeMap) -> pb.TaskSpec:
    """The seat that it asks for. `endpoint`: where its agent finds this service. Raises NoImage."""
    key = frame.key
    spec = pb.TaskSpec(name=f"{key.model}-{key.version}", delivery=pb.DELIVERY_AT_MOST_ONCE)
    spec.seat.job_id, spec.seat.role, spec.seat.endpoint = f"f-{frame.number}", ROLE, endpoint
    spec.seat.ports.add(name=PORT)
    spec.notification.silent = True
    spec.labels.update({"model": key.model, "version": str(key.version), "frame": f"f-{frame.number}"})
    found = association_of(served, frame.shape, runtimes)
    _fit(spec, frame, found)
    spec.environment.CopyFrom(environment_of(served.config.runtime, found))
    spec.attachments.extend(attachments_of(served.files, COMPONENT))
    return spec


def _fit(spec: pb.TaskSpec, frame: Frame, found: Association) -> None:
    """How much it takes, and where it may be."""
    place = frame.shape.placement
    said = frame.shape.resources.cpu
    spec.resources.cpu, spec.resources.cpu_limit = found.cpu * IDLE_SHARE if said is None else said, found.cpu
    spec.resources.gpu = found.gpu
    spec.resources.memory_bytes = seat_memory_bytes(found)
    spec.resources.custom.update(frame.shape.resources.custom)
    spec.placement.node = frame.node or place.node
    spec.placement.pool = place.pool
    spec.placement.labels.update(place.labels | node_labels(found))
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


def why_of(decision: pb.PlacementDecision) -> str:
    """Why the scheduler chose that node; empty: it does not say."""
    if not decision.candidates:
        return ""
    first, *others = decision.candidates
    words = f"{first.occupancy_ratio:.0%} occupied"
    if others:
        words += ", chosen before " + ", ".join(
            f"{one.node} with {one.occupancy_ratio:.0%}" for one in others[:3]
        )
    return words
