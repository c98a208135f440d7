"""How instances are asked to end, what is kept of them, and what they say of their progress. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """SIGKILL follows when the grace is over."""

    signal: str = "TERM"
    grace_s: float = 10.0


class AtEnd(Enum):
    STOP = "stop"
    """Asked to end as soon as the outcome is decided."""
    DRAIN = "drain"
    """May go on to its own end for a time."""


class Clean(msgspec.Struct, frozen=True, kw_only=True):
    """At the end of the job. Logs are always kept."""

    at_end: AtEnd = AtEnd.STOP
    drain_s: float = 300.0
    keep: tuple[str, ...] = ()
    """Globs below the instance's directory that become artefacts."""


_COUNTED = ("step", "total")
_MEASURED = ("epoch", "ratio", "remaining")


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an instance is; None: not said."""

    step: int | None = None
    total: int | None = None
    epoch: float | None = None
    ratio: float | None = None
    remaining_s: float | None = None
    metrics: Mapping[str, float] = {}
    message: str = ""

    def over(self, earlier: Progress | None) -> Progress:
        """This, and of an earlier word what this one does not say. What remains is never of an earlier one; a part of
        the total is a step where none is said with it."""
        if earlier is None:
            return self
        total = earlier.total if self.total is None else self.total
        step = earlier.step if self.step is None else self.step
        if self.step is None and self.ratio is not None and total is not None:
            step = round(self.ratio * total)
        return Progress(
            step=step,
            total=total,
            epoch=earlier.epoch if self.epoch is None else self.epoch,
            ratio=earlier.ratio if self.ratio is None else self.ratio,
            remaining_s=self.remaining_s,
            metrics={**earlier.metrics, **self.metrics},
            message=self.message or earlier.message,
        )

    @classmethod
    def of(cls, groups: Mapping[str, Any]) -> Progress | None:
        """From named groups of a pattern or fields of a line of JSON; what is no finite number is left out."""
        numbers = {name: number for name, value in groups.items() if (number := _number(value)) is not None}
        if not numbers:
            return None
        step, total, ratio = numbers.get("step"), numbers.get("total"), numbers.get("ratio")
        if ratio is None and step is not None and total:
            ratio = step / total
        return cls(
            step=None if step is None else int(step),
            total=None if total is None else int(total),
            epoch=numbers.get("epoch"),
            ratio=None if ratio is None else min(max(ratio, 0.0), 1.0),
            remaining_s=numbers.get("remaining"),
            metrics={name: number for name, number in numbers.items() if name not in (*_COUNTED, *_MEASURED)},
        )


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 40:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
