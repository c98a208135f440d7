"""Dependencies between tasks: a dependent waits outside the queues until all that it waits for has happened. Pure.

What happens in a step is told to dependents in that very step, one after the other: a chain of any length neither
recurses nor scans. A dependency that can no longer be met ends its dependent.
"""

from collections.abc import Iterable, Mapping
from itertools import compress, count

from services.scheduler.model import (
    Cause,
    Condition,
    Dependency,
    Now,
    TaskState,
    array_of,
    element_key,
    format_task_id,
    index_of,
)
from services.scheduler.state.effects import Effects, InsertDependency
from services.scheduler.state.events import EndedTask
from services.scheduler.state.gate import Gate
from services.scheduler.state.state import State
from services.scheduler.state.tally import FINAL, STARTED, Tally
from services.scheduler.state.task import Task
from services.scheduler.tasks import arrays, lifecycle

MOST_NAMED = 3
_YET = {
    Condition.SUCCEEDED: "has not succeeded yet",
    Condition.ENDED: "has not ended yet",
    Condition.FAILED: "has not failed yet",
    Condition.STARTED: "has not started yet",
}
_WISHED = {
    Condition.SUCCEEDED: "succeed",
    Condition.ENDED: "end",
    Condition.FAILED: "fail",
    Condition.STARTED: "start",
}
_ENDED = {
    TaskState.SUCCEEDED: "succeeded",
    TaskState.FAILED: "failed",
    TaskState.CANCELLED: "was cancelled",
}


def is_met(condition: Condition, code: int) -> bool | None:
    """Whether a fact meets a condition; None: it still may."""
    final = code & FINAL
    if condition is Condition.STARTED:
        return True if code & STARTED else False if final else None
    if not final:
        return None
    if condition is Condition.ENDED:
        return True
    return final == (TaskState.SUCCEEDED if condition is Condition.SUCCEEDED else TaskState.FAILED)


def code_of(state: State, key: int, ended: Mapping[int, EndedTask]) -> int | None:
    """The latest fact about a task, array or element; None: neither the state nor ``ended`` knows it."""
    task = state.tasks.get(key)
    if task is not None:
        return STARTED if task.has_started else 0
    array, index = state.tasks.get(array_of(key)), index_of(key)
    tally = array.tally if array is not None and index >= 0 else None
    if tally is not None and tally.is_left(index):
        return 0
    known = ended.get(key)
    if known is not None and known.state is not None:
        return known.state | (STARTED if known.has_started else 0)
    if tally is None:
        return None
    if index < len(tally.ended) and tally.ended[index]:
        return tally.ended[index]
    # Its turn will not come; it ends with its array.
    return 0 if known is not None or not tally.is_partial else None


def is_known(state: State, dependency: Dependency, ended: Mapping[int, EndedTask]) -> bool:
    """Whether enough is known of what is depended on to take the dependent in."""
    if not dependency.on:
        return True
    if not dependency.is_element_wise:
        return code_of(state, dependency.on, ended) is not None
    array = state.tasks.get(dependency.on)
    if array is None or array.tally is None:
        return dependency.on in ended
    return not array.tally.is_partial or dependency.on in ended


def enter(
    state: State,
    task: Task,
    dependencies: Iterable[Dependency],
    ended: Mapping[int, EndedTask],
    now: Now,
    effects: Effects,
) -> None:
    """Finds out what a new task, or one after a restart, has to wait for. All must be known."""
    awaits = []
    for place, dependency in enumerate(dependencies):
        effects.rows.append(InsertDependency(task.key, place, dependency))
        if dependency.is_element_wise:
            _enter_elements(state, task, dependency, ended, now, effects)
            continue
        code = code_of(state, dependency.on, ended)
        assert code is not None
        verdict = is_met(dependency.condition, code)
        if verdict is None:
            awaits.append(dependency)
            state.dependents.add(task.key, dependency)
        elif not verdict:
            state.dependents.doomed.append((task.key, dependency, code))
    task.awaits = tuple(awaits)


def _enter_elements(
    state: State,
    task: Task,
    dependency: Dependency,
    ended: Mapping[int, EndedTask],
    now: Now,
    effects: Effects,
) -> None:
    """Puts an array and the one that it waits for, element by element, together."""
    task.counterparts += (dependency,)
    other, known = state.tasks.get(dependency.on), ended.get(dependency.on)
    if other is None or other.tally is None:
        assert known is not None and known.state is not None
        _hear_elements(state, task, dependency, known.elements, now, effects)
        _hear_end(state, task, dependency, known.state)
        return
    if known is not None:
        other.tally.learn(known.elements)
    state.dependents.add(task.key, dependency)
    _hear_elements(state, task, dependency, other.tally.ended, now, effects)
    if dependency.condition is Condition.STARTED:
        for index in range(other.tally.size):
            element = state.tasks.get(element_key(other.key, index))
            if element is not None and element.has_started:
                _hear_element(state, task, dependency, index, STARTED, now, effects)


def _hear_elements(
    state: State, task: Task, dependency: Dependency, codes: bytes | bytearray, now: Now, effects: Effects
) -> None:
    for index in compress(count(), codes):
        _hear_element(state, task, dependency, index, codes[index], now, effects)


