"""What a modification does to a task (S0.7), and how its agent takes it in. Pure.

A task that waits takes everything at once. Of one on a node the labels change here, the run timeout and the parameters
are told to its agent: one change at a time, told again after every hello until it is answered. Parameters hold once the
agent has said so; where the attempt ends before that they hold from the next one on.
"""

import heapq
from collections.abc import Sequence

from msgspec import structs

from services.chassis.errors import ServiceError
from services.scheduler.model import (
    FieldVerdict,
    Now,
    PendingChange,
    Spec,
    TaskState,
    VerdictKind,
    format_task_id,
)
from services.scheduler.placement.cluster import Node
from services.scheduler.refusals import RevisionStale, TooManyChanges
from services.scheduler.requests import resizing, tasks
from services.scheduler.state import events as ev
from services.scheduler.state.effects import Answer, Effects, ModifyTask, RecordRequest
from services.scheduler.state.state import State
from services.scheduler.state.task import Task
from services.scheduler.tasks import changes, commands
from services.scheduler.tasks.params import laid_over

PARAMS, PARAMS_JSON, PRIORITY, LABELS = "params", "params_json", "priority", "labels"
ATTACHMENTS, RESOURCES = "attachments", "resources"
QUEUE_TIMEOUT, RUN_TIMEOUT = "timeouts.queue_timeout", "timeouts.run_timeout"
# What can be modified, in the words of a field mask.
PATHS = (PARAMS, PARAMS_JSON, PRIORITY, QUEUE_TIMEOUT, RUN_TIMEOUT, LABELS, ATTACHMENTS, RESOURCES)
# What a task on a node can still take, and what of it its agent is told.
RUNNING_PATHS = (PARAMS, PARAMS_JSON, RUN_TIMEOUT, LABELS, ATTACHMENTS, RESOURCES)
TOLD_PATHS = (PARAMS, PARAMS_JSON, RUN_TIMEOUT, ATTACHMENTS, RESOURCES)
# What holds at once of a task on a node, and no longer if its agent refuses.
REFUSABLE = (ATTACHMENTS, RESOURCES)
MOST_PENDING = 64


def on_modify_requested(state: State, event: ev.ModifyRequested, now: Now, effects: Effects) -> None:
    """The answer's ``first`` is the revision under which the verdicts are recorded."""
    known = state.requests.get((event.account, event.request_id)) if event.request_id else None
    if known is not None:
        effects.answers.append(tasks.repeat(event.reply, event.content, known))
        return
    task = state.tasks.get(event.key)
    if task is None:
        effects.answers.append(Answer(event.reply, error=tasks.absent(state, event.key)))
        return
    if error := _objection(task, event):
        effects.answers.append(Answer(event.reply, error=error))
        return
    request = None
    if event.request_id:
        request = (event.account, event.request_id, event.content)
        state.remember_request(event.account, event.request_id, event.content, state.revision + 1, 0)
    effects.answers.append(Answer(event.reply, first=take(state, task, event, now, effects, request)))


def on_tasks_modify_requested(
    state: State, event: ev.TasksModifyRequested, now: Now, effects: Effects
) -> None:
    """All or none. The verdicts are recorded under ``count`` revisions from the answer's ``first`` on."""
    known = state.requests.get((event.account, event.request_id)) if event.request_id else None
    if known is not None:
        effects.answers.append(tasks.repeat(event.reply, event.content, known))
        return
    for change in event.changes:
        task = state.tasks.get(change.key)
        error = tasks.absent(state, change.key) if task is None else _objection(task, change)
        if error is not None:
            effects.answers.append(Answer(event.reply, error=error))
            return
    first = state.revision + 1
    for change in event.changes:
        take(state, state.tasks[change.key], change, now, effects)
    count = state.revision + 1 - first
    if event.request_id:
        row = RecordRequest(event.account, event.request_id, event.content, first, count)
        state.remember_request(event.account, event.request_id, event.content, first, count)
        effects.rows.append(row)
    effects.answers.append(Answer(event.reply, first=first, count=count))


def take(
    state: State,
    task: Task,
    event: ev.ModifyRequested,
    now: Now,
    effects: Effects,
    request: tuple[str, str, bytes] | None = None,
) -> int:
    """Changes the task; the revision under which the verdicts are recorded."""
    revision = state.revision + 1
    if task.node:
        verdicts = _take_on_node(state, task, event, revision, effects)
    else:
        verdicts = _take_waiting(state, task, event, effects)
    changes.record_modification(state, task, verdicts, now, effects, request=request)
    return revision


