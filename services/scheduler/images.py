"""Commands that run in a container: what may be asked for, and which nodes can. Pure."""

import re
from collections.abc import Mapping

from modelyard.enclosure.command_order import NETWORKS
from modelyard.v1 import task_pb2
from services.scheduler.model import ENGINE_LABEL
from services.scheduler.refusals import invalid

_IMAGE = re.compile(
    r"(?:[A-Za-z0-9.-]+(?::\d{1,5})?/)?[a-z0-9][a-z0-9._/-]*(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_IMAGE_MOST = 500


def check(spec: task_pb2.TaskSpec, field: str) -> None:
    """Raises `InvalidSpec`."""
    asked = spec.environment
    if not asked.image:
        if asked.network:
            raise invalid(f"{field}.network", "only containers have a network of their own", "name an image")
        return
    if len(asked.image) > _IMAGE_MOST or not _IMAGE.fullmatch(asked.image):
        raise invalid(
            f"{field}.image", f"{asked.image[:80]!r} is not a name of an image",
            "write it as for docker pull: python:3.11-slim, or registry/name@sha256:…",
        )  # fmt: skip
    if spec.WhichOneof("work") != "command":
        raise invalid(
            f"{field}.image", "only commands run in containers",
            "make it a command (yard run --image IMAGE -- ARGV…), or leave the image out and name requirements",
        )  # fmt: skip
    if asked.requirements or asked.python or asked.is_compiled:
        raise invalid(
            f"{field}.image", "an image brings its own programs; requirements and python are for what runs without",
            "leave one of the two out",
        )  # fmt: skip
    if asked.network not in ("", *NETWORKS):
        raise invalid(
            f"{field}.network",
            f"{asked.network[:40]!r} is not a network",
            f"choose of {', '.join(NETWORKS)}",
        )


def labels(spec: task_pb2.TaskSpec) -> Mapping[str, str]:
    """What nodes must carry for it."""
    return dict([ENGINE_LABEL]) if spec.environment.image else {}
