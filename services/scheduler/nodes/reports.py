"""What agents say became of tasks. Pure.

A report that does not carry the current token is counted and dropped, never asserted.
"""

from collections.abc import Callable
from typing import Any

from services.scheduler.model import Cause, Now, TaskState
from services.scheduler.placement.cluster import Node
from services.scheduler.requests import modification, suspension
from services.scheduler.state import events as ev
from services.scheduler.state.effects import Effects
from services.scheduler.state.state import State
from services.scheduler.state.task import Task
from services.scheduler.tasks import lifecycle

REJECTED_DELAY_MS = 1_000
# With these an agent ends a task that it never started; then there is no time of start.
BEFORE_START = frozenset({Cause.SETUP, Cause.DRAINED})


def current(state: State, node: Node, key: int, attempt: int, epoch: int) -> Task | None:
    """The task, if this is the token of its current attempt and the attempt is this node's."""
    task = state.tasks.get(key)
    if task is not None and task.attempt == attempt and task.epoch == epoch and task.node == node.id:
        return task
    return None


def _reported(state: State, node: Node, report: ev.TaskReport) -> Task | None:
    """The task that a report is about; one that is not current is counted."""
    task = current(state, node, report.key, report.attempt, report.epoch)
    if task is None:
        state.stale_reports += 1
    return task


def _on_started(state: State, node: Node, report: ev.TaskStarted, now: Now, effects: Effects) -> None:
    task = _reported(state, node, report)
    if task is None:
        return
    if task.key in node.prefilled:
        _start_prefilled(state, node, task)
    lifecycle.start(state, task, report.start_ms, now, effects)


def _start_prefilled(state: State, node: Node, task: Task) -> None:
    """The agent started what was thought to wait there still; its room is promised now, and is a fact."""
    node.prefilled.remove(task.key)
    state.prefilled.pop(task.key, None)
    task.is_prefilled = False
    state.cluster.stretch(node, task.spec.shape.amounts)
    state.cluster.reserve(node, task.key, task.spec.shape.amounts, task.devices)
    state.waiting.take(task, is_fact=True)


def on_exited(state: State, node: Node, report: ev.TaskExited, now: Now, effects: Effects) -> None:
    """Told as it happens, or again in a hello."""
    task = _reported(state, node, report)
    if task is None:
        return
    task.start_ms = report.start_ms
    queue = task.queue
    end_ms = report.end_ms or now.wall_ms
    if report.start_ms:
        queue.learn(max(end_ms - report.start_ms, 0))
    if report.cause is Cause.NONE:
        task.reason = ""
        lifecycle.end(state, task, TaskState.SUCCEEDED, now, effects, payload=report.payload, end_ms=end_ms)
    else:
        reason = f"{report.cause.name}: attempt {task.attempt} on {node.id}"
        never_started = not report.start_ms and report.cause in BEFORE_START
        lifecycle.fail(
            state,
            task,
            report.cause,
            reason,
            now,
            effects,
            payload=report.payload,
            end_ms=end_ms,
            never_started=never_started,
        )
    lifecycle.promote_prefilled(state, node)
    effects.finished[node.id] = queue


def _on_rejected(state: State, node: Node, report: ev.TaskRejected, now: Now, effects: Effects) -> None:
    task = _reported(state, node, report)
    if task is not None:
        reason = f"REJECTED: {node.id}: {report.reason}"
        _give_back(state, node, task, reason, REJECTED_DELAY_MS, now, effects)


def _on_retracted(state: State, node: Node, report: ev.TaskRetracted, now: Now, effects: Effects) -> None:
    task = _reported(state, node, report)
    if task is not None:
        _give_back(state, node, task, "", 0, now, effects)


def _give_back(
    state: State, node: Node, task: Task, reason: str, delay_ms: int, now: Now, effects: Effects
) -> None:
    if task.stop is not None:
        lifecycle.fail(state, task, Cause.CANCELLED, reason, now, effects)
    else:
        lifecycle.requeue(state, task, now, effects, reason, delay_ms=delay_ms)
    lifecycle.promote_prefilled(state, node)


def _on_progressed(state: State, node: Node, report: ev.TaskProgressed, now: Now, effects: Effects) -> None:
    task = _reported(state, node, report)
    if task is not None:
        task.progress = (report.ratio, report.message) if report.ratio or report.message else None
        state.revision += 1
        task.revision = state.revision
        state.changes.append((state.revision, task.key, task.account))


def _on_modified(state: State, node: Node, report: ev.TaskModified, now: Now, effects: Effects) -> None:
    task = _reported(state, node, report)
    if task is not None:
        modification.on_task_modified(state, node, task, report, now, effects)


def _on_suspended(state: State, node: Node, report: ev.TaskSuspended, now: Now, effects: Effects) -> None:
    task = _reported(state, node, report)
    if task is not None:
        suspension.stopped(state, task, now, effects)


def _on_resumed(state: State, node: Node, report: ev.TaskResumed, now: Now, effects: Effects) -> None:
    task = _reported(state, node, report)
    if task is not None:
        suspension.continued(state, task, now, effects)


REPORTS: dict[type[ev.TaskReport], Callable[[State, Node, Any, Now, Effects], None]] = {
    ev.TaskStarted: _on_started,
    ev.TaskExited: on_exited,
    ev.TaskRejected: _on_rejected,
    ev.TaskRetracted: _on_retracted,
    ev.TaskProgressed: _on_progressed,
    ev.TaskModified: _on_modified,
    ev.TaskSuspended: _on_suspended,
    ev.TaskResumed: _on_resumed,
}
