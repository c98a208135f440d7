"""Names of images, as `docker pull` takes them. Pure."""

from __future__ import annotations

import re

_IMAGE = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::\d{1,5})?/)?[a-z0-9][a-z0-9._/-]*(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_IMAGE_MOST = 500


HOW_TO_WRITE = "write it as for docker pull: python:3.11-slim, or registry/name@sha256:…"


def is_image(text: str) -> bool:
    """Whether it is a name of an image."""
    return len(text) <= _IMAGE_MOST and _IMAGE.fullmatch(text) is not None
