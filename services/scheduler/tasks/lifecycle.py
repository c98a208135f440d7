"""How one task moves: queued, assigned, running, ended, tried again. Pure.

Each move raises the revision, adds the row that records it (`changes`), and keeps queues and reservations in step.
Besides, `arrays` moves an array with its first element, `silence` a task whose original comes back, and
`requests.suspension` one that is stopped where it is.
"""

from msgspec import structs

from services.scheduler.model import (
    UNCOUNTED,
    Cause,
    FieldVerdict,
    Now,
    Spec,
    TaskState,
    VerdictKind,
    array_of,
    index_of,
)
from services.scheduler.placement.cluster import Node
from services.scheduler.resources import GPU
from services.scheduler.state.effects import (
    Effects,
    InsertTask,
)
from services.scheduler.state.state import State
from services.scheduler.state.tally import STARTED
from services.scheduler.state.task import Task
from services.scheduler.tasks import announce
from services.scheduler.tasks.changes import record, record_modification
from services.scheduler.tasks.commands import send_start
from services.scheduler.tasks.params import laid_over


def create(
    state: State,
    key: int,
    spec: Spec,
    account: str,
    params: str,
    now: Now,
    effects: Effects,
    request: tuple[str, str, bytes, int] | None = None,
) -> Task:
    """Makes a task and its row; it is queued, or held, by the caller."""
    state.revision += 1
    queue = state.waiting.queue(spec.shape)
    task = Task(key, spec, queue, account, params, now.wall_ms, state.revision)
    state.tasks[key] = task
    state.waiting.enter(task)
    state.changes.append((state.revision, key, account))
    effects.rows.append(InsertTask(key, state.revision, spec.number, account, params, now.wall_ms, request))
    return task


def assign(
    state: State,
    task: Task,
    node: Node,
    now: Now,
    effects: Effects,
    *,
    is_prefill: bool = False,
    devices: tuple[int, ...] | None = None,
) -> None:
    """Begins an attempt on a node; the token is on disk before the command leaves. ``devices`` None: any that fit."""
    amounts = task.spec.shape.amounts
    task.attempts += 1
    task.attempt = task.attempts
    task.epoch = state.epoch
    task.state = TaskState.ASSIGNED
    task.reason = ""
    task.node = node.id
    task.assign_ms = now.wall_ms
    task.start_ms = 0
    task.is_prefilled = is_prefill
    if is_prefill:
        task.devices = ()
        node.prefilled.append(task.key)
        state.prefilled[task.key] = now.monotonic_ms
        state.cluster.touch(node)
    else:
        take_room(state, task, node, devices)
        if task.queue.is_bound:
            keep_apart(state, task, 1)
        state.cluster.expect(node, node.command + 1, amounts)
    record(state, task, now, effects)
    send_start(task, node, effects)


def keep_apart(state: State, task: Task, change: int) -> None:
    """Counts a task that must keep apart from others in or out of its node."""
    if not task.spec.shape.is_distinct:
        return
    nodes = state.apart.setdefault(group_of(state, task), {})
    nodes[task.node] = nodes.get(task.node, 0) + change
    if not nodes[task.node]:
        del nodes[task.node]
    if not nodes:
        del state.apart[group_of(state, task)]


def group_of(state: State, task: Task) -> int:
    """Those that keep apart from each other: a gang, or an array."""
    gang = state.gangs.of(task.key)
    return gang.key if gang is not None else array_of(task.key)


def take_room(
    state: State, task: Task, node: Node, devices: tuple[int, ...] | None = None, *, is_fact: bool = False
) -> None:
    """Reserves what the task asks for on a node that has room for it. A fact is what the agent does by itself."""
    amounts = task.spec.shape.amounts
    if devices is None:
        devices = next((node.devices.choose(a) or () for name, a in amounts if name == GPU), ())
    task.devices = devices
    state.cluster.reserve(node, task.key, amounts, task.devices)
    state.waiting.take(task, is_fact=is_fact)


def pin(state: State, task: Task, node_id: str) -> None:
    """Ties a task that waits in no queue to a node, for further attempts too."""
    state.waiting.leave(task)
    task.queue = state.waiting.queue(structs.replace(task.spec.shape, node=node_id))
    state.waiting.enter(task)


def start(state: State, task: Task, start_ms: int, now: Now, effects: Effects) -> None:
    """The agent says that it runs; saying it again changes nothing."""
    if task.state is TaskState.ASSIGNED:
        task.start_ms = start_ms or now.wall_ms
        task.has_started = True
        task.state = TaskState.RUNNING
        record(state, task, now, effects)
        if state.dependents:
            state.dependents.note(task.key, STARTED)


def leave_node(state: State, task: Task) -> Node | None:
    """Takes the task off its node, whatever it held there; returns the node."""
    node = state.cluster.nodes.get(task.node)
    if node is not None and not state.cluster.free(node, task.key, task.devices):
        if task.key in node.prefilled:
            node.prefilled.remove(task.key)
            state.cluster.touch(node, is_gain=True)
        node.expected.discard(task.key)
    state.prefilled.pop(task.key, None)
    state.waiting.give(task)
    if task.queue.is_bound:
        keep_apart(state, task, -1)
    task.is_prefilled = False
    task.devices = ()
    return node


