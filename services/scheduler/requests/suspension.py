"""Suspending and resuming tasks. Pure.

A task on a node is stopped where it is by its agent and keeps what it holds; one that waits is held. What is wanted
stands in the task's reason, and so in its rows: an agent is told again after every hello, until it says that it is so.
A suspended task whose node is lost, or that was given back before it began, is held until somebody resumes it.
"""

from collections.abc import Callable

from services.scheduler.model import Now, TaskState
from services.scheduler.placement.cluster import Node
from services.scheduler.requests import tasks
from services.scheduler.state import events as ev
from services.scheduler.state.effects import Answer, Effects, ResumeTask, SuspendTask
from services.scheduler.state.state import State
from services.scheduler.state.task import Task
from services.scheduler.tasks import arrays, changes, commands

SUSPEND_REQUESTED = "SUSPEND_REQUESTED: its agent is asked to stop it"
RESUME_REQUESTED = "RESUME_REQUESTED: its agent is asked to let it go on"
SUSPENDED = "SUSPENDED: it keeps its node until it is resumed"
HELD = "HELD: suspended before it began"

Move = Callable[[State, Task, Now, Effects], None]


def on_suspend_requested(state: State, event: ev.SuspendRequested, now: Now, effects: Effects) -> None:
    _move_all(state, event.reply, event.keys, suspend, now, effects)


def on_resume_requested(state: State, event: ev.ResumeRequested, now: Now, effects: Effects) -> None:
    _move_all(state, event.reply, event.keys, resume, now, effects)


def _move_all(
    state: State, reply: int, keys: tuple[int, ...], move: Move, now: Now, effects: Effects
) -> None:
    """All of them or none: a task that has ended can be neither suspended nor resumed."""
    for key in keys:
        if key not in state.tasks:
            effects.answers.append(Answer(reply, error=tasks.absent(state, key)))
            return
    for key in keys:
        move(state, state.tasks[key], now, effects)
    effects.answers.append(Answer(reply, keys=keys))


def suspend(state: State, task: Task, now: Now, effects: Effects) -> None:
    """Doing it twice changes nothing; a task that is asked to end goes on to its end."""
    if task.tally is not None:
        _move_elements(state, task, suspend, now, effects)
    if task.node:
        if not task.wants_suspension and task.stop is None:
            task.reason = SUSPEND_REQUESTED
            changes.record(state, task, now, effects)
            tell_again(task, state.cluster.nodes[task.node], effects)
    elif task.state is not TaskState.HELD:
        tasks.hold(state, task, HELD, now, effects)


def resume(state: State, task: Task, now: Now, effects: Effects) -> None:
    """Lets it go on, or wait again. Doing it twice changes nothing."""
    if task.tally is not None:
        _move_elements(state, task, resume, now, effects)
    if task.node:
        if task.wants_suspension:
            task.reason = RESUME_REQUESTED
            changes.record(state, task, now, effects)
            commands.send(state.cluster.nodes[task.node], ResumeTask(task.key, task.attempt), effects)
    elif task.state is TaskState.HELD:
        tasks.release(state, task, now, effects)


def _move_elements(state: State, array: Task, move: Move, now: Now, effects: Effects) -> None:
    for element in arrays.elements(state, array):
        move(state, element, now, effects)


def tell_again(task: Task, node: Node, effects: Effects) -> None:
    """What the agent is yet to do, if it can hear."""
    if not node.session:
        return
    if task.wants_suspension:
        commands.send(node, SuspendTask(task.key, task.attempt), effects)
    elif task.state is TaskState.SUSPENDED and task.stop is None:
        commands.send(node, ResumeTask(task.key, task.attempt), effects)


def settle(state: State, task: Task, is_suspended: bool, now: Now, effects: Effects) -> None:
    """What an agent's hello says of a running task."""
    if is_suspended:
        stopped(state, task, now, effects)
    elif not task.wants_suspension:
        continued(state, task, now, effects)


def stopped(state: State, task: Task, now: Now, effects: Effects) -> None:
    """The agent has stopped it."""
    if task.state is TaskState.RUNNING:
        if task.wants_suspension:
            task.reason = SUSPENDED
        task.state = TaskState.SUSPENDED
        changes.record(state, task, now, effects)


def continued(state: State, task: Task, now: Now, effects: Effects) -> None:
    """The agent has let it go on."""
    resumed = task.reason == RESUME_REQUESTED
    if task.state is TaskState.SUSPENDED or resumed:
        if resumed:
            task.reason = ""
        elif task.wants_suspension:
            task.reason = SUSPEND_REQUESTED
        if task.state is TaskState.SUSPENDED:
            task.state = TaskState.RUNNING
        changes.record(state, task, now, effects)
