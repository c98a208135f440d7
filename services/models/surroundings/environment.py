"""The Python environment of a runtime as agents make it: a probe has the one that frames will have (the edge)."""

from __future__ import annotations

from modelyard.models import Runtime
from modelyard.v1 import task_pb2 as pb
from services.models.surroundings.association import Association


def environment_of(runtime: Runtime, found: Association) -> pb.Environment:
    """Its bytecode is made along with it: frames may not write there."""
    return pb.Environment(requirements=found.requirements, python=runtime.python, is_compiled=True)
