"""What may be tried: parameters with their values, drawn from numbers in 0 … 1 or counted one by one. Pure."""

from __future__ import annotations

import math
from enum import Enum

import msgspec

Value = int | float | str | bool
DIGITS = 6
"""Significant ones of a value that is drawn: they stand in command lines."""


class ParameterKind(Enum):
    CHOICE = "choice"
    UNIFORM = "uniform"
    LOG_UNIFORM = "log_uniform"
    INT = "int"
    LOG_INT = "log_int"


LOGARITHMIC = frozenset({ParameterKind.LOG_UNIFORM, ParameterKind.LOG_INT})


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is searched for. `low`, `high`: both are among its values."""

    name: str
    kind: ParameterKind
    choices: tuple[Value, ...] = ()
    low: float = 0
    high: float = 0
    step: float = 0
    """Values are `low + n * step`; 0: everything between the bounds."""
    points: int = 0
    """So many values at equal distances, of logarithmic kinds equal factors; 0: not said."""

    @property
    def size(self) -> int | None:
        """How many values there are; None: they cannot be counted one by one."""
        if self.kind is ParameterKind.CHOICE:
            return len(self.choices)
        if self.points:
            return self.points
        if self.step:
            return int((self.high - self.low) / self.step + 1e-9) + 1
        return None

    def at(self, index: int) -> Value:
        """The value of that index, from the lowest; only where there is a `size`."""
        if self.kind is ParameterKind.CHOICE:
            return self.choices[index]
        if not self.points:
            return self._made(self.low + index * self.step, 12)
        if self.kind in LOGARITHMIC:
            return self._made(self.low * (self.high / self.low) ** (index / (self.points - 1)), DIGITS)
        return self._made(self.low + (self.high - self.low) * index / (self.points - 1), 12)

    def drawn(self, chance: float) -> Value:
        """The value that a number in [0, 1) stands for."""
        if self.size is not None:
            return self.at(int(chance * self.size))
        if self.kind is ParameterKind.LOG_INT:
            low, high = math.log(self.low), math.log(self.high + 1)
            return self._made(math.floor(math.exp(low + (high - low) * chance)), DIGITS)
        if self.kind is ParameterKind.LOG_UNIFORM:
            return self._made(self.low * (self.high / self.low) ** chance, DIGITS)
        return self._made(self.low + (self.high - self.low) * chance, DIGITS)

    def extremes(self) -> tuple[Value, ...]:
        """Values by which it is checked whether a job can be made with it."""
        if self.kind is ParameterKind.CHOICE:
            return self.choices
        if self.size is not None:
            return self.at(0), self.at(self.size - 1)
        return self._made(self.low, 17), self._made(self.high, 17)

    def _made(self, number: float, digits: int) -> Value:
        if self.kind in (ParameterKind.INT, ParameterKind.LOG_INT):
            return int(min(max(round(number), self.low), self.high))
        # Rounding must not lead out of the bounds.
        return min(max(float(f"{number:.{digits}g}"), float(self.low)), float(self.high))

    def __str__(self) -> str:
        if self.kind is ParameterKind.CHOICE:
            shown = ", ".join(map(str, self.choices[:8]))
            return f"choice of {shown}{', …' if len(self.choices) > 8 else ''}"
        tail = (
            f", {self.points} points" if self.points else f", step {self.step:g}" if self._is_stepped else ""
        )
        return f"{self.kind.value} {self.low:g} … {self.high:g}{tail}"

    @property
    def _is_stepped(self) -> bool:
        return bool(self.step) and not (self.kind is ParameterKind.INT and self.step == 1)
