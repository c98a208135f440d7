"""What clients ask for: submit, cancel, hold, release. Pure.

A request is taken whole or refused whole; a repeated request_id with the same content gets the first answer.
"""

import heapq

import msgspec

from services.chassis.errors import ServiceError
from services.chassis.requests.marks import RequestIdReused
from services.scheduler.model import (
    Cause,
    Dependency,
    Now,
    Spec,
    TaskState,
    array_of,
    format_task_id,
    task_key,
)
from services.scheduler.refusals import (
    AccountHasTasks,
    AccountNotFound,
    DependencyMoved,
    ElementNotMade,
    TaskHasEnded,
    TaskIsNotHeld,
    TaskIsRunning,
    TooManyTasks,
)
from services.scheduler.requests import quotes, sharing
from services.scheduler.scheduling import entry, gathering
from services.scheduler.state import events as ev
from services.scheduler.state.effects import Answer, Effects, InsertSpec
from services.scheduler.state.state import State
from services.scheduler.state.task import Task
from services.scheduler.tasks import arrays, changes, commands, dependencies, lifecycle, silence

MOST_LIVE_TASKS = 5_000_000


def on_tasks_submitted(state: State, event: ev.TasksSubmitted, now: Now, effects: Effects) -> None:
    if event.account in state.closed_accounts:
        error = AccountNotFound(f"there is no account {event.account!r}", next_step="use a token of another")
        effects.answers.append(Answer(event.reply, error=error))
        return
    known = state.requests.get((event.account, event.request_id)) if event.request_id else None
    if known is not None:
        effects.answers.append(repeat(event.reply, event.content, known))
        return
    if len(state.tasks) + len(event.items) > MOST_LIVE_TASKS:
        effects.answers.append(
            Answer(event.reply, error=TooManyTasks(metadata={"most": str(MOST_LIVE_TASKS)}))
        )
        return
    if not all(
        dependencies.is_known(state, one, event.ended) for spec in event.specs for one in spec.dependencies
    ):
        effects.answers.append(Answer(event.reply, error=DependencyMoved()))
        return
    try:
        entry.check_submission(state, event.specs, event.items)
        rooms = quotes.plan(state, event.account, event.specs, event.items, now)
    except ServiceError as error:
        effects.answers.append(Answer(event.reply, error=error))
        return
    specs = [intern(state, event.account, spec, effects) for spec in event.specs]
    first = state.next_number
    count = len(event.items)
    request = None
    if event.request_id:
        request = (event.account, event.request_id, event.content, count)
        state.remember_request(event.account, event.request_id, event.content, first, count)
    gathering.enlist(state, specs, event.items, first, effects)
    for position, (index, params) in enumerate(event.items):
        spec, number = specs[index], first + position
        task = lifecycle.create(state, task_key(number), spec, event.account, params, now, effects, request)
        request = None
        if spec.dependencies:
            resolved = [_resolved(one, first) for one in spec.dependencies]
            dependencies.enter(state, task, resolved, event.ended, now, effects)
        if spec.quote:
            quotes.seat(state, task, rooms[position], now, effects)
        else:
            _enter(state, task, now, effects)
    state.next_number += count
    effects.answers.append(Answer(event.reply, first=first, count=count))


def on_specs_retired(state: State, event: ev.SpecsRetired, now: Now, effects: Effects) -> None:
    """What a task refers to that was taken in meanwhile stays."""
    used = {task.spec.number for task in state.tasks.values()}
    numbers = event.numbers - used
    for key in [key for key, spec in state.specs.items() if spec.number in numbers]:
        del state.specs[key]


def on_request_recalled(state: State, event: ev.RequestRecalled, now: Now, effects: Effects) -> None:
    state.remember_request(event.account, event.request_id, event.content, event.first, event.count)


def repeat(reply: int, content: bytes, known: tuple[bytes, int, int]) -> Answer:
    """The answer to a request whose id is known: the first one again, or that the content is another."""
    first_content, first, count = known
    if first_content != content:
        error = RequestIdReused(field="request_id", next_step="use a new UUID for a new request")
        return Answer(reply, error=error)
    return Answer(reply, first=first, count=count, is_repeat=True)


def intern(state: State, account: str, spec: Spec, effects: Effects) -> Spec:
    """The one record of this specification, made if it is new."""
    known = state.specs.get((account, spec.body))
    if known is not None:
        return known
    numbered = msgspec.structs.replace(spec, number=state.next_spec)
    state.next_spec += 1
    state.specs[(account, spec.body)] = numbered
    effects.rows.append(InsertSpec(numbered))
    return numbered


def _resolved(dependency: Dependency, first: int) -> Dependency:
    """On a task by its key, where it was on an item of the submission whose first number this is."""
    if dependency.on:
        return dependency
    return msgspec.structs.replace(dependency, on=task_key(first + dependency.item), item=-1)


def _enter(state: State, task: Task, now: Now, effects: Effects) -> None:
    spec = task.spec
    if spec.hold:
        task.state = TaskState.HELD
        task.reason = "HELD: submitted with hold"
        changes.record(state, task, now, effects)
        return
    if spec.queue_timeout_ms:
        heapq.heappush(state.queue_deadlines, (now.wall_ms + spec.queue_timeout_ms, task.key))
    if not task.awaits:
        task.ticket = state.waiting.append(task.queue, task.key)


