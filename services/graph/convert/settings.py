"""What the scheduler would refuse of a node's settings, told while the canvas is judged (S1.3)."""

import math

from google.protobuf.duration_pb2 import Duration

from modelyard.images import wrong_image
from modelyard.v1 import task_pb2
from services.graph.canvases.identifiers import is_digest, is_name
from services.graph.canvases.problems import shown

_AMOUNT_MOST = 1e15
_ATTEMPTS_MOST = 1_000_000
_WAIT_MOST_S = 10 * 365 * 86_400
_REQUIREMENTS_MOST = 64 << 10
_BUILT_IN = ("cpu", "memory", "gpu")


def wrong_setting(spec: task_pb2.TaskSpec) -> tuple[str, str] | None:
    """The first field of a node that no task can have, and why; None: all can."""
    return (
        _resources(spec.resources) or _retry(spec.retry) or _environment(spec) or _placement(spec.placement)
    )


def _resources(resources: task_pb2.Resources) -> tuple[str, str] | None:
    amounts = {"cpu": resources.cpu, "memory_bytes": float(resources.memory_bytes), "gpu": resources.gpu}
    for name, value in resources.custom.items():
        if not is_name(name) or name in _BUILT_IN:
            return "resources.custom", f"{shown(name)!r} is no name of a custom resource"
        amounts[f"custom.{name}"] = value
    for name, value in amounts.items():
        if not math.isfinite(value) or not 0 <= value <= _AMOUNT_MOST:
            return f"resources.{shown(name)}", f"{value:g} is no amount: amounts are finite and not negative"
    if resources.gpu > 1 and resources.gpu != int(resources.gpu):
        return "resources.gpu", f"{resources.gpu:g} devices: a share is below 1, above it devices are whole"
    return None


def _retry(retry: task_pb2.RetryPolicy) -> tuple[str, str] | None:
    if not 0 <= retry.max_attempts <= _ATTEMPTS_MOST:
        return "retry.max_attempts", f"{retry.max_attempts} is no number of attempts"
    if not _is_wait(retry.backoff):
        return "retry.backoff", "a wait is 0 to ten years"
    return None


def _is_wait(duration: Duration) -> bool:
    return duration.seconds >= 0 and duration.nanos >= 0 and duration.seconds <= _WAIT_MOST_S


def _environment(spec: task_pb2.TaskSpec) -> tuple[str, str] | None:
    for name, value in spec.env.items():
        field = f"command.env.{shown(name)}"
        if not is_name(name):
            return field, f"{shown(name)!r} is no name of a variable"
        if name.startswith("YARD_"):
            return field, "names that begin with YARD_ are the yard's own"
        if "\0" in value:
            return field, "a variable has no NUL"
    if spec.bundle_digest and not is_digest(spec.bundle_digest):
        return (
            "bundle_digest",
            f"{shown(spec.bundle_digest)!r} is no digest: 64 lower-case hexadecimal digits",
        )
    if len(spec.environment.requirements) > _REQUIREMENTS_MOST:
        return "environment.requirements", f"longer than {_REQUIREMENTS_MOST} bytes"
    wrong = wrong_image(spec)
    return (
        (f"environment.{wrong.field}", f"{wrong.message}: {wrong.next_step}") if wrong is not None else None
    )


def _placement(placement: task_pb2.Placement) -> tuple[str, str] | None:
    if placement.policy not in task_pb2.PlacementPolicy.values():
        return "placement.policy", f"there is no policy {placement.policy}"
    if placement.pool and not is_name(placement.pool):
        return "placement.pool", f"{shown(placement.pool)!r} is no name of a pool: yard nodes ls"
    return None
