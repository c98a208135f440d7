"""Where several tasks would go if they were submitted together now. The cluster is afterwards as it was. Pure."""

from collections.abc import Sequence

from services.scheduler.model import Shape
from services.scheduler.placement.cluster import Cluster, Node
from services.scheduler.placement.placement import Candidates


def rehearse(cluster: Cluster, shapes: Sequence[Shape]) -> list[str]:
    """A node for each, in this order, each placed beside those before it; "": it would wait for room.

    As long as nothing else changes this is what placement does; turns, quotas and gates are not asked.
    """
    found: list[str] = []
    kept: list[tuple[Node, int]] = []
    before = {
        node.id: (len(node.newer), dict(node.newer_sum), dict(node.capacity))
        for node in cluster.nodes.values()
    }
    candidates = {shape: Candidates(shape) for shape in dict.fromkeys(shapes)}
    for shape in shapes:
        best = candidates[shape].choose(cluster)
        found.append(best.id if best is not None else "")
        if best is not None:
            cluster.expect(best, best.command, shape.amounts)
            kept.append((best, cluster.keep_room(best, shape.amounts).key))
    for node, key in reversed(kept):
        cluster.give_up_room(node, key, is_gain=False)
    for node in {node.id: node for node, _ in kept}.values():
        count, newer_sum, capacity = before[node.id]
        while len(node.newer) > count:
            node.newer.pop()
        node.newer_sum, node.capacity = newer_sum, capacity
        cluster.touch(node)
    return found
