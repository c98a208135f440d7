"""What people do with nodes: cordon, drain, label, forget. Pure."""

from services.chassis.errors import ServiceError
from services.scheduler.model import Cause, NodeState, Now
from services.scheduler.nodes import agents, reliance
from services.scheduler.placement.cluster import Node
from services.scheduler.refusals import NodeHasTasks, NodeIsNotLost, NodeNotFound
from services.scheduler.state import events as ev
from services.scheduler.state.effects import Answer, Effects, ForgetNode, RecordNode
from services.scheduler.state.state import State
from services.scheduler.tasks import commands

DRAIN_AGAIN_MS = 10_000


def _find(state: State, reply: int, node_id: str, effects: Effects) -> Node | None:
    node = state.cluster.nodes.get(node_id)
    if node is None:
        error = NodeNotFound(f"there is no node {node_id!r}", field="node", next_step="yard nodes ls")
        effects.answers.append(Answer(reply, error=error))
    return node


def _record(state: State, node: Node, reply: int, effects: Effects) -> None:
    if node.session:
        agents.set_node_state(state, node)
    labels = tuple(sorted((k, "" if v is None else v, v is None) for k, v in node.label_overrides.items()))
    effects.rows.append(RecordNode(node.id, node.is_cordoned, labels, node.drain_deadline_ms))
    effects.changed_nodes.add(node.id)
    effects.answers.append(Answer(reply))


def on_node_cordoned(state: State, event: ev.NodeCordoned, now: Now, effects: Effects) -> None:
    node = _find(state, event.reply, event.node, effects)
    if node is not None:
        node.is_cordoned = event.is_cordoned
        if not event.is_cordoned:
            node.drain_deadline_ms = node.drain_again_ms = 0
            reliance.trust(node)
            node.hold_count = 0
        _record(state, node, event.reply, effects)


def on_node_drain_requested(state: State, event: ev.NodeDrainRequested, now: Now, effects: Effects) -> None:
    node = _find(state, event.reply, event.node, effects)
    if node is not None:
        node.is_cordoned = True
        node.drain_deadline_ms = node.drain_again_ms = now.wall_ms + event.timeout_ms
        _record(state, node, event.reply, effects)


def stop_drained(state: State, node: Node, now: Now, effects: Effects) -> None:
    """The time of a drain is over: what still runs is moved elsewhere. Said again while anything is left, because an
    order may be lost with its stream."""
    node.drain_again_ms = now.wall_ms + DRAIN_AGAIN_MS
    for key in node.believed():
        task = state.tasks[key]
        commands.stop(task, node, effects, Cause.DRAINED, "the node is drained", commands.DEFAULT_GRACE_MS)


def on_node_labelled(state: State, event: ev.NodeLabelled, now: Now, effects: Effects) -> None:
    node = _find(state, event.reply, event.node, effects)
    if node is not None:
        node.label_overrides.update(event.set_labels)
        node.label_overrides.update(dict.fromkeys(event.remove_labels))
        _record(state, node, event.reply, effects)


def on_node_forgotten(state: State, event: ev.NodeForgotten, now: Now, effects: Effects) -> None:
    node = _find(state, event.reply, event.node, effects)
    if node is None:
        return
    objection = _objection_to_forget(state, node)
    if objection is not None:
        effects.answers.append(Answer(event.reply, error=objection))
        return
    state.cluster.forget(node)
    state.absent.discard(node.id)
    effects.rows.append(ForgetNode(node.id))
    effects.changed_nodes.add(node.id)
    effects.answers.append(Answer(event.reply))


def _objection_to_forget(state: State, node: Node) -> ServiceError | None:
    if node.session or node.state is not NodeState.LOST:
        return NodeIsNotLost(
            f"{node.id} is {node.state.name.lower()}", field="node",
            next_step=f"stop its agent, or wait until it is lost: yard nodes get {node.id}",
        )  # fmt: skip
    here = len(node.believed())
    waiting = sum(q.live_count for q in state.waiting.queues.values() if q.shape.node == node.id)
    if here or waiting:
        return NodeHasTasks(
            f"{here} tasks are on {node.id}, {max(waiting - here, 0)} more may start nowhere else", field="node",
            next_step="cancel them first: yard tasks ls, yard tasks cancel",
        )  # fmt: skip
    return None
