"""What a modification does to a task (S0.7), and how its agent takes it in. Pure.

A task that waits takes everything at once. Of one on a node the labels change here, the run timeout and the parameters
are told to its agent: one change at a time, told again after every hello until it is answered. Parameters hold once the
agent has said so; where the attempt ends before that they hold from the next one on.
"""

import heapq

from msgspec import structs

from services.chassis.errors import ServiceError
from services.scheduler import events as ev
from services.scheduler import lifecycle, requests
from services.scheduler.cluster import Node
from services.scheduler.effects import Answer, Effects, ModifyTask
from services.scheduler.model import (
    FieldVerdict,
    Now,
    PendingChange,
    RevisionStale,
    Spec,
    TaskState,
    TooManyChanges,
    VerdictKind,
    format_task_id,
)
from services.scheduler.params import laid_over
from services.scheduler.state import State, Task

PARAMS, PARAMS_JSON, PRIORITY, LABELS = "params", "params_json", "priority", "labels"
QUEUE_TIMEOUT, RUN_TIMEOUT = "timeouts.queue_timeout", "timeouts.run_timeout"
# What can be modified, in the words of a field mask.
PATHS = (PARAMS, PARAMS_JSON, PRIORITY, QUEUE_TIMEOUT, RUN_TIMEOUT, LABELS)
# What a task on a node can still take.
RUNNING_PATHS = (PARAMS, PARAMS_JSON, RUN_TIMEOUT, LABELS)
MOST_PENDING = 64


def on_modify_requested(state: State, event: ev.ModifyRequested, now: Now, effects: Effects) -> None:
    """The answer's ``first`` is the revision under which the verdicts are recorded."""
    known = state.requests.get((event.account, event.request_id)) if event.request_id else None
    if known is not None:
        effects.answers.append(requests.repeat(event.reply, event.content, known))
        return
    task = state.tasks.get(event.key)
    if task is None:
        effects.answers.append(Answer(event.reply, error=requests.absent(state, event.key)))
        return
    if error := _objection(task, event):
        effects.answers.append(Answer(event.reply, error=error))
        return
    revision = state.revision + 1
    if task.node:
        verdicts = _take_on_node(state, task, event, revision, effects)
    else:
        verdicts = _take_waiting(state, task, event, effects)
    request = None
    if event.request_id:
        request = (event.account, event.request_id, event.content)
        state.remember_request(event.account, event.request_id, event.content, revision, 0)
    lifecycle.record_modification(state, task, verdicts, now, effects, request=request)
    effects.answers.append(Answer(event.reply, first=revision))


def _objection(task: Task, event: ev.ModifyRequested) -> ServiceError | None:
    """Why the whole request is refused; None: it is not."""
    name = format_task_id(task.key)
    if event.base != task.spec.number or (event.revision and not _is_current(task, event.revision)):
        return RevisionStale(
            f"{name} is at revision {task.revision}, not {event.revision}", field="revision",
            next_step=f"look at it again: yard tasks get {name}",
            metadata={"task_id": name, "revision": str(task.revision)},
        )  # fmt: skip
    if len(task.pending) >= MOST_PENDING:
        return TooManyChanges(
            f"{len(task.pending)} changes of {name} wait for {task.node}",
            next_step=f"yard nodes get {task.node}",
        )
    return None


def _is_current(task: Task, revision: int) -> bool:
    return task.recorded <= revision <= task.revision


def _take_waiting(
    state: State, task: Task, event: ev.ModifyRequested, effects: Effects
) -> tuple[FieldVerdict, ...]:
    """Everything holds at once; of an array for the elements whose turn has not come."""
    message = "" if task.tally is None else "for elements whose turn has not come"
    task.params = laid_over(task.params, event.params)
    _respecify(state, task, requests.intern(state, task.account, event.waiting, effects))
    limit_ms = task.spec.queue_timeout_ms
    verdicts = [FieldVerdict(path, VerdictKind.APPLIED, message) for path in event.paths]
    if QUEUE_TIMEOUT in event.paths:
        if task.attempt or task.start_ms:
            past = "it was on a node before, so its queue timeout no longer counts"
            verdicts[event.paths.index(QUEUE_TIMEOUT)] = FieldVerdict(
                QUEUE_TIMEOUT, VerdictKind.APPLIED, past
            )
        elif limit_ms and task.state is TaskState.QUEUED:
            heapq.heappush(state.queue_deadlines, (task.queued_ms + limit_ms, task.key))
    return tuple(verdicts)


