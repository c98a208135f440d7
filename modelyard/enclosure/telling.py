"""What a frame's log says of its image before there is a frame: that it is here, or on its way.

Owns the words; the models service looks for the first line. How much has come is not said: that would be a line each
second.
"""

from __future__ import annotations

import os

HERE, COMING = "the image {} is here", "pulling the image "
SAID = r"^(the image \S+ is here|pulling the image \S+)$"
"""One of the two is said of each image, so that nobody looks for it for long."""
_AWAY = " is away "


class Telling:
    """Of one image."""

    def __init__(self, image: str) -> None:
        self._image = image
        self._is_coming = False

    def take(self, words: str) -> None:
        """What its pull tells."""
        if not self._is_coming:
            self._is_coming = True
            _write(COMING + self._image)
        if _AWAY in words:
            _write(words)

    def end(self) -> None:
        """It is here."""
        _write(HERE.format(self._image))


def is_coming(line: str) -> bool:
    """Of a line that `SAID` has found: whether the image has to be pulled first."""
    return line.startswith(COMING)


def _write(line: str) -> None:
    os.write(2, f"{line}\n".encode())
