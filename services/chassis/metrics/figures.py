"""Figures of a service, as data: what it counts on its hot path, and what it shows when it is asked. Pure.

A service that has any gives the chassis ``async def figures(self) -> list[Family]``, which runs on its own loop each
time somebody scrapes; nothing is computed otherwise. Labels never carry a task id or a person's text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

import msgspec

Kind = Literal["gauge", "counter", "histogram"]
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)


class Spread:
    """A histogram: how many observations fell below each bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Takes one in."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Family(msgspec.Struct, frozen=True):
    """One metric: samples by the values of its labels. A counter's name is without ``_total``."""

    kind: Kind
    name: str
    help: str
    labels: tuple[str, ...]
    samples: Sequence[tuple[tuple[str, ...], float | Spread]]


Source = Callable[[], Awaitable[list[Family]]]
"""Asked at each scrape."""


def gauge(name: str, help: str, value: float) -> Family:
    """One number that goes up and down."""
    return Family("gauge", name, help, (), [((), value)])


def counter(name: str, help: str, value: float) -> Family:
    """One number that only grows while the process lives."""
    return Family("counter", name, help, (), [((), value)])


def spread(name: str, help: str, value: Spread) -> Family:
    """One histogram."""
    return Family("histogram", name, help, (), [((), value)])
