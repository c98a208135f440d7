"""From what the database holds to the state that the machine goes on with. Pure."""

import heapq

from msgspec import structs

from services.scheduler.model import (
    ON_NODE,
    UNCOUNTED,
    Cause,
    Now,
    Original,
    Spec,
    TaskState,
    VerdictKind,
    array_of,
    task_key,
)
from services.scheduler.nodes import pace
from services.scheduler.queues.shares import HALF_LIFE_MS
from services.scheduler.records.rows import ArrayRow, ChangeRow, ModificationRow, Recovered, TaskRow
from services.scheduler.requests import sharing
from services.scheduler.requests.modification import RESOURCES, RUN_TIMEOUT
from services.scheduler.state.effects import Effects, RecordGang
from services.scheduler.state.gangs import Gang, Phase
from services.scheduler.state.members import muster
from services.scheduler.state.state import REMEMBERED_CHANGES, State
from services.scheduler.state.task import Task
from services.scheduler.tasks import commands, dependencies, lifecycle, silence

# How long nodes have to come back after a restart before what ran there is tried elsewhere.
FAILOVER_LEASE_MS = 30_000


def restore(recovered: Recovered, now: Now, half_life_ms: int = HALF_LIFE_MS) -> State:
    """The state as of the last commit, under the counters' epoch; tasks on nodes wait for their agents' hello."""
    counters = recovered.counters
    state = State(counters.epoch, counters.next_number, counters.revision, half_life_ms)
    state.next_spec = counters.next_spec
    state.waiting.advance(now, state.cluster)
    sharing.restore(state, recovered.queues, recovered.account_settings, recovered.uses, now)
    # A stall is credited from now on, even one that begins before the first tick.
    state.last_tick_ms = now.monotonic_ms
    specs = {spec.number: spec for spec in recovered.specs}
    for spec in recovered.specs:
        state.specs[(recovered.accounts_of_specs[spec.number], spec.body)] = spec
    state.contacts = recovered.contacts
    for account, request_id, content, first, count in recovered.requests:
        state.remember_request(account, request_id, content, first, count)
    state.has_forgotten_requests = recovered.has_more_requests
    # A task to which nothing has happened yet is in no other row.
    untouched = [
        (row.revision, row.key, row.account) for row in recovered.tasks if row.key not in recovered.changes
    ]
    state.changes.extend(sorted([*recovered.recent, *untouched]))
    # Before the oldest of these nothing can be replayed; with fewer than asked for they are all there are.
    is_full = len(recovered.recent) >= REMEMBERED_CHANGES
    state.compacted_revision = recovered.recent[0][0] - 1 if is_full else recovered.pruned_revision
    for node_id, is_cordoned, labels, drain_deadline_ms in recovered.nodes:
        node = state.cluster.add(node_id)
        node.is_cordoned = is_cordoned
        node.drain_deadline_ms = node.drain_again_ms = drain_deadline_ms
        node.label_overrides = {name: None if removed else value for name, value, removed in labels}
    for row in recovered.tasks:
        modifications = recovered.modifications.get(row.key, [])
        if modifications:
            row = structs.replace(row, spec=modifications[-1].spec, params=modifications[-1].params)
        waits = row.key in recovered.dependencies
        changes = recovered.changes.get(row.key, [])
        _restore_task(state, row, specs[row.spec], changes, now, enters=not waits)
        _restore_modifications(state.tasks[row.key], modifications, changes)
        stop = state.tasks[row.key].stop
        if stop is not None and row.key in recovered.graces:
            # Elements of an array come after it, and have its own.
            state.tasks[row.key].stop = (recovered.graces[row.key], stop[1])
    state.originals.update(key for key, task in state.tasks.items() if task.original is not None)
    for key, array in recovered.arrays.items():
        _restore_tally(state, state.tasks[key], array)
    _restore_dependencies(state, recovered, now)
    for key in recovered.arrays:
        _enter_array(state, state.tasks[key])
    for gang in recovered.gangs:
        _restore_gang(state, gang)
    for task in state.tasks.values():
        if task.node and task.queue.is_bound:
            lifecycle.keep_apart(state, task, 1)
    state.waiting.tell()
    return state


def _restore_dependencies(state: State, recovered: Recovered, now: Now) -> None:
    """Only what has not happened is still waited for; the rows are there already."""
    for key, wanted in sorted(recovered.dependencies.items()):
        task = state.tasks[key]
        if task.attempt:
            continue
        dependencies.enter(state, task, wanted, recovered.ended, now, Effects())
        if task.tally is None and task.state is TaskState.QUEUED and not task.awaits:
            task.ticket = state.waiting.append(task.queue, key, task.queued_ms)


def _enter_array(state: State, array: Task) -> None:
    tally = array.tally
    assert tally is not None
    if tally.is_complete:
        state.complete_arrays.add(array.key)
    elif array.state is not TaskState.HELD and tally.left and not array.awaits:
        array.ticket = state.waiting.append(array.queue, array.key, array.queued_ms)


def _restore_gang(state: State, row: RecordGang) -> None:
    """How far it is shows in where its members are."""
    gang = Gang(row.key, row.name, dict(row.units))
    if not any(unit in state.tasks for unit in gang.units):
        return
    state.gangs.add(gang)
    found = muster(state, gang)
    if row.is_loose:
        gang.phase = Phase.LOOSE
    elif not found.missing:
        gang.phase = Phase.FORMED
    elif found.placed:
        gang.phase = Phase.DISSOLVING


