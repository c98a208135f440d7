"""What agents say of themselves: hello, beats, capacity, silence. Pure.

An agent is the authority on its machine. Its hello is the full state, and the first connection takes the same
path as every later one. What they say of tasks is heard in `reports`.
"""

from services.scheduler.model import Cause, NodeState, Now, TaskState
from services.scheduler.nodes import pace, reliance, reports
from services.scheduler.placement.cluster import Node
from services.scheduler.requests import modification, quotes, suspension
from services.scheduler.resources import GPU, SCALE, Devices
from services.scheduler.scheduling import gathering
from services.scheduler.state import events as ev
from services.scheduler.state.effects import (
    AcknowledgeEvents,
    CloseSession,
    Effects,
    RecordNode,
    SendBeatAck,
    SendWelcome,
    Verdict,
)
from services.scheduler.state.state import State
from services.scheduler.state.task import Task
from services.scheduler.tasks import changes, commands, lifecycle, silence


def on_agent_connected(state: State, event: ev.AgentConnected, now: Now, effects: Effects) -> None:
    is_new = event.node not in state.cluster.nodes
    node = state.cluster.add(event.node)
    if node.session and event.incarnation < node.incarnation:
        effects.closes.append(
            CloseSession(node.id, event.session, "a newer agent process of this node is connected")
        )
        return
    if node.session:
        effects.closes.append(CloseSession(node.id, node.session, "this node connected again"))
        reliance.note(node, 1, now)
    # Commands of this very step were meant for the stream that has just been replaced.
    effects.commands.pop(node.id, None)
    if is_new:
        # After a restart it is known, so that tasks may be pinned to it before it is back.
        effects.rows.append(RecordNode(node.id, False, (), 0))
    # What the same agent process has not acknowledged and does not have never reached it.
    is_same = node.incarnation > 0 and (node.incarnation, node.boot_id) == (event.incarnation, event.boot_id)
    heard = node.acked_command if is_same else -1
    _introduce(node, event, now)
    lease_ms, beat_ms = _pace_of(state)
    node.lease_ms, node.lease_span_ms = now.monotonic_ms + lease_ms, lease_ms
    state.absent.discard(node.id)
    believed = node.believed()
    rooms = dict(node.rooms)
    _set_capacity(state, node, event)
    verdicts = _settle(state, node, event, believed, heard, now, effects)
    quotes.keep_after_hello(state, node, rooms)
    reliance.welcome(state, node, now)
    set_node_state(state, node)
    effects.messages.append(
        SendWelcome(node.id, node.session, verdicts, node.is_cordoned or node.is_draining, beat_ms, lease_ms)
    )
    for key in node.believed():
        task = state.tasks[key]
        modification.tell_again(task, node, effects)
        suspension.tell_again(task, node, effects)
        gathering.tell_again(state, task, effects)
        if task.stop is not None:
            commands.stop(task, node, effects, Cause.CANCELLED, task.stop[1], task.stop[0])
    effects.changed_nodes.add(node.id)


def _introduce(node: Node, event: ev.AgentConnected, now: Now) -> None:
    node.session = event.session
    node.incarnation = event.incarnation
    node.boot_id = event.boot_id
    node.agent_labels = dict(event.labels)
    node.operators = event.operators
    node.agent_version = event.version
    node.enforcement = event.enforcement
    node.command = node.acked_command = node.last_event = 0
    node.newer.clear()
    node.newer_sum.clear()
    # Its own wish ends with the agent process; that of a person when it is uncordoned.
    node.is_leaving = False
    node.samples = {}
    node.connect_ms = node.wall_beat_ms = now.wall_ms
    node.beat_ms = now.monotonic_ms


def _pace_of(state: State) -> tuple[int, int]:
    """Lease and beat for the fleet as it is."""
    nodes = len(state.cluster.nodes)
    return pace.lease_ms(nodes), pace.beat_ms(nodes)


def _set_capacity(state: State, node: Node, event: ev.AgentConnected) -> None:
    """Starts the node's accounts anew; what it has is entered again by `_settle`."""
    node.tasks.clear()
    node.prefilled.clear()
    node.expected.clear()
    node.rooms.clear()
    node.reserved.clear()
    declared = dict(event.capacity)
    if event.gpu_devices:
        declared[GPU] = len(event.gpu_devices) * SCALE
    state.cluster.resize(node, declared)
    node.devices = Devices(event.gpu_devices)