def on_account_closed(state: State, event: ev.AccountClosed, now: Now, effects: Effects) -> None:
    live = sum(task.account == event.account for task in state.tasks.values())
    if live:
        error = AccountHasTasks(
            f"{event.account} has {live} unfinished tasks", field="name", next_step="cancel them or wait"
        )
        effects.answers.append(Answer(event.reply, error=error))
        return
    state.closed_accounts.add(event.account)
    state.contacts.pop(event.account, None)
    # Another account of this name begins anew.
    sharing.forget_account(state, event.account)
    effects.answers.append(Answer(event.reply))


def on_contacts_changed(state: State, event: ev.ContactsChanged, now: Now, effects: Effects) -> None:
    if event.contacts:
        state.contacts[event.account] = {contact.name: contact for contact in event.contacts}
    else:
        state.contacts.pop(event.account, None)


def on_account_opened(state: State, event: ev.AccountOpened, now: Now, effects: Effects) -> None:
    state.closed_accounts.discard(event.account)


def on_cancel_requested(state: State, event: ev.CancelRequested, now: Now, effects: Effects) -> None:
    for key in event.keys:
        task = state.tasks.get(key)
        if task is not None:
            cancel(state, task, event.grace_ms, event.comment, now, effects)
        elif arrays.has_unmade(state, key):
            arrays.cancel_unmade(state, key, event.comment, now, effects)
    effects.answers.append(Answer(event.reply, keys=event.keys))


def cancel(state: State, task: Task, grace_ms: int, comment: str, now: Now, effects: Effects) -> None:
    """A waiting task ends at once; one on a node is asked to. Asking twice changes nothing."""
    if task.tally is not None:
        arrays.cancel(state, task, grace_ms, comment, now, effects)
    elif task.node:
        if task.stop is not None:
            return
        if silence.is_waited_for(state, task):
            # Nobody there hears of it; should the node come back, it is told to stop what it has of it.
            task.reason = f"CANCELLED: {comment}"
            lifecycle.end(state, task, TaskState.CANCELLED, now, effects, cause=Cause.CANCELLED)
            return
        task.stop = (grace_ms, comment)
        changes.record_grace(task, effects)
        task.reason = f"CANCEL_REQUESTED: {comment}"
        changes.record(state, task, now, effects)
        commands.stop(task, state.cluster.nodes[task.node], effects, Cause.CANCELLED, comment, grace_ms)
    else:
        task.reason = f"CANCELLED: {comment}"
        lifecycle.end(state, task, TaskState.CANCELLED, now, effects, cause=Cause.CANCELLED)


def on_hold_requested(state: State, event: ev.HoldRequested, now: Now, effects: Effects) -> None:
    tasks = [state.tasks.get(key) for key in event.keys]
    for key, task in zip(event.keys, tasks, strict=True):
        if task is None:
            effects.answers.append(Answer(event.reply, error=absent(state, key)))
            return
        if task.node:
            error = TaskIsRunning(
                f"{format_task_id(key)} is already on {task.node}",
                next_step=f"yard tasks cancel {format_task_id(key)}",
            )
            effects.answers.append(Answer(event.reply, error=error))
            return
    for task in tasks:
        if task is not None and task.state is not TaskState.HELD:
            hold(state, task, "HELD: by request", now, effects)
    effects.answers.append(Answer(event.reply, keys=event.keys))


def hold(state: State, task: Task, reason: str, now: Now, effects: Effects) -> None:
    """Keeps a task that is on no node from starting."""
    task.state = TaskState.HELD
    task.reason = reason
    changes.record(state, task, now, effects)


def absent(state: State, key: int) -> ServiceError:
    """Why a task cannot be held, released or modified that is not among the unfinished ones."""
    name = format_task_id(key)
    if arrays.has_unmade(state, key):
        array = format_task_id(array_of(key))
        return ElementNotMade(
            f"the turn of {name} has not come", next_step=f"hold, release or modify the whole array {array}"
        )
    return TaskHasEnded(f"{name} has ended", next_step=f"yard tasks get {name}")


def on_release_requested(state: State, event: ev.ReleaseRequested, now: Now, effects: Effects) -> None:
    tasks = [state.tasks.get(key) for key in event.keys]
    for key, task in zip(event.keys, tasks, strict=True):
        if task is None:
            effects.answers.append(Answer(event.reply, error=absent(state, key)))
            return
        if task.state is not TaskState.HELD:
            error = TaskIsNotHeld(f"{format_task_id(key)} is not held")
            effects.answers.append(Answer(event.reply, error=error))
            return
    for task in tasks:
        if task is not None:
            release(state, task, now, effects)
    effects.answers.append(Answer(event.reply, keys=event.keys))


def release(state: State, task: Task, now: Now, effects: Effects) -> None:
    """Lets a held task wait for its turn."""
    # An array of which something was made goes on; it was never assigned itself.
    task.state = TaskState.RUNNING if task.tally is not None and task.start_ms else TaskState.QUEUED
    task.reason = ""
    if task.state is TaskState.QUEUED and not task.attempt:
        # Once it was on a node its queue timeout no longer counts.
        task.queued_ms = now.wall_ms
    changes.record(state, task, now, effects)
    if task.spec.queue_timeout_ms:
        heapq.heappush(state.queue_deadlines, (now.wall_ms + task.spec.queue_timeout_ms, task.key))
    if not task.awaits:
        task.ticket = state.waiting.append(task.queue, task.key)
