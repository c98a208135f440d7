"""Commands that run in a container: refused, or taken to the nodes that can (the edge)."""

from collections.abc import Mapping

from modelyard.images import wrong_image
from modelyard.v1 import task_pb2
from services.scheduler.model import ENGINE_LABEL
from services.scheduler.refusals import invalid


def check(spec: task_pb2.TaskSpec, field: str) -> None:
    """Raises `InvalidSpec`."""
    wrong = wrong_image(spec)
    if wrong is not None:
        raise invalid(f"{field}.{wrong.field}", wrong.message, wrong.next_step)


def labels(spec: task_pb2.TaskSpec) -> Mapping[str, str]:
    """What nodes must carry for it."""
    return dict([ENGINE_LABEL]) if spec.environment.image else {}