def _respecify(state: State, task: Task, spec: Spec) -> None:
    """Gives a task that is on no node another specification; with another priority it moves to another queue."""
    task.spec = spec
    # A quote ties it to its node for good.
    shape = structs.replace(spec.shape, node=task.queue.shape.node) if spec.quote else spec.shape
    queue = state.waiting.queue(shape)
    if queue is task.queue:
        return
    state.waiting.leave(task)
    task.queue = queue
    state.waiting.enter(task)
    has_turn = task.tally is None or task.tally.left > 0
    is_free = task.state is not TaskState.HELD and task.key not in state.backing_off
    if has_turn and is_free and not task.awaits:
        state.waiting.insert(queue, task.ticket, task.key)


def _take_on_node(
    state: State, task: Task, event: ev.ModifyRequested, revision: int, effects: Effects
) -> tuple[FieldVerdict, ...]:
    """Labels hold at once; parameters and run timeout are told to the agent; for the rest it is too late."""
    node = state.cluster.nodes[task.node]
    told = tuple(path for path in event.paths if path in (PARAMS, PARAMS_JSON, RUN_TIMEOUT))
    is_first = not task.pending
    # Its shape is the same: priority is not among what a running task takes.
    task.spec = requests.intern(state, task.account, event.running, effects)
    if told:
        limit_ms = task.spec.run_timeout_ms if RUN_TIMEOUT in told else None
        task.pending += (PendingChange(revision, told, event.params, limit_ms),)
        if limit_ms is not None:
            task.limit_revision = revision
        if is_first:
            send_pending(task, node, effects)
    late = f"it is on {node.id} already"
    if task.state is TaskState.RUNNING:
        late = f"it is running on {node.id} already"
    way = f"it is on its way to {node.id}"
    if not node.session:
        way = f"{node.id} is not connected; it is told when it is back"
    verdicts = []
    for path in event.paths:
        if path in told:
            verdicts.append(FieldVerdict(path, VerdictKind.DEFERRED, way))
        elif path in RUNNING_PATHS:
            verdicts.append(FieldVerdict(path, VerdictKind.APPLIED))
        else:
            verdicts.append(FieldVerdict(path, VerdictKind.REJECTED, late))
    return tuple(verdicts)


def send_pending(task: Task, node: Node, effects: Effects) -> None:
    """Tells the agent of the oldest change that it is yet to take in, if there is one and it can hear."""
    if task.pending and node.session:
        change = task.pending[0]
        command = ModifyTask(task.key, task.attempt, change.revision, change.params, change.run_timeout_ms)
        lifecycle.send(node, command, effects)


def tell_again(task: Task, node: Node, effects: Effects) -> None:
    """After a hello: an agent process that is new knows nothing of the timeout that its predecessor was told."""
    if task.limit_revision:
        command = ModifyTask(task.key, task.attempt, task.limit_revision, "", task.spec.run_timeout_ms)
        lifecycle.send(node, command, effects)
    send_pending(task, node, effects)


def on_task_modified(
    state: State, node: Node, task: Task, report: ev.TaskModified, now: Now, effects: Effects
) -> None:
    """The agent's word on fields of the change that is under way; what it has said before changes nothing."""
    change = task.pending[0] if task.pending else None
    if change is None or change.revision != report.revision:
        return
    verdicts, left, params, limit_ms = [], list(change.paths), change.params, change.run_timeout_ms
    for name, is_accepted, message in report.fields:
        path = next((p for p in left if p == name or (p == PARAMS and name == PARAMS_JSON)), "")
        if not path:
            continue
        left.remove(path)
        kind = VerdictKind.APPLIED if is_accepted else VerdictKind.REJECTED
        verdicts.append(FieldVerdict(path, kind, message))
        if path == RUN_TIMEOUT:
            limit_ms = None
        else:
            task.params = laid_over(task.params, params if is_accepted else "")
            params = ""
    if not verdicts:
        return
    rest = (PendingChange(change.revision, tuple(left), params, limit_ms),) if left else ()
    task.pending = rest + task.pending[1:]
    lifecycle.record_modification(
        state, task, tuple(verdicts), now, effects, request_revision=change.revision
    )
    if not left:
        send_pending(task, node, effects)
