"""Images that commands run in: what may be asked for together, and under which names. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from modelyard.v1 import task_pb2

NETWORKS = ("none", "bridge")
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::\d{1,5})?/)?[a-z0-9][a-z0-9._/-]*(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_IMAGE_MOST = 500


class WrongImage(NamedTuple):
    """What cannot be had."""

    field: str
    """Of the specification's environment."""
    message: str
    next_step: str


def wrong_image(spec: task_pb2.TaskSpec) -> WrongImage | None:
    """The first thing that is wrong with the container that a specification asks for; None: nothing."""
    asked = spec.environment
    if not asked.image:
        if asked.network:
            return WrongImage("network", "only a container has a network of its own", "name an image")
        return None
    if len(asked.image) > _IMAGE_MOST or not _IMAGE.fullmatch(asked.image):
        return WrongImage(
            "image", f"{asked.image[:80]!r} is not a name of an image",
            "write it as for docker pull: python:3.11-slim, or registry/name@sha256:…",
        )  # fmt: skip
    if spec.WhichOneof("work") != "command":
        return WrongImage(
            "image", "only commands run in containers",
            "make it a command (yard run --image IMAGE -- ARGV…), or leave the image out and name requirements",
        )  # fmt: skip
    if asked.requirements or asked.python or asked.is_compiled:
        return WrongImage(
            "image", "an image brings its own programs; requirements and python are for what runs without",
            "leave one of the two out",
        )  # fmt: skip
    if asked.network not in ("", *NETWORKS):
        return WrongImage(
            "network", f"{asked.network[:40]!r} is not a network", f"choose of {', '.join(NETWORKS)}"
        )
    return None