def _hear_element(
    state: State, array: Task, dependency: Dependency, index: int, code: int, now: Now, effects: Effects
) -> None:
    """What happened to one element lets its counterpart have its turn, or takes it away."""
    tally = array.tally
    assert tally is not None
    verdict = is_met(dependency.condition, code)
    if verdict:
        tally.meet(index, _bit(array, dependency))
    elif verdict is not None and tally.is_left(index):
        on = element_key(dependency.on, index)
        reason = f"DEPENDENCY: {_why(on, dependency.condition, code)}"
        key = element_key(array.key, index)
        arrays.end_unmade(state, key, reason, Cause.DEPENDENCY, now, effects)


def _hear_end(state: State, array: Task, dependency: Dependency, final: TaskState) -> None:
    """The other array has ended: of its elements that were never made nothing more will be heard."""
    tally = array.tally
    assert tally is not None
    is_met_by_all = final is TaskState.SUCCEEDED and dependency.condition is not Condition.FAILED
    if is_met_by_all or dependency.condition is Condition.ENDED:
        tally.lift(_bit(array, dependency))
    else:
        tally.shut(_bit(array, dependency))
        if tally.is_complete:
            state.complete_arrays.add(array.key)


def _bit(array: Task, dependency: Dependency) -> int:
    return 1 << array.counterparts.index(dependency)


def settle(state: State, now: Now, effects: Effects) -> bool:
    """Tells dependents all that has happened, and what comes of that; False: there was nothing to tell."""
    dependents = state.dependents
    if not dependents.happened and not dependents.doomed:
        return False
    while dependents.doomed or dependents.happened:
        if dependents.doomed:
            key, dependency, code = dependents.doomed.popleft()
            task = state.tasks.get(key)
            if task is not None:
                _end(state, task, dependency, code, now, effects)
            continue
        key, code = dependents.happened.popleft()
        waiting = dependents.by_task.pop(key, {}) if code & FINAL else dependents.by_task.get(key, {})
        for dependent in list(waiting):
            _hear(state, dependent, key, code, now, effects)
        _tell_arrays(state, key, code, now, effects)
    return True


def _tell_arrays(state: State, key: int, code: int, now: Now, effects: Effects) -> None:
    array_key, index = array_of(key), index_of(key)
    by_array = state.dependents.by_array
    if index < 0 and not code & FINAL:
        return
    waiting = by_array.get(array_key, {}) if index >= 0 else by_array.pop(array_key, {})
    for dependent in list(waiting):
        task = state.tasks.get(dependent)
        if task is None:
            del waiting[dependent]
            continue
        for dependency in task.counterparts:
            if dependency.on != array_key:
                continue
            if index >= 0:
                _hear_element(state, task, dependency, index, code, now, effects)
            else:
                _hear_end(state, task, dependency, TaskState(code & FINAL))
        lifecycle.unpark(state, task)


def _hear(state: State, dependent: int, key: int, code: int, now: Now, effects: Effects) -> None:
    """Opens the gate of a task for which nothing is left to wait for."""
    task = state.tasks.get(dependent)
    if task is None or not task.awaits:
        return
    left = []
    for dependency in task.awaits:
        fact = code if dependency.on == key else 0
        if code & FINAL and dependency.on != key and array_of(dependency.on) == key:
            fact = TaskState.CANCELLED
        verdict = is_met(dependency.condition, fact)
        if verdict is None:
            left.append(dependency)
        elif not verdict:
            _end(state, task, dependency, fact, now, effects)
            return
    task.awaits = tuple(left)
    if not left and task.state is TaskState.QUEUED:
        task.ticket = state.waiting.append(task.queue, task.key)


def _end(state: State, task: Task, dependency: Dependency, code: int, now: Now, effects: Effects) -> None:
    """The dependent can never start."""
    task.reason = f"DEPENDENCY: {_why(dependency.on, dependency.condition, code)}"
    if task.tally is not None:
        task.tally.close()
    lifecycle.end(state, task, TaskState.CANCELLED, now, effects, cause=Cause.DEPENDENCY)


def _why(on: int, condition: Condition, code: int) -> str:
    return f"{format_task_id(on)} {_ENDED[TaskState(code & FINAL)]}; it was to {_WISHED[condition]} first"


def gate(state: State, task: Task, now: Now) -> Gate | None:
    """What a task still waits for, in words."""
    if task.awaits:
        told = [f"{format_task_id(d.on)} {_YET[d.condition]}" for d in task.awaits[:MOST_NAMED]]
        if len(task.awaits) > MOST_NAMED:
            told.append(f"and {len(task.awaits) - MOST_NAMED} more")
        first = format_task_id(task.awaits[0].on)
        return Gate("DEPENDENCY", ", ".join(told), f"look at what it waits for: yard tasks explain {first}")
    if task.counterparts and task.tally is not None and not _may_go_on(task.tally):
        others = ", ".join(format_task_id(d.on) for d in task.counterparts[:MOST_NAMED])
        message = f"no element of it has its counterpart in {others} as it must be yet"
        first = format_task_id(task.counterparts[0].on)
        return Gate("DEPENDENCY", message, f"look at what it waits for: yard tasks explain {first}")
    return None


def _may_go_on(tally: Tally) -> bool:
    return tally.has_turn() or tally.left == 0
