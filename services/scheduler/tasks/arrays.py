"""Arrays: one record for many tasks. Elements are made one by one when a node has room for them. Pure."""

from services.scheduler.model import Cause, Now, TaskState, array_of, element_key, index_of
from services.scheduler.state.effects import Effects
from services.scheduler.state.gate import Gate
from services.scheduler.state.state import State
from services.scheduler.state.tally import STARTED, Tally
from services.scheduler.state.task import Task
from services.scheduler.tasks import changes, commands, lifecycle, silence


def take_element(state: State, array: Task, now: Now, effects: Effects) -> Task:
    """Makes the next element; the array must have one left."""
    tally = array.tally
    assert tally is not None
    key = element_key(array.key, tally.take())
    tally.active += 1
    element = lifecycle.create(state, key, array.spec, array.account, array.params, now, effects)
    if array.state is TaskState.QUEUED:
        array.state = TaskState.RUNNING
        array.start_ms = now.wall_ms
        array.has_started = True
        changes.record(state, array, now, effects)
        state.dependents.note(array.key, STARTED)
    return element


def has_unmade(state: State, key: int) -> bool:
    """Whether ``key`` is an element that its array has yet to make."""
    array = state.tasks.get(array_of(key))
    if array is None or array.tally is None:
        return False
    return array.tally.is_left(index_of(key))


def cancel_unmade(state: State, key: int, comment: str, now: Now, effects: Effects) -> None:
    """Cancels one element before its turn; its array will pass over it."""
    end_unmade(state, key, f"CANCELLED: {comment}", Cause.CANCELLED, now, effects)


def end_unmade(state: State, key: int, reason: str, cause: Cause, now: Now, effects: Effects) -> None:
    """Ends one element as cancelled before its turn."""
    array = state.tasks[array_of(key)]
    tally = array.tally
    assert tally is not None
    element = lifecycle.create(state, key, array.spec, array.account, array.params, now, effects)
    element.reason = reason
    tally.pass_over(index_of(key))
    tally.active += 1
    lifecycle.end(state, element, TaskState.CANCELLED, now, effects, cause=cause)


def elements(state: State, array: Task) -> list[Task]:
    """Those that were made and have not ended, in the order of their indexes."""
    assert array.tally is not None
    found: list[Task] = []
    for index in range(array.tally.size):
        if len(found) == array.tally.active:
            break
        element = state.tasks.get(element_key(array.key, index))
        if element is not None:
            found.append(element)
    return found


def cancel(state: State, array: Task, grace_ms: int, comment: str, now: Now, effects: Effects) -> None:
    """Elements that were never made are counted as cancelled without being made; the others are asked to end.

    Asking twice changes nothing.
    """
    tally = array.tally
    assert tally is not None
    if array.stop is not None:
        return
    array.stop = (grace_ms, comment)
    changes.record_grace(array, effects)
    array.reason = f"CANCEL_REQUESTED: {comment}"
    changes.record(state, array, now, effects)
    tally.close()
    for element in elements(state, array):
        if element.node and not silence.is_waited_for(state, element):
            if element.stop is None:
                element.stop = (grace_ms, comment)
                commands.stop(
                    element, state.cluster.nodes[element.node], effects, Cause.CANCELLED, comment, grace_ms
                )
        else:
            element.reason = f"CANCELLED: {comment}"
            lifecycle.end(state, element, TaskState.CANCELLED, now, effects, cause=Cause.CANCELLED)
    if tally.is_complete:
        state.complete_arrays.add(array.key)


def expire(state: State, array: Task, now: Now, effects: Effects) -> None:
    """Its queue time is over and none of its elements has had its turn."""
    assert array.tally is not None
    array.tally.close()
    lifecycle.end(state, array, TaskState.FAILED, now, effects, cause=Cause.TIMEOUT)


def close_complete(state: State, now: Now, effects: Effects) -> None:
    """Gives every array whose elements have all ended its own outcome."""
    due = sorted(state.complete_arrays)
    state.complete_arrays.clear()
    for key in due:
        array = state.tasks.get(key)
        if array is None or array.tally is None:
            continue
        tally = array.tally
        has_failed = lifecycle.has_failed_too_often(array)
        if has_failed and not tally.is_complete:
            comment = f"{tally.failed} elements failed, max_fails is {array.spec.max_fails}"
            cancel(state, array, commands.DEFAULT_GRACE_MS, comment, now, effects)
        if not tally.is_complete:
            continue
        array.reason = f"ELEMENTS: {_counts(tally)}"
        final, cause = TaskState.SUCCEEDED, Cause.NONE
        if has_failed:
            final, cause = TaskState.FAILED, Cause.ERROR
            array.reason = f"MAX_FAILS: more than {array.spec.max_fails} elements failed; {_counts(tally)}"
        elif array.stop is not None or tally.cancelled == tally.total:
            final, cause = TaskState.CANCELLED, Cause.CANCELLED
            if array.stop is None and array.counterparts:
                cause = Cause.DEPENDENCY
        elif tally.failed or tally.cancelled:
            final, cause = TaskState.FAILED, Cause.ERROR
        lifecycle.end(state, array, final, now, effects, cause=cause)


def _counts(tally: Tally) -> str:
    return f"{tally.succeeded} succeeded, {tally.failed} failed, {tally.cancelled} cancelled"


def gate(state: State, task: Task, now: Now) -> Gate | None:
    """Whether as many elements of an array are under way as may be."""
    tally = task.tally
    if tally is None or not tally.is_full:
        return None
    message = f"{tally.active} of its elements are under way, max_running is {tally.most_active}"
    return Gate("ARRAY_LIMIT", message, "it goes on when one of them ends")