def foresee(task: Task, paths: Sequence[str]) -> tuple[FieldVerdict, ...]:
    """What would become of each field; nothing is changed."""
    if not task.node:
        return tuple(FieldVerdict(path, VerdictKind.APPLIED) for path in paths)
    found = []
    for path in paths:
        if path in TOLD_PATHS:
            found.append(
                FieldVerdict(path, VerdictKind.DEFERRED, f"its agent on {task.node} has the last word")
            )
        elif path in RUNNING_PATHS:
            found.append(FieldVerdict(path, VerdictKind.APPLIED))
        else:
            found.append(FieldVerdict(path, VerdictKind.REJECTED, f"it is on {task.node} already"))
    return tuple(found)


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
    _respecify(state, task, tasks.intern(state, task.account, event.waiting, effects))
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
    refusal = resizing.refusal(task, node, event.running) if RESOURCES in event.paths else ""
    told = tuple(p for p in event.paths if p in TOLD_PATHS and not (refusal and p == RESOURCES))
    is_first = not task.pending
    held = task.holding
    fallbacks = [(paths, tasks.intern(state, task.account, spec, effects)) for paths, spec in event.fallbacks]
    chosen = next(spec for paths, spec in fallbacks if paths == (RESOURCES,)) if refusal else event.running
    resizing.respecify(state, task, tasks.intern(state, task.account, chosen, effects))
    if told:
        limit_ms = task.spec.run_timeout_ms if RUN_TIMEOUT in told else None
        attachments = event.attachments if ATTACHMENTS in told else ()
        amounts = held if RESOURCES in told else ()
        numbers = tuple((paths, spec.number) for paths, spec in fallbacks)
        task.pending += (
            PendingChange(
                revision,
                told,
                event.params,
                limit_ms,
                attachments,
                amounts,
                task.spec.number,
                numbers,
                (RESOURCES,) if refusal else (),
            ),
        )
        if limit_ms is not None:
            task.limit_revision = revision
        if amounts:
            task.resource_revision = revision
            resizing.settle(state, task, node)
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
        elif path == RESOURCES:
            verdicts.append(FieldVerdict(path, VerdictKind.REJECTED, refusal))
        elif path in RUNNING_PATHS:
            verdicts.append(FieldVerdict(path, VerdictKind.APPLIED))
        else:
            verdicts.append(FieldVerdict(path, VerdictKind.REJECTED, late))
    return tuple(verdicts)


def send_pending(task: Task, node: Node, effects: Effects) -> None:
    """Tells the agent of the oldest change that it is yet to take in, if there is one and it can hear."""
    if task.pending and node.session:
        change = task.pending[0]
        command = ModifyTask(
            task.key, task.attempt, change.revision, change.params, change.run_timeout_ms, change.attachments,
            task.spec.body if change.amounts else b"",
        )  # fmt: skip
        commands.send(node, command, effects)


def tell_again(task: Task, node: Node, effects: Effects) -> None:
    """After a hello: an agent process that is new knows nothing of the timeout that its predecessor was told."""
    if task.limit_revision:
        command = ModifyTask(task.key, task.attempt, task.limit_revision, "", task.spec.run_timeout_ms)
        commands.send(node, command, effects)
    if task.resource_revision:
        command = ModifyTask(task.key, task.attempt, task.resource_revision, "", None, (), task.spec.body)
        commands.send(node, command, effects)
    send_pending(task, node, effects)


def on_task_modified(
    state: State, node: Node, task: Task, report: ev.TaskModified, now: Now, effects: Effects
) -> None:
    """The agent's word on fields of the change that is under way; what it has said before changes nothing."""
    change = task.pending[0] if task.pending else None
    if change is None or change.revision != report.revision:
        return
    verdicts, left = [], list(change.paths)
    for name, is_accepted, message in report.fields:
        path = next((p for p in left if p == name or (p == PARAMS and name == PARAMS_JSON)), "")
        if not path:
            continue
        left.remove(path)
        change = _answered(task, change, path, is_accepted)
        kind = VerdictKind.APPLIED if is_accepted else VerdictKind.REJECTED
        if not is_accepted and path in REFUSABLE:
            if task.spec.number == change.spec:
                change = _withdraw(state, task, change, path)
            else:
                # It was modified again since, on top of this.
                kind, message = VerdictKind.APPLIED, f"from the next attempt on; not now: {message}"
        verdicts.append(FieldVerdict(path, kind, message))
    if not verdicts:
        return
    change = structs.replace(change, paths=tuple(left))
    task.pending = ((change,) if left else ()) + task.pending[1:]
    resizing.settle(state, task, node)
    changes.record_modification(state, task, tuple(verdicts), now, effects, request_revision=change.revision)
    if not left:
        send_pending(task, node, effects)


def _withdraw(state: State, task: Task, change: PendingChange, path: str) -> PendingChange:
    """The task goes on with the specification that does without the path."""
    withdrawn = tuple(sorted({*change.withdrawn, path}))
    number = dict(change.fallbacks)[withdrawn]
    spec = next(spec for spec in state.specs.values() if spec.number == number)
    resizing.respecify(state, task, spec)
    return structs.replace(change, spec=number, withdrawn=withdrawn)


def _answered(task: Task, change: PendingChange, path: str, is_accepted: bool) -> PendingChange:
    """Takes the answer to one path in; what is left of the change."""
    if path == RUN_TIMEOUT:
        return structs.replace(change, run_timeout_ms=None)
    if path == ATTACHMENTS:
        return structs.replace(change, attachments=())
    if path == RESOURCES:
        if not is_accepted and task.resource_revision == change.revision:
            task.resource_revision = 0
        return structs.replace(change, amounts=())
    task.params = laid_over(task.params, change.params if is_accepted else "")
    return structs.replace(change, params="")
