"""What the passing of time does: leases end, back-offs end, tasks wait too long. Pure.

Leases use the monotonic clock."""

import heapq

from services.scheduler.model import Cause, NodeState, Now, TaskState
from services.scheduler.nodes import agents, maintenance, pace, reliance
from services.scheduler.placement.cluster import Node
from services.scheduler.requests import quotes, sharing
from services.scheduler.scheduling import holds, preemption
from services.scheduler.state import events as ev
from services.scheduler.state.effects import Effects, RetractTask
from services.scheduler.state.state import State
from services.scheduler.tasks import arrays, commands, lifecycle, silence

TICK_MS = 500
# A gap between ticks beyond this is the scheduler's own stall, and is credited to every lease.
STALL_MS = 2_000
# Added to the lease, so that an agent that keeps its own stops first.
LOSS_MARGIN_MS = 5_000
BRAKE_SHARE = 0.4
BRAKE_NODES = 3
BRAKE_MS = 300_000
RETRACT_MS = 500
IDLE_QUEUES = 1_000


def on_ticked(state: State, event: ev.Ticked, now: Now, effects: Effects) -> None:
    _credit_stall(state, now)
    _watch_nodes(state, now, effects)
    _end_back_offs(state, now)
    quotes.expire(state, now)
    preemption.renew(state, now, effects)
    holds.renew(state, now)
    _end_queue_times(state, now, effects)
    _retract_stuck(state, now, effects)
    sharing.save_use(state, now, effects)
    state.waiting.forget_idle(IDLE_QUEUES)


def _credit_stall(state: State, now: Now) -> None:
    gap = now.monotonic_ms - state.last_tick_ms
    if state.last_tick_ms and gap > STALL_MS:
        for node in state.cluster.nodes.values():
            node.lease_ms += gap
            node.beat_ms += gap
    state.last_tick_ms = now.monotonic_ms


def _watch_nodes(state: State, now: Now, effects: Effects) -> None:
    overdue = []
    suspect_ms = pace.suspect_ms(len(state.cluster.nodes))
    for node in state.cluster.nodes.values():
        if node.id in state.absent or (node.state is NodeState.LOST and not node.expected):
            continue
        if reliance.is_hold_over(node, now):
            reliance.trust(node)
            if node.session:
                agents.set_node_state(state, node)
                effects.changed_nodes.add(node.id)
        if node.drain_deadline_ms and now.wall_ms >= node.drain_again_ms and node.session:
            maintenance.stop_drained(state, node, now, effects)
        if now.monotonic_ms > node.lease_ms + LOSS_MARGIN_MS:
            overdue.append(node)
        elif node.state is NodeState.READY and now.monotonic_ms > node.beat_ms + suspect_ms:
            node.state = NodeState.SUSPECT
            state.cluster.touch(node)
            effects.changed_nodes.add(node.id)
    if not _is_braked(state, overdue, now):
        for node in overdue:
            agents.leave_to_silence(state, node, now, effects)
    for node_id in sorted(state.absent):
        node = state.cluster.nodes[node_id]
        silence.give_up(state, node, now.monotonic_ms - node.lease_ms - LOSS_MARGIN_MS, now, effects)


def _is_braked(state: State, overdue: list[Node], now: Now) -> bool:
    """When many nodes fall silent together the fault is more likely here: wait, but not for ever."""
    alive = sum(node.state is not NodeState.LOST for node in state.cluster.nodes.values())
    if len(overdue) < BRAKE_NODES or len(overdue) <= BRAKE_SHARE * alive:
        state.brake_since_ms = 0
        return False
    state.brake_since_ms = state.brake_since_ms or now.monotonic_ms
    return now.monotonic_ms - state.brake_since_ms < BRAKE_MS


def _end_back_offs(state: State, now: Now) -> None:
    due = sorted(key for key in state.backing_off if state.tasks[key].not_before_ms <= now.wall_ms)
    for key in due:
        state.backing_off.discard(key)
        task = state.tasks[key]
        task.ticket = state.waiting.append(task.queue, key)


def _end_queue_times(state: State, now: Now, effects: Effects) -> None:
    deadlines = state.queue_deadlines
    while deadlines and deadlines[0][0] <= now.wall_ms:
        _, key = heapq.heappop(deadlines)
        task = state.tasks.get(key)
        if task is None or task.state is not TaskState.QUEUED or task.attempt:
            continue
        limit_ms = task.spec.queue_timeout_ms
        if not limit_ms or task.queued_ms + limit_ms > now.wall_ms:
            # Released or modified since: there is a later deadline, or none.
            continue
        task.reason = "TIMEOUT: queue_timeout is over"
        if task.tally is None:
            lifecycle.end(state, task, TaskState.FAILED, now, effects, cause=Cause.TIMEOUT)
        else:
            arrays.expire(state, task, now, effects)


def _retract_stuck(state: State, now: Now, effects: Effects) -> None:
    """A task that waits long at an agent, behind one that turned out to be slow, is asked back."""
    stuck = []
    for key, since_ms in state.prefilled.items():
        if now.monotonic_ms - since_ms < RETRACT_MS:
            break
        stuck.append(key)
    for key in stuck:
        del state.prefilled[key]
        task = state.tasks[key]
        node = state.cluster.nodes[task.node]
        if node.session:
            commands.send(node, RetractTask(key, task.attempt), effects)
