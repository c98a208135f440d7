"""What becomes of tasks whose node is silent, and of those that come back with it (``TaskSpec.disconnect``). Pure.

When a node's lease is over a task is tried elsewhere at once (REPLACE), after its agent must have ended it (STOP), or
is waited for (KEEP); ``lost_after`` makes the first two wait longer, and gives the last one an end. The agent that is
silent goes on with REPLACE and KEEP tasks, so there can be two of a task: the one with the current token counts. The
other one, the *original*, is remembered until its node is back; then one of them is kept and the other is told to stop.
"""

from services.scheduler.model import Cause, DisconnectMode, Now, Original, Reconciliation, TaskState
from services.scheduler.placement import occupancy
from services.scheduler.placement.cluster import Node
from services.scheduler.state import events as ev
from services.scheduler.state.effects import Effects
from services.scheduler.state.state import State
from services.scheduler.state.tally import STARTED
from services.scheduler.state.task import Task
from services.scheduler.tasks import changes, commands, lifecycle

# From when an agent begins to end a task by itself until nothing of it can be left: grace and kill (S0.3, promise 2).
SELF_STOP_MS = 8_000
# The first word of a change that gives a task up to a silent node; after it an original may come back.
SILENT = "NODE_SILENT"
WAITED_FOR = "WAITING_FOR_NODE"
KEPT_ORIGINAL, KEPT_REPLACEMENT = "KEPT_ORIGINAL", "KEPT_REPLACEMENT"
LEASE_OVER = "its lease is over"


def patience_ms(task: Task, node: Node) -> int | None:
    """How long after the end of the node's lease the task is tried elsewhere; None: it is waited for."""
    wish = task.spec.disconnect
    if task.stop is not None:
        return 0
    if wish.mode is DisconnectMode.KEEP and not wish.lost_after_ms:
        return None
    longer_ms = max(wish.lost_after_ms - node.lease_span_ms, 0)
    return longer_ms + SELF_STOP_MS if wish.mode is DisconnectMode.STOP else longer_ms


def give_up(state: State, node: Node, overdue_ms: int, now: Now, effects: Effects) -> None:
    """Tries elsewhere what has waited long enough for a node whose lease is over by ``overdue_ms``."""
    for key in node.believed():
        task = state.tasks[key]
        patience = patience_ms(task, node)
        if patience is not None and patience <= overdue_ms:
            _replace(state, task, node, now, effects)
        elif not task.wants_suspension and not task.reason.startswith(WAITED_FOR):
            task.reason = f"{WAITED_FOR}: {node.id} is silent, and may go on with it"
            changes.record(state, task, now, effects)
    if node.believed():
        state.absent.add(node.id)
    else:
        state.absent.discard(node.id)


def _replace(state: State, task: Task, node: Node, now: Now, effects: Effects) -> None:
    if may_return(task):
        remember(state, task)
    lifecycle.fail(state, task, Cause.NODE_LOST, f"{SILENT}: {node.id}: {LEASE_OVER}", now, effects)


def may_return(task: Task) -> bool:
    """Whether its node may come back with it. A STOP task has ended there by then; one that is started at most once
    has its outcome; members of a gang start again together; and nobody else may be where it was to be alone."""
    if task.queue.is_bound:
        return False
    is_over = task.spec.disconnect.mode is DisconnectMode.STOP or task.spec.is_at_most_once
    return not is_over and task.stop is None


def remember(state: State, task: Task) -> None:
    """Its present attempt becomes the original."""
    was = (task.node, task.attempt, task.epoch, task.start_ms, task.devices, task.limit_revision)
    task.original = Original(*was)
    state.originals.add(task.key)


def forget(state: State, task: Task) -> None:
    task.original = None
    state.originals.discard(task.key)


def is_waited_for(state: State, task: Task) -> bool:
    """Whether its node is lost and may come back with it: nobody there hears of an order to end."""
    return task.node in state.absent


def on_back(state: State, task: Task) -> bool:
    """Its node is back with it. True: it was waited for, and the change wants a row."""
    waited = task.reason.startswith(WAITED_FOR)
    if waited:
        task.reason = ""
    return waited


# --- originals


def original_of(state: State, node: Node, held: ev.HeldTask) -> Task | None:
    """The task whose original the agent still has; None: it is nobody's."""
    task = state.tasks.get(held.key)
    was = task.original if task is not None else None
    is_it = was is not None and (was.node, was.attempt, was.epoch) == (node.id, held.attempt, held.epoch)
    return task if is_it else None


