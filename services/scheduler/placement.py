"""Which node gets a task (S0.2, S0.3).

One index for each shape of task: a heap of the nodes that fit it now, best first. It catches up from the cluster's
log of changes before it answers, and entries of nodes that changed since are dropped when they surface. A decision
so costs O(log n) and what has changed, with 10 nodes as with 10,000. Pure.
"""

import heapq

from services.scheduler.cluster import Cluster, Node
from services.scheduler.model import Policy, Shape

Rank = tuple[float, float, int]


def rank(node: Node, policy: Policy) -> Rank:
    """The smaller the better; ties go to the node with fewer tasks, then to the older one."""
    if policy is Policy.BINPACK:
        return (-node.score, -len(node.tasks), node.ordinal)
    if policy is Policy.SPREAD:
        return (len(node.tasks), node.score, node.ordinal)
    return (node.score, len(node.tasks), node.ordinal)


class Candidates:
    """The nodes that fit one shape, best first."""

    __slots__ = ("heap", "position", "shape")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.heap: list[tuple[Rank, int, str]] = []
        self.position = -1

    def choose(self, cluster: Cluster) -> Node | None:
        """The best node that fits now; it stays in the index, which notices when it changes."""
        self._catch_up(cluster)
        heap, nodes = self.heap, cluster.nodes
        while heap:
            _, version, node_id = heap[0]
            node = nodes.get(node_id)
            if node is not None and node.version == version:
                return node
            heapq.heappop(heap)
        return None

    def _catch_up(self, cluster: Cluster) -> None:
        if self.position == cluster.end:
            return
        changed = cluster.read(self.position)
        if changed is None or len(self.heap) > 4 * len(cluster.nodes) + 64:
            self.heap = [e for node in cluster.nodes.values() if (e := self._entry(node)) is not None]
            heapq.heapify(self.heap)
        else:
            for node_id in changed:
                entry = self._entry(cluster.nodes[node_id])
                if entry is not None:
                    heapq.heappush(self.heap, entry)
        self.position = cluster.end

    def _entry(self, node: Node) -> tuple[Rank, int, str] | None:
        shape = self.shape
        if node.takes_work() and node.fits(shape.amounts) and node.matches(shape):
            return (rank(node, shape.policy), node.version, node.id)
        return None
