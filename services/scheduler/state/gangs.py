"""Tasks that start together or not at all: who belongs to which gang, and how far each gang is. Pure data.

A gang is *waiting* while nothing of it is on a node, *formed* once all that must run together does, and *dissolving*
while it is taken back. With its first end after it was formed it is *loose*: then its members go their own ways.
"""

from enum import Enum

from services.scheduler.model import Spec, TaskState, array_of


class Phase(Enum):
    WAITING = 1
    FORMED = 2
    DISSOLVING = 3
    LOOSE = 4


class Gang:
    """A *unit* is a task, or an array of which so many elements must run together."""

    __slots__ = ("ended", "found", "key", "name", "phase", "tried_at", "units")

    def __init__(self, key: int, name: str, units: dict[int, int], phase: Phase = Phase.WAITING) -> None:
        # That of its first unit.
        self.key = key
        self.name = name
        # How many of each unit must be on nodes together.
        self.units = units
        self.phase = phase
        # How members ended that has not been considered yet.
        self.ended: list[tuple[int, TaskState]] = []
        # How often the cluster had changed when it was last tried to place it, and for how many there was room.
        self.tried_at = -1
        self.found = 0


def needed(spec: Spec) -> int:
    """How many tasks of a member's specification must be on nodes together."""
    total = len(spec.array_indexes) or spec.array_size or 1
    return min(spec.gang_min or total, total)


class Gangs:
    """All that have an unfinished member."""

    def __init__(self) -> None:
        self.by_unit: dict[int, Gang] = {}
        # To be considered before the next placement.
        self.moved: dict[int, Gang] = {}

    def add(self, gang: Gang) -> None:
        for unit in gang.units:
            self.by_unit[unit] = gang

    def of(self, key: int) -> Gang | None:
        """The gang of a task, an array or an element."""
        return self.by_unit.get(array_of(key))

    def note(self, key: int, final: TaskState | None = None) -> None:
        """A member went back to its queue, or ended."""
        gang = self.of(key)
        if gang is not None:
            self.moved[gang.key] = gang
            if final is not None:
                gang.ended.append((key, final))

    def forget(self, gang: Gang) -> None:
        for unit in gang.units:
            self.by_unit.pop(unit, None)
