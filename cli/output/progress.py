"""Long work: a bar on a terminal, plain lines in a pipe. Goes to stderr."""

from __future__ import annotations

import sys
import time

from cli.errors import colour_wanted
from modelyard.quantities import format_duration

WIDTH = 24
PLAIN_STEP = 0.1
"""In a pipe a line is written for each further tenth."""


def bar(ratio: float, width: int = WIDTH) -> str:
    """So much of it is done, 0 … 1."""
    filled = round(min(max(ratio, 0.0), 1.0) * width)
    return "█" * filled + "░" * (width - filled)


class Progress:
    """One line about one piece of work; `update` is cheap enough to be called for every report."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._began = time.monotonic()
        self._live = colour_wanted(sys.stderr)
        self._shown = ""
        self._said = -1.0

    def update(self, ratio: float, message: str = "") -> None:
        """`ratio` of 0 … 1 is done."""
        ratio = min(max(ratio, 0.0), 1.0)
        if self._live:
            self._draw(f"{self._title} {bar(ratio)} {ratio:4.0%} {self._remaining(ratio)} {message}")
        elif ratio >= self._said + PLAIN_STEP or (ratio == 1.0 and self._said < 1.0):
            self._said = ratio
            sys.stderr.write(f"{self._title} {ratio:.0%} {message}".rstrip() + "\n")
            sys.stderr.flush()

    def clear(self) -> None:
        """Takes the bar away so that other lines can be written."""
        if self._shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._shown = ""

    def _remaining(self, ratio: float) -> str:
        spent_s = time.monotonic() - self._began
        if ratio <= 0.02 or ratio >= 1:
            return ""
        return f"{format_duration(spent_s / ratio * (1 - ratio))} left"

    def _draw(self, line: str) -> None:
        line = "".join(char for char in line if char.isprintable())[:100]
        if line != self._shown:
            sys.stderr.write("\r\x1b[2K" + line)
            sys.stderr.flush()
            self._shown = line
