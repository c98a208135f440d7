"""Images that commands and programs of jobs run in: what may be asked for together, and under which names. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from modelyard.image_names import HOW_TO_WRITE, is_image

if TYPE_CHECKING:
    from modelyard.v1 import task_pb2

NETWORKS = ("none", "bridge")


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
    if not is_image(asked.image):
        return WrongImage("image", f"{asked.image[:80]!r} is not a name of an image", HOW_TO_WRITE)
    if spec.WhichOneof("work") not in ("command", "seat"):
        return WrongImage(
            "image", "only commands and programs of jobs run in containers",
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
