"""Where the members of a gang are at the moment, and what keeps those that are missing. Pure; changes nothing."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from services.scheduler.model import Now, TaskState, element_key, format_task_id
from services.scheduler.queues import admission
from services.scheduler.queues.tenants import ShapeQueue
from services.scheduler.state.gangs import Gang, Phase
from services.scheduler.state.gate import Gate
from services.scheduler.state.state import State
from services.scheduler.state.task import Task


class Muster:
    """Where a gang's members are at the moment; those that ended well count as being where they must be."""

    __slots__ = ("lacking", "missing", "placed", "ready", "unready")

    def __init__(self) -> None:
        # Members on nodes; those that could start, by unit; those that something else keeps back.
        self.placed: list[Task] = []
        self.ready: dict[int, list[Task]] = {}
        self.unready: list[Task] = []
        # How many more of each unit must be on nodes.
        self.missing: dict[int, int] = {}
        # Arrays that can never have as many again.
        self.lacking: list[int] = []


def muster(state: State, gang: Gang) -> Muster:
    """Counts the members, unit by unit."""
    found = Muster()
    for unit, needed in gang.units.items():
        task = state.tasks.get(unit)
        if task is None:
            continue
        if task.tally is not None:
            _muster_array(state, task, needed, found)
            continue
        _sort(state, task, unit, found)
        if not task.node:
            found.missing[unit] = 1
    return found


def _muster_array(state: State, array: Task, needed: int, found: Muster) -> None:
    tally = array.tally
    assert tally is not None
    elements = list(made_elements(state, array))
    for element in elements:
        _sort(state, element, array.key, found)
    needed = max(needed - tally.succeeded, 0)
    placed = sum(bool(element.node) for element in elements)
    if len(elements) + tally.left < needed:
        found.lacking.append(array.key)
    if placed < needed:
        found.missing[array.key] = needed - placed
        if is_kept_back(state, array):
            found.unready.append(array)


def _sort(state: State, task: Task, unit: int, found: Muster) -> None:
    if task.node:
        found.placed.append(task)
    elif is_kept_back(state, task):
        found.unready.append(task)
    else:
        found.ready.setdefault(unit, []).append(task)


def made_elements(state: State, array: Task) -> Iterator[Task]:
    """The unfinished elements of an array that have had their turn, in order."""
    tally = array.tally
    assert tally is not None
    left = tally.active
    for index in range(tally.size):
        if not left:
            return
        element = state.tasks.get(element_key(array.key, index))
        if element is not None:
            left -= 1
            yield element


def is_kept_back(state: State, task: Task) -> bool:
    """Whether something other than nodes and gang keeps a task that is on none."""
    return task.state is TaskState.HELD or task.key in state.backing_off or bool(task.awaits)


class Part(NamedTuple):
    """Who needs a node, and of which shape: ``task``, or the next element of it if ``is_new``."""

    queue: ShapeQueue
    task: Task
    is_new: bool


def cast_of(state: State, found: Muster) -> list[Part]:
    """All who are missing."""
    cast: list[Part] = []
    for key, count in found.missing.items():
        unit = state.tasks[key]
        ready = found.ready.get(key, [])[:count]
        cast += [Part(member.queue, member, False) for member in ready]
        cast += [Part(unit.queue, unit, True)] * (count - len(ready))
    return cast


def obstacle(cast: Sequence[Part]) -> admission.Obstacle | None:
    """What keeps all of them together from starting, whatever the nodes say."""
    if not any(part.queue.is_limited for part in cast):
        return None
    return admission.together([(part.queue, 1) for part in cast])


def gate(state: State, task: Task, now: Now) -> Gate | None:
    """What a member waits for, in words."""
    gang = state.gangs.of(task.key) if task.spec.shape.gang else None
    if gang is None or gang.phase not in (Phase.WAITING, Phase.DISSOLVING) or task.node:
        return None
    found = muster(state, gang)
    first = format_task_id(gang.key)
    if gang.phase is Phase.DISSOLVING:
        message = f"its gang {gang.name} starts anew; {len(found.placed)} of its members are still to stop"
        return Gate("GANG", message, f"yard tasks explain {first}")
    others = [member for member in found.unready if member is not task]
    if others:
        name = format_task_id(others[0].key)
        return Gate("GANG", f"its gang {gang.name} waits for {name}", f"yard tasks explain {name}")
    if limit := obstacle(cast_of(state, found)):
        return Gate(limit.reason, f"its gang {gang.name} together: {limit.message}", limit.next_step)
    needed = sum(found.missing.values())
    message = (
        f"{gang.found} of the {needed} members of its gang {gang.name} that must start together could start now; "
        f"{needed - gang.found} more need room"
    )
    return Gate("GANG", message, "it starts when other tasks end; or ask for fewer at a time: gang.min_count")


def wrong_with(state: State) -> str:
    """What contradicts itself about gangs; empty where nothing does: none, or as many as must, are on nodes (I5)."""
    for gang in state.gangs.by_unit.values():
        found = muster(state, gang)
        if gang.phase is Phase.FORMED and found.missing:
            return f"gang {gang.name} of {format_task_id(gang.key)} lacks {found.missing}"
        if gang.phase is Phase.WAITING and found.placed:
            return f"gang {gang.name} of {format_task_id(gang.key)} waits with {len(found.placed)} placed"
    return ""