def promote_prefilled(state: State, node: Node) -> None:
    """Room was freed: the agent starts what waits there, first come first served; so its room is promised now."""
    while node.prefilled:
        key = node.prefilled[0]
        task = state.tasks[key]
        if not node.has_room(task.spec.shape.amounts):
            return
        node.prefilled.popleft()
        state.prefilled.pop(key, None)
        task.is_prefilled = False
        take_room(state, task, node, is_fact=True)


def end(
    state: State,
    task: Task,
    final: TaskState,
    now: Now,
    effects: Effects,
    *,
    cause: Cause = Cause.NONE,
    payload: bytes = b"",
    end_ms: int = 0,
) -> None:
    """The one outcome of a task. The record leaves memory; an element is counted in its array."""
    if task.node:
        leave_node(state, task)
    task.state = final
    record(state, task, now, effects, cause=cause, payload=payload, end_ms=end_ms)
    if task.account in state.contacts:
        announce.tell_end(state, task, final, now, effects)
    del state.tasks[task.key]
    state.waiting.leave(task)
    if task.queue.shape.gang:
        state.gangs.note(task.key, final)
    state.backing_off.discard(task.key)
    state.originals.discard(task.key)
    has_started = task.has_started or task.start_ms > 0
    if state.dependents:
        state.dependents.note(task.key, final | (STARTED if has_started else 0))
    array = state.tasks.get(array_of(task.key))
    if array is not None and array.tally is not None:
        array.tally.count(index_of(task.key), final, has_started=has_started)
        if array.tally.is_complete or has_failed_too_often(array):
            state.complete_arrays.add(array.key)
        unpark(state, array)


def has_failed_too_often(array: Task) -> bool:
    """Whether more elements have failed than may."""
    return array.tally is not None and 0 <= array.spec.max_fails < array.tally.failed


def unpark(state: State, array: Task) -> None:
    """Takes an array back into its queue, at its place, once something of it may start again."""
    tally = array.tally
    if tally is None or not tally.is_parked or array.awaits or array.state is TaskState.HELD:
        return
    if tally.has_turn():
        tally.is_parked = False
        state.waiting.insert(array.queue, array.ticket, array.key)


def requeue(
    state: State,
    task: Task,
    now: Now,
    effects: Effects,
    reason: str,
    *,
    cause: Cause = Cause.NONE,
    delay_ms: int = 0,
    payload: bytes = b"",
) -> None:
    """Takes the task back into its queue for a further attempt."""
    if task.node:
        leave_node(state, task)
    if task.start_ms and not task.has_started:
        # It ended so soon that its start was not told by itself.
        task.has_started = True
        state.dependents.note(task.key, STARTED)
    task.node = ""
    task.considered = ()
    task.limit_revision = task.resource_revision = 0
    is_held = task.wants_suspension
    task.state = TaskState.HELD if is_held else TaskState.QUEUED
    task.reason = f"HELD: suspended; {reason or 'it had not begun'}" if is_held else reason
    task.progress = None
    record(state, task, now, effects, cause=cause, payload=payload)
    if is_held:
        task.not_before_ms = 0
    elif delay_ms:
        task.not_before_ms = now.wall_ms + delay_ms
        state.backing_off.add(task.key)
    else:
        task.ticket = state.waiting.put_back(task.queue, task.key)
    if task.queue.shape.gang:
        state.gangs.note(task.key)
    if task.pending:
        adopt_pending(state, task, now, effects)


def adopt_pending(state: State, task: Task, now: Now, effects: Effects) -> None:
    """What the agent had yet to take in holds from the next attempt on."""
    for change in task.pending:
        task.params = laid_over(task.params, change.params)
        task.pending = task.pending[1:]
        message = f"from attempt {task.attempts + 1} on"
        verdicts = tuple(FieldVerdict(path, VerdictKind.APPLIED, message) for path in change.paths)
        record_modification(state, task, verdicts, now, effects, request_revision=change.revision)


def fail(
    state: State,
    task: Task,
    cause: Cause,
    reason: str,
    now: Now,
    effects: Effects,
    *,
    payload: bytes = b"",
    end_ms: int = 0,
    never_started: bool = False,
) -> None:
    """An attempt ended badly: the task is tried again where its policy says so, else that is its outcome.

    ``never_started``: that is proved. Without the proof what is delivered at most once is not tried again.
    """
    if task.stop is not None:
        task.reason = f"CANCELLED: {task.stop[1]}"
        end(
            state,
            task,
            TaskState.CANCELLED,
            now,
            effects,
            cause=Cause.CANCELLED,
            payload=payload,
            end_ms=end_ms,
        )
        return
    if cause not in UNCOUNTED:
        task.failures += 1
    retry = task.spec.retry
    may_start = never_started or not task.spec.is_at_most_once
    if may_start and retry.allows(cause, task.failures):
        delay = 0 if cause in UNCOUNTED else retry.delay_ms(task.failures)
        requeue(state, task, now, effects, reason, cause=cause, delay_ms=delay, payload=payload)
        return
    task.reason = reason
    if not may_start and cause in UNCOUNTED:
        task.reason += "; it may have run, and is started once at most"
    end(state, task, TaskState.FAILED, now, effects, cause=cause, payload=payload, end_ms=end_ms)