def _restore_task(
    state: State, row: TaskRow, spec: Spec, changes: list[ChangeRow], now: Now, *, enters: bool
) -> None:
    shape = spec.shape
    if spec.quote and (quoted := next((change.node for change in changes if change.node), "")):
        shape = structs.replace(shape, node=quoted)
    queue = state.waiting.queue(shape)
    task = Task(row.key, spec, queue, row.account, row.params, row.submit_ms, row.revision)
    state.tasks[row.key] = task
    state.waiting.enter(task)
    for change in changes:
        _replay(task, change)
    array = state.tasks.get(array_of(row.key), task)
    if task.node and task.stop is None:
        # The cancel of an array is one row, its own; keys come in order, so it is here before its elements.
        task.stop = array.stop
    if task.state is TaskState.QUEUED and spec.queue_timeout_ms and task.attempt == 0:
        heapq.heappush(state.queue_deadlines, (task.queued_ms + spec.queue_timeout_ms, row.key))
    if task.tally is not None:
        return
    if task.state in ON_NODE:
        _expect(state, task, now)
    elif task.state is TaskState.QUEUED:
        last = next((c for c in reversed(changes) if not c.detail.startswith(silence.KEPT_REPLACEMENT)), None)
        if last is not None and _is_counted(last):
            task.not_before_ms = last.time_ms + spec.retry.delay_ms(task.failures)
            state.backing_off.add(row.key)
        elif enters or task.attempt:
            task.ticket = state.waiting.append(queue, row.key, task.queued_ms)


def _replay(task: Task, change: ChangeRow) -> None:
    was = task.original
    is_back = was is not None and change.node != "" and change.attempt == was.attempt
    if is_back or change.detail.startswith(silence.KEPT_REPLACEMENT):
        task.original = None
    if _is_given_up(change) and silence.may_return(task):
        task.original = Original(task.node, task.attempt, task.epoch, task.start_ms, task.devices)
    task.state = TaskState(change.state)
    task.revision = task.recorded = change.revision
    task.attempt = change.attempt
    task.attempts = max(task.attempts, change.attempt)
    task.epoch = change.epoch
    task.node = change.node
    task.start_ms = change.start_ms
    task.has_started |= change.start_ms > 0
    task.reason = change.detail
    if task.state is TaskState.ASSIGNED:
        task.assign_ms = change.time_ms
    if change.detail.startswith("CANCEL_REQUESTED: "):
        task.stop = (commands.DEFAULT_GRACE_MS, change.detail.removeprefix("CANCEL_REQUESTED: "))
    task.devices = tuple(map(int, change.devices.split(","))) if change.devices else ()
    if task.state is TaskState.QUEUED and not change.attempt:
        task.queued_ms = change.time_ms
    if _is_counted(change):
        task.failures += 1


def _restore_modifications(
    task: Task, modifications: list[ModificationRow], changes: list[ChangeRow]
) -> None:
    """What its agent is yet to be told, and what a new process of the agent is to be told again."""
    if not modifications:
        return
    latest = modifications[-1]
    if latest.revision > max(map(_revision_given_up, changes), default=0):
        # An attempt that was replaced before does not know of it.
        task.original = None
    task.pending = latest.pending
    task.revision = task.recorded = max(task.revision, latest.revision)
    for row in modifications:
        asks_limit = any(verdict.path == RUN_TIMEOUT for verdict in row.verdicts)
        if task.node and row.attempt == task.attempt and asks_limit:
            task.limit_revision = row.request_revision
        if task.original is not None and row.attempt == task.original.attempt and asks_limit:
            task.original = structs.replace(task.original, limit_revision=row.request_revision)
        for verdict in row.verdicts:
            if task.node and row.attempt == task.attempt and verdict.path == RESOURCES:
                is_refused = verdict.kind is VerdictKind.REJECTED
                task.resource_revision = 0 if is_refused else row.request_revision


def _is_given_up(change: ChangeRow) -> bool:
    """Whether it is tried elsewhere from here on because its node was silent."""
    return change.cause == Cause.NODE_LOST and not change.node and f"{silence.SILENT}: " in change.detail


def _revision_given_up(change: ChangeRow) -> int:
    return change.revision if _is_given_up(change) else 0


def _is_counted(change: ChangeRow) -> bool:
    """Whether it takes a task back into its queue after a failure of its own."""
    back = change.state in (TaskState.QUEUED, TaskState.HELD)
    return back and change.cause != 0 and Cause(change.cause) not in UNCOUNTED


def _expect(state: State, task: Task, now: Now) -> None:
    node = state.cluster.add(task.node)
    node.expected.add(task.key)
    state.waiting.take(task, is_fact=True)
    node.lease_ms = now.monotonic_ms + max(FAILOVER_LEASE_MS, pace.lease_ms(len(state.cluster.nodes)))


def _restore_tally(state: State, array: Task, row: ArrayRow) -> None:
    tally = array.tally
    assert tally is not None
    if row.next_index:
        tally.next_index = row.next_index
    for index in row.skipped:
        tally.pass_over(index)
    tally.succeeded = row.ended.get(TaskState.SUCCEEDED, 0)
    tally.failed = row.ended.get(TaskState.FAILED, 0)
    tally.cancelled = row.ended.get(TaskState.CANCELLED, 0)
    tally.active = tally.total - tally.left - tally.succeeded - tally.failed - tally.cancelled
    tally.is_partial = bool(row.ended)
    if array.stop is not None:
        tally.close()


def live_from(state: State) -> int:
    """No unfinished task has a key below this."""
    return min((array_of(key) for key in state.tasks), default=task_key(state.next_number))
