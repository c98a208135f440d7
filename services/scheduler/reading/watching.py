"""Watching tasks from a revision: every task that changed, each time as it is by then, without gap or repeat."""

from collections.abc import AsyncIterator

from modelyard.v1 import task_pb2 as pb
from services.chassis.security import ADMIN, Principal
from services.scheduler.engine import Engine
from services.scheduler.reading.tasks import Tasks
from services.scheduler.refusals import RevisionCompacted, TaskNotFound
from services.scheduler.state.state import State

MOST_TASKS = 500


async def watch(
    engine: Engine, tasks: Tasks, caller: Principal, revision: int, keys: frozenset[int]
) -> AsyncIterator[pb.WatchTasksResponse]:
    """For ever; from now on where ``revision`` is 0. Raises `RevisionCompacted`.

    A task that changed several times since the last message is shown once, as it is now: revisions never go back.
    """
    position = revision or engine.released_revision
    # The revisions in which tasks were shown that may be ahead of the position.
    shown: dict[int, int] = {}
    with engine.watch() as changed:
        # Lets the caller know from where it watches.
        yield pb.WatchTasksResponse(revision=position)
        while True:
            changed.clear()
            end = engine.released_revision
            for key, changed_in in changed_since(engine.state, position, end, caller, keys).items():
                position = changed_in
                try:
                    task = await tasks.get(key, caller)
                except TaskNotFound:
                    continue
                if shown.get(key) != task.revision:
                    shown[key] = task.revision
                    yield pb.WatchTasksResponse(tasks=[task], revision=position)
            if end > position:
                position = end
                yield pb.WatchTasksResponse(revision=position)
            shown = {key: ahead for key, ahead in shown.items() if ahead > position}
            await changed.wait()


def changed_since(
    state: State, position: int, end: int, caller: Principal, keys: frozenset[int]
) -> dict[int, int]:
    """Keys, each with its latest change, that changed after ``position`` and up to ``end``, in that order.

    Raises `RevisionCompacted`.
    """
    if position < _floor(state) or position > end:
        raise RevisionCompacted(
            f"changes after revision {position} are no longer kept", field="revision",
            next_step="list again, and watch from the list's revision",
        )  # fmt: skip
    latest: dict[int, int] = {}
    for revision, key, account in reversed(state.changes):
        if revision <= position:
            break
        if (
            revision <= end
            and (not keys or key in keys)
            and (caller.role == ADMIN or account == caller.account)
        ):
            latest.setdefault(key, revision)
    return dict(reversed(latest.items()))


def _floor(state: State) -> int:
    full = state.changes.maxlen is not None and len(state.changes) == state.changes.maxlen
    return max(state.compacted_revision, state.changes[0][0] - 1 if full else 0)