def drop_missing(state: State, node: Node, held: tuple[ev.HeldTask, ...], now: Now, effects: Effects) -> None:
    """Originals that the node was to come back with and does not have."""
    if not state.originals:
        return
    here = {(task.key, task.attempt, task.epoch) for task in held}
    for key in sorted(state.originals):
        task = state.tasks[key]
        was = task.original
        if was is not None and was.node == node.id and (key, was.attempt, was.epoch) not in here:
            _keep_replacement(state, task, f"{node.id} no longer has attempt {was.attempt}", now, effects)


def reconcile(state: State, task: Task, node: Node, held: ev.HeldTask, now: Now, effects: Effects) -> bool:
    """Keeps one of the two and stops the other. Whether it is the original, which then has the current token."""
    why = _why_original(state, task, node, held)
    if not why:
        was = task.original
        assert was is not None
        _keep_replacement(state, task, f"attempt {was.attempt} on {node.id} came back too late", now, effects)
        return False
    _adopt(state, task, node, held, why, now, effects)
    return True


def _why_original(state: State, task: Task, node: Node, held: ev.HeldTask) -> str:
    """Why the original is kept; empty: it is not."""
    never_ran = held.ended is None and not held.is_running
    is_held = task.state is TaskState.HELD and not held.is_suspended
    if task.stop is not None or is_held or never_ran:
        return ""
    if not task.node or task.node in state.absent:
        return "nothing has taken its place"
    if held.ended is not None and held.ended.cause is not Cause.NONE:
        return ""
    rule = task.spec.disconnect.reconciliation
    if rule is Reconciliation.KEEP_ORIGINAL:
        return "as was asked for"
    if rule is Reconciliation.LONGEST_RUNNING and (held.ended is not None or _ran_longer(task)):
        return "it has run longer"
    if rule is Reconciliation.BEST_SCORE and (held.ended is not None or _is_less_busy(state, task, node)):
        return f"{node.id} is less occupied than {task.node}"
    return ""


def _ran_longer(task: Task) -> bool:
    was = task.original
    assert was is not None
    return task.state is TaskState.ASSIGNED or (was.start_ms or task.start_ms) <= task.start_ms


def _is_less_busy(state: State, task: Task, node: Node) -> bool:
    """Each with the task on it."""
    with_it = dict(node.reserved)
    for name, amount in task.spec.shape.amounts:
        with_it[name] = with_it.get(name, 0) + amount
    score = occupancy.worst(node.capacity, with_it, node.measured, node.newer_sum)
    return score <= state.cluster.nodes[task.node].score


def _keep_replacement(state: State, task: Task, why: str, now: Now, effects: Effects) -> None:
    """On disk, so that after a restart nobody decides otherwise: the original may be ending already."""
    forget(state, task)
    task.reason = f"{KEPT_REPLACEMENT}: {why}"
    changes.record(state, task, now, effects)


def _adopt(
    state: State, task: Task, node: Node, held: ev.HeldTask, why: str, now: Now, effects: Effects
) -> None:
    """The original's token is the current one again; the number of the next attempt is still a new one."""
    was = task.original
    assert was is not None
    if task.node:
        _take_off(state, task, effects)
    state.backing_off.discard(task.key)
    forget(state, task)
    stays_suspended = task.state is TaskState.HELD
    task.state = TaskState.SUSPENDED if held.is_suspended else TaskState.RUNNING
    task.node, task.attempt, task.epoch = node.id, was.attempt, was.epoch
    task.start_ms = was.start_ms or (held.ended.start_ms if held.ended is not None else now.wall_ms)
    if task.start_ms and not task.has_started:
        task.has_started = True
        state.dependents.note(task.key, STARTED)
    task.devices = tuple(i for i in was.devices if i < len(node.devices.names))
    task.limit_revision = was.limit_revision
    task.progress = None
    task.reason = f"{KEPT_ORIGINAL}: attempt {was.attempt} goes on, {why}"
    if stays_suspended:
        task.reason = f"SUSPENDED: attempt {was.attempt} is kept, {why}"
    if held.ended is None:
        amounts = task.spec.shape.amounts
        state.cluster.stretch(node, amounts)
        state.cluster.reserve(node, task.key, amounts, task.devices)
        state.waiting.take(task, is_fact=True)
    else:
        # For the moment until its end is taken in.
        node.expected.add(task.key)
    changes.record(state, task, now, effects)


def _take_off(state: State, task: Task, effects: Effects) -> None:
    """The replacement is told to end, or told so when its node is back."""
    node = state.cluster.nodes[task.node]
    if node.session:
        message = "an earlier attempt has come back and is kept"
        commands.stop(task, node, effects, Cause.CANCELLED, message, commands.DEFAULT_GRACE_MS)
    lifecycle.leave_node(state, task)
    lifecycle.promote_prefilled(state, node)
