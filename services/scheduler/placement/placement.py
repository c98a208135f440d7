"""Which node gets a task (S0.2, S0.3).

One index for each shape of task: a heap of the nodes that fit it now, best first. It catches up from the cluster's
log of changes before it answers, and entries of nodes that changed since are dropped when they surface. A decision
so costs O(log n) and what has changed, with 10 nodes as with 10,000. Pure.
"""

import heapq
from collections.abc import Container, Iterable

from services.scheduler.model import Policy, Shape
from services.scheduler.placement.cluster import Cluster, Node

Rank = tuple[float, float, int]
# Rank, the node's version by which it was ranked, its id: flat, because a deep heap compares what no cache holds.
Entry = tuple[float, float, int, int, str]
# So many entries of the heap hold the best three that are not the first.
CONSIDERED = 7


def rank(node: Node, policy: Policy) -> Rank:
    """The smaller the better; ties go to the node with fewer tasks, then to the older one."""
    count = len(node.tasks) + len(node.rooms)
    if policy is Policy.BINPACK:
        return (-node.score, -count, node.ordinal)
    if policy is Policy.SPREAD:
        return (count, node.score, node.ordinal)
    return (node.score, count, node.ordinal)


def score_of(entry: Entry, policy: Policy) -> tuple[float, int]:
    """The node's occupancy and number of tasks, as `rank` saw them."""
    first, second, *_ = entry
    if policy is Policy.BINPACK:
        return -first, int(-second)
    if policy is Policy.SPREAD:
        return second, int(first)
    return first, int(second)


def admits(node: Node, shape: Shape) -> bool:
    """Whether a task of the shape could start on the node now."""
    if not (node.takes_work() and node.fits(shape.amounts) and node.matches(shape)):
        return False
    return node.hold is None or node.hold.admits(node, shape)


class Candidates:
    """The nodes that fit one shape, best first."""

    __slots__ = ("heap", "position", "shape")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.heap: list[Entry] = []
        self.position = -1

    def choose(self, cluster: Cluster, without: Container[str] = ()) -> Node | None:
        """The best node that fits now, of those that are not in ``without``; it stays in the index, which notices when
        it changes."""
        self._catch_up(cluster)
        heap, nodes = self.heap, cluster.nodes
        passed = []
        found = None
        while heap:
            first = heap[0]
            node = nodes.get(first[4])
            if node is not None and node.version == first[3]:
                if node.id not in without:
                    found = node
                    break
                passed.append(first)
            heapq.heappop(heap)
        for entry in passed:
            heapq.heappush(heap, entry)
        return found

    def considered(self, cluster: Cluster) -> list[Entry]:
        """After a choice: the chosen node first, then the best of those that were not, roughly."""
        nodes = cluster.nodes
        return [e for e in self.heap[:CONSIDERED] if (node := nodes.get(e[4])) and node.version == e[3]]

    def _catch_up(self, cluster: Cluster) -> None:
        if self.position == cluster.end:
            return
        changed = cluster.read(self.position)
        if changed is None or len(self.heap) > 4 * len(cluster.nodes) + 64:
            self.heap = [e for node in self._known(cluster) if (e := self._entry(node)) is not None]
            heapq.heapify(self.heap)
        else:
            for node_id in changed:
                node = cluster.nodes.get(node_id)
                entry = self._entry(node) if node is not None else None
                if entry is not None:
                    heapq.heappush(self.heap, entry)
        self.position = cluster.end

    def _known(self, cluster: Cluster) -> Iterable[Node]:
        pinned = self.shape.node
        if not pinned:
            return cluster.nodes.values()
        return [cluster.nodes[pinned]] if pinned in cluster.nodes else []

    def _entry(self, node: Node) -> Entry | None:
        shape = self.shape
        if admits(node, shape):
            return (*rank(node, shape.policy), node.version, node.id)
        return None
