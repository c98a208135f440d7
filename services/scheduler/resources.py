"""Amounts of resources: what a task asks for, what a node has, what is left.

Amounts are whole numbers of 1/10000 (cpu, gpu, custom) or bytes (memory), so that sums are exact.
Pure: no I/O.
"""

from collections.abc import Iterable, Mapping

SCALE = 10_000
CPU, MEMORY, GPU = "cpu", "memory", "gpu"

# Sorted (name, amount) pairs without zeros: hashable, cheap to walk.
Amounts = tuple[tuple[str, int], ...]


def amounts(values: Mapping[str, float]) -> Amounts:
    """From natural units (cores, bytes, devices); finer than 1/10000 is rounded."""
    scaled = ((name, round(v) if name == MEMORY else round(v * SCALE)) for name, v in values.items())
    return tuple(sorted((name, amount) for name, amount in scaled if amount > 0))


def natural(name: str, amount: float) -> float:
    """Back to cores, bytes, devices."""
    return amount if name == MEMORY else amount / SCALE


def describe(name: str, amount: float) -> str:
    """For people: ``2 cpu``, ``512 MiB memory``."""
    if name != MEMORY:
        return f"{natural(name, amount):g} {name}"
    return (
        f"{amount / (1 << 30):.3g} GiB memory"
        if amount >= 1 << 30
        else f"{amount / (1 << 20):.3g} MiB memory"
    )


class Devices:
    """Indexed devices of one node, each with what is left of it (of 10000)."""

    __slots__ = ("left", "names")

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self.left = [SCALE] * len(self.names)

    def choose(self, amount: int) -> tuple[int, ...] | None:
        """Indexes to take: whole free devices, or the fullest one that still has the share. None: does not fit."""
        if amount < SCALE:
            fitting = [(left, i) for i, left in enumerate(self.left) if left >= amount]
            return (min(fitting)[1],) if fitting else None
        free = [i for i, left in enumerate(self.left) if left == SCALE]
        count = amount // SCALE
        return tuple(free[:count]) if len(free) >= count else None

    def take(self, indexes: Iterable[int], amount: int) -> None:
        for index in indexes:
            self.left[index] -= min(amount, SCALE)

    def give_back(self, indexes: Iterable[int], amount: int) -> None:
        for index in indexes:
            self.left[index] += min(amount, SCALE)
