"""Long work: a bar on a terminal, plain lines in a pipe. Goes to stderr."""

from __future__ import annotations

import sys
import time

from cli.errors import colour_wanted
from modelyard.quantities import format_duration

WIDTH = 24
PLAIN_STEP = 0.1
"""In a pipe a line is written for each further tenth."""
CALM_S = 5.0
"""And, of work that is told of by what it does, for other words, no oftener than this."""


def bar(ratio: float, width: int = WIDTH) -> str:
    """So much of it is done, 0 … 1."""
    filled = round(min(max(ratio, 0.0), 1.0) * width)
    return "█" * filled + "░" * (width - filled)


class Progress:
    """One line about one piece of work; `update` is cheap enough to be called for every report."""

    def __init__(self, title: str, *, tells_words: bool = False) -> None:
        self._title = title
        self._tells_words = tells_words
        self._began = time.monotonic()
        self._live = colour_wanted(sys.stderr)
        self._shown = ""
        self._said = -1.0
        self._words = ""
        self._said_s = -CALM_S

    def update(self, ratio: float, message: str = "") -> None:
        """`ratio` of 0 … 1 is done."""
        ratio = min(max(ratio, 0.0), 1.0)
        if self._live:
            self._draw(f"{self._title} {bar(ratio)} {ratio:4.0%} {self._remaining(ratio)} {message}")
        elif self._is_news(ratio, message):
            self._said, self._words, self._said_s = ratio, message, time.monotonic()
            sys.stderr.write(f"{self._title} {ratio:.0%} {message}".rstrip() + "\n")
            sys.stderr.flush()

    def tell(self, message: str) -> None:
        """What is done before any of it; in a pipe only the first of such words."""
        if self._live:
            self._draw(f"{self._title} {message}")
        elif not self._words:
            self._words = message
            sys.stderr.write(f"{self._title} {message}\n")
            sys.stderr.flush()

    def _is_news(self, ratio: float, message: str) -> bool:
        if ratio >= self._said + PLAIN_STEP or (ratio == 1.0 and self._said < 1.0):
            return True
        is_calm = time.monotonic() - self._said_s >= CALM_S
        return self._tells_words and message != self._words and is_calm

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
