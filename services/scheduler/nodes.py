"""What people do with nodes: cordon, drain, label. Pure."""

from services.scheduler import agents, lifecycle
from services.scheduler import events as ev
from services.scheduler.cluster import Node
from services.scheduler.effects import Answer, Effects, RecordNode
from services.scheduler.model import Cause, NodeNotFound, Now
from services.scheduler.state import State

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
    effects.rows.append(RecordNode(node.id, node.is_cordoned, labels))
    effects.changed_nodes.add(node.id)
    effects.answers.append(Answer(reply))


def on_node_cordoned(state: State, event: ev.NodeCordoned, now: Now, effects: Effects) -> None:
    node = _find(state, event.reply, event.node, effects)
    if node is not None:
        node.is_cordoned = event.is_cordoned
        if not event.is_cordoned:
            node.is_draining = False
            node.drain_deadline_ms = 0
        _record(state, node, event.reply, effects)


def on_node_drain_requested(state: State, event: ev.NodeDrainRequested, now: Now, effects: Effects) -> None:
    node = _find(state, event.reply, event.node, effects)
    if node is not None:
        node.is_cordoned = node.is_draining = True
        node.drain_deadline_ms = now.monotonic_ms + event.timeout_ms
        _record(state, node, event.reply, effects)


def stop_drained(state: State, node: Node, now: Now, effects: Effects) -> None:
    """The time of a drain is over: what still runs is moved elsewhere. Said again while anything is left, because an
    order may be lost with its stream."""
    left = node.believed()
    node.drain_deadline_ms = now.monotonic_ms + DRAIN_AGAIN_MS if left else 0
    for key in left:
        task = state.tasks[key]
        lifecycle.stop(task, node, effects, Cause.DRAINED, "the node is drained", lifecycle.DEFAULT_GRACE_MS)


def on_node_labelled(state: State, event: ev.NodeLabelled, now: Now, effects: Effects) -> None:
    node = _find(state, event.reply, event.node, effects)
    if node is not None:
        node.label_overrides.update(event.set_labels)
        node.label_overrides.update(dict.fromkeys(event.remove_labels))
        _record(state, node, event.reply, effects)
