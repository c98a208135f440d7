"""What would let a task start now: the same questions that placement asks, with one thing changed. Pure.

Every suggestion was tried on the nodes as they are; none is a guess.
"""

from collections.abc import Iterator, Sequence

import msgspec

from services.scheduler.model import ENGINE_LABEL, NodeState, Shape
from services.scheduler.placement.cluster import Cluster, Node
from services.scheduler.placement.placement import admits
from services.scheduler.resources import GPU, MEMORY, SCALE, Amounts, describe, natural

# Beyond so many nodes only the first are looked at: an answer must not hold up the scheduler.
MOST_NODES = 1_000
MOST_SUGGESTIONS = 5
PIN_COST, LABEL_COST, UNCORDON_COST = 0.3, 0.5, 0.6


class Suggestion(msgspec.Struct, frozen=True):
    """``field`` is one of the specification, empty where the yard is to change; ``value`` is what it would be."""

    field: str
    value: object
    message: str
    # From 0 (a trifle) to 1 (all of it): the order in which suggestions are told.
    cost: float


def suggest(cluster: Cluster, shape: Shape) -> tuple[Suggestion, ...]:
    """The cheapest changes that would let a task of this shape start now, cheapest first."""
    nodes = list(cluster.nodes.values())[:MOST_NODES]
    found = [*_smaller(nodes, shape), *_looser(nodes, shape), *_reopened(nodes, shape)]
    return tuple(sorted(found, key=lambda s: (s.cost, s.field))[:MOST_SUGGESTIONS])


def _smaller(nodes: Sequence[Node], shape: Shape) -> Iterator[Suggestion]:
    """Less of one resource."""
    for name, amount in shape.amounts:
        rest = tuple(pair for pair in shape.amounts if pair[0] != name)
        others = msgspec.structs.replace(shape, amounts=rest)
        most = max((_room(node, name) for node in nodes if admits(node, others)), default=0)
        if name == GPU and most >= SCALE:
            most -= most % SCALE
        if not 0 < most < amount or not _admitted(nodes, shape, rest, name, most):
            continue
        yield Suggestion(
            _resource_field(name), int(most) if name == MEMORY else natural(name, most),
            f"ask for {describe(name, most)} instead of {describe(name, amount)}", 1 - most / amount,
        )  # fmt: skip


def _admitted(nodes: Sequence[Node], shape: Shape, rest: Amounts, name: str, amount: int) -> bool:
    changed = msgspec.structs.replace(shape, amounts=tuple(sorted((*rest, (name, amount)))))
    return any(admits(node, changed) for node in nodes)


def _room(node: Node, name: str) -> int:
    """How much of one resource one task could have there now."""
    free = node.capacity.get(name, 0) - node.reserved.get(name, 0)
    if name == GPU:
        whole = sum(left == SCALE for left in node.devices.left) * SCALE
        return min(free, whole or max(node.devices.left, default=0))
    return free


def _resource_field(name: str) -> str:
    if name in ("cpu", GPU):
        return f"resources.{name}"
    return "resources.memory_bytes" if name == MEMORY else f"resources.custom.{name}"


def _looser(nodes: Sequence[Node], shape: Shape) -> Iterator[Suggestion]:
    """Without its pin, in another pool, or without one of its labels."""
    if shape.node:
        free = msgspec.structs.replace(shape, node="")
        node = next((node for node in nodes if admits(node, free)), None)
        if node is not None:
            yield Suggestion("placement.node", node.id, f"{node.id} could start it now", PIN_COST)
    for pool in sorted({node.pool for node in nodes} - {shape.pool}):
        elsewhere = msgspec.structs.replace(shape, pool=pool)
        node = next((node for node in nodes if admits(node, elsewhere)), None)
        if node is not None:
            where = f"in pool {pool}" if pool else "without a pool"
            yield Suggestion("placement.pool", pool, f"{where} {node.id} could start it now", LABEL_COST)
            break
    for key, value in shape.labels:
        if (key, value) == ENGINE_LABEL:
            continue
        fewer = msgspec.structs.replace(shape, labels=tuple(p for p in shape.labels if p[0] != key))
        node = next((node for node in nodes if admits(node, fewer)), None)
        if node is not None:
            message = f"without the label {key}={value} {node.id} could start it now"
            yield Suggestion(f"placement.labels.{key}", None, message, LABEL_COST)


def _reopened(nodes: Sequence[Node], shape: Shape) -> Iterator[Suggestion]:
    """A node that would take it if people let it."""
    for node in nodes:
        is_closed = node.session and node.state in (NodeState.CORDONED, NodeState.DRAINING)
        if is_closed and node.matches(shape) and node.fits(shape.amounts):
            yield Suggestion("", None, f"uncordon {node.id}: yard nodes uncordon {node.id}", UNCORDON_COST)
            return