def _settle(
    state: State,
    node: Node,
    event: ev.AgentConnected,
    believed: list[int],
    heard: int,
    now: Now,
    effects: Effects,
) -> tuple[Verdict, ...]:
    """Compares what the agent has with what the scheduler thinks it has.

    ``heard`` is the last command that this agent process acknowledged; −1: it is another one, or it is not known.
    """
    verdicts = []
    kept: set[int] = set()
    returned = []
    silence.drop_missing(state, node, event.tasks, now, effects)
    # What runs has its room first, then what waits for room; an end lets the waiting ones start.
    for held in sorted(event.tasks, key=lambda held: (held.ended is not None, not held.is_running)):
        if held.key in kept:
            continue
        task = reports.current(state, node, held.key, held.attempt, held.epoch)
        if task is None and silence.original_of(state, node, held) is not None:
            returned.append(held)
        elif task is None:
            verdicts.append(Verdict(held.key, held.attempt, "STOP" if held.ended is None else "FORGET"))
        elif held.ended is not None:
            kept.add(held.key)
            reports.on_exited(state, node, held.ended, now, effects)
            verdicts.append(Verdict(held.key, held.attempt, "FORGET"))
        elif _keep(state, node, task, held, now, effects):
            kept.add(held.key)
            verdicts.append(Verdict(held.key, held.attempt, "KEEP"))
        else:
            verdicts.append(Verdict(held.key, held.attempt, "STOP"))
    for key in believed:
        if key not in kept:
            _miss(state, state.tasks[key], heard, now, effects)
    verdicts += [_settle_original(state, node, held, now, effects) for held in returned]
    return tuple(verdicts)


def _settle_original(state: State, node: Node, held: ev.HeldTask, now: Now, effects: Effects) -> Verdict:
    """An attempt that was replaced while the node was silent: last, when it is known how busy the node is."""
    task = silence.original_of(state, node, held)
    is_kept = task is not None and silence.reconcile(state, task, node, held, now, effects)
    if held.ended is not None:
        if is_kept:
            reports.on_exited(state, node, held.ended, now, effects)
        return Verdict(held.key, held.attempt, "FORGET")
    return Verdict(held.key, held.attempt, "KEEP" if is_kept else "STOP")


def _keep(state: State, node: Node, task: Task, held: ev.HeldTask, now: Now, effects: Effects) -> bool:
    """Enters what the agent goes on with. What runs is a fact, even where the machine has become smaller."""
    amounts = task.holding
    was_waited_for = silence.on_back(state, task)
    task.command = 0
    if held.is_running:
        state.cluster.stretch(node, amounts)
        task.is_prefilled = False
        task.devices = tuple(i for i in task.devices if i < len(node.devices.names))
        state.prefilled.pop(task.key, None)
        state.cluster.reserve(node, task.key, amounts, task.devices)
        state.waiting.take(task, is_fact=True)
        if was_waited_for and task.state is not TaskState.ASSIGNED:
            changes.record(state, task, now, effects)
        lifecycle.start(state, task, 0, now, effects)
        suspension.settle(state, task, held.is_suspended, now, effects)
        return True
    if task.is_prefilled or not node.has_room(amounts):
        task.is_prefilled = True
        node.prefilled.append(task.key)
        state.prefilled[task.key] = now.monotonic_ms
        return True
    state.cluster.reserve(node, task.key, amounts, task.devices)
    state.waiting.take(task, is_fact=True)
    return True


def _miss(state: State, task: Task, heard: int, now: Now, effects: Effects) -> None:
    """The agent does not have what it was believed to have."""
    if task.state is not TaskState.ASSIGNED:
        lifecycle.fail(state, task, Cause.NODE_LOST, "NODE_LOST: the agent no longer has it", now, effects)
    else:
        never_started = 0 <= heard < task.command
        reason = "NODE_LOST: it never reached the agent"
        if task.spec.is_at_most_once and not never_started:
            reason = "NODE_LOST: the agent does not have it"
        lifecycle.fail(state, task, Cause.NODE_LOST, reason, now, effects, never_started=never_started)


def on_agent_disconnected(state: State, event: ev.AgentDisconnected, now: Now, effects: Effects) -> None:
    node = state.cluster.nodes.get(event.node)
    if node is None or node.session != event.session:
        return
    node.session = 0
    effects.changed_nodes.add(node.id)
    if event.is_final:
        lose_node(state, node, "the agent ended", now, effects)
    else:
        reliance.note(node, 1, now)
        state.cluster.touch(node)


