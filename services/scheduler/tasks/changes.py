"""The rows that say what became of a task: each gives it a revision. Pure; moves nothing."""

from services.scheduler.model import Cause, FieldVerdict, Now
from services.scheduler.state.effects import Effects, RecordChange, RecordGrace, RecordModification
from services.scheduler.state.state import State
from services.scheduler.state.task import Task
from services.scheduler.tasks.commands import DEFAULT_GRACE_MS


def record(
    state: State,
    task: Task,
    now: Now,
    effects: Effects,
    *,
    cause: Cause = Cause.NONE,
    payload: bytes = b"",
    end_ms: int = 0,
) -> None:
    """Gives the task's present state a revision and a row."""
    state.revision += 1
    task.revision = task.recorded = state.revision
    state.changes.append((state.revision, task.key, task.account))
    effects.rows.append(
        RecordChange(
            state.revision, task.key, task.account, task.state, task.attempt, task.epoch, task.node,
            end_ms or now.wall_ms, task.start_ms, cause, task.reason, payload, task.devices,
        )
    )  # fmt: skip


def record_grace(task: Task, effects: Effects) -> None:
    """A task is asked to end: how long it has, unless that is what everybody has."""
    if task.stop is not None and task.stop[0] != DEFAULT_GRACE_MS:
        effects.rows.append(RecordGrace(task.key, task.stop[0]))


def record_modification(
    state: State,
    task: Task,
    verdicts: tuple[FieldVerdict, ...],
    now: Now,
    effects: Effects,
    *,
    request_revision: int = 0,
    request: tuple[str, str, bytes] | None = None,
) -> None:
    """Gives what now holds of the task a revision and a row: the modification's own, unless one is given."""
    state.revision += 1
    task.revision = task.recorded = state.revision
    state.changes.append((state.revision, task.key, task.account))
    # An attempt that was replaced does not know of it.
    task.original = None
    state.originals.discard(task.key)
    attempt = task.attempt if task.node else 0
    effects.rows.append(
        RecordModification(
            state.revision, task.key, request_revision or state.revision, attempt, now.wall_ms, task.spec.number,
            task.params, task.pending, verdicts, request,
        )
    )  # fmt: skip