def lose_node(state: State, node: Node, why: str, now: Now, effects: Effects) -> None:
    """Nothing is expected of the node any more; what it had is tried again elsewhere."""
    if node.session:
        effects.closes.append(CloseSession(node.id, node.session, why))
    node.session = 0
    quotes.drop_rooms(state, node, why)
    for key in node.believed():
        lifecycle.fail(state, state.tasks[key], Cause.NODE_LOST, f"NODE_LOST: {node.id}: {why}", now, effects)
    state.absent.discard(node.id)
    _set_lost(state, node, effects)


def leave_to_silence(state: State, node: Node, now: Now, effects: Effects) -> None:
    """Its lease is over. What becomes of each of its tasks is the task's own wish."""
    if node.session:
        effects.closes.append(CloseSession(node.id, node.session, silence.LEASE_OVER))
    node.session = 0
    quotes.drop_rooms(state, node, silence.LEASE_OVER)
    silence.give_up(state, node, 0, now, effects)
    _set_lost(state, node, effects)


def _set_lost(state: State, node: Node, effects: Effects) -> None:
    node.state = NodeState.LOST
    state.cluster.is_resized = True
    state.cluster.touch(node)
    effects.changed_nodes.add(node.id)


def set_node_state(state: State, node: Node) -> None:
    """Derives the state from what is known, and tells placement."""
    if node.is_draining:
        node.state = NodeState.DRAINING
    elif node.is_cordoned:
        node.state = NodeState.CORDONED
    elif node.held_until_ms:
        node.state = NodeState.HELD_BACK
    else:
        node.state = NodeState.READY
    node.labels = {**node.agent_labels, **{k: v for k, v in node.label_overrides.items() if v is not None}}
    for name in [name for name, value in node.label_overrides.items() if value is None]:
        node.labels.pop(name, None)
    node.pool = node.labels.get("pool", "")
    state.cluster.touch(node, is_gain=True)


def _session_of(
    state: State, event: ev.BeatReceived | ev.TasksReported | ev.CapacityChanged | ev.AgentDrained
) -> Node | None:
    node = state.cluster.nodes.get(event.node)
    return node if node is not None and node.session == event.session else None


def on_beat_received(state: State, event: ev.BeatReceived, now: Now, effects: Effects) -> None:
    node = _session_of(state, event)
    if node is None:
        return
    node.beat_ms = now.monotonic_ms
    node.wall_beat_ms = now.wall_ms
    lease_ms, beat_ms = _pace_of(state)
    node.lease_ms, node.lease_span_ms = now.monotonic_ms + lease_ms, lease_ms
    if node.state is NodeState.SUSPECT:
        set_node_state(state, node)
        effects.changed_nodes.add(node.id)
    node.samples = event.samples
    state.cluster.measure(node, event.windows, event.as_of_command)
    effects.messages.append(SendBeatAck(node.id, node.session, event.number, beat_ms, lease_ms))
    reliance.hear(state, node, event.as_of_command, now, effects)


def on_commands_acknowledged(
    state: State, event: ev.CommandsAcknowledged, now: Now, effects: Effects
) -> None:
    node = state.cluster.nodes.get(event.node)
    if node is not None and node.session == event.session:
        node.acked_command = max(node.acked_command, event.number)


def on_capacity_changed(state: State, event: ev.CapacityChanged, now: Now, effects: Effects) -> None:
    node = _session_of(state, event)
    if node is None:
        return
    gpu = {GPU: node.declared[GPU]} if GPU in node.declared else {}
    state.cluster.resize(node, {**event.capacity, **gpu})
    state.cluster.touch(node, is_gain=True)
    effects.changed_nodes.add(node.id)


def on_agent_drained(state: State, event: ev.AgentDrained, now: Now, effects: Effects) -> None:
    node = _session_of(state, event)
    if node is not None:
        node.is_leaving = True
        set_node_state(state, node)
        effects.changed_nodes.add(node.id)


def on_tasks_reported(state: State, event: ev.TasksReported, now: Now, effects: Effects) -> None:
    node = _session_of(state, event)
    if node is None:
        return
    number = event.first_number
    for report in event.reports:
        if number > node.last_event:
            node.last_event = number
            reports.REPORTS[type(report)](state, node, report, now, effects)
        number += 1
    effects.messages.append(AcknowledgeEvents(node.id, node.session, node.last_event))
