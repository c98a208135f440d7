"""What is the same for every execution of a graph, counted once: who waits for whom, who needs whose values. Pure."""

from services.graph.model import Body, BodyPort, Graph, OnError
from services.graph.runs.places import body_at


class Shape:
    """A graph, ready to be executed: a run's own, or that of a body."""

    __slots__ = (
        "_bodies", "body", "consumers", "effects", "fatal", "fed", "feeding", "graph", "levels", "predecessors",
        "unmet",
    )  # fmt: skip

    def __init__(self, graph: Graph, body: Body | None = None) -> None:
        self.graph = graph
        self.body = body
        self.predecessors = [
            tuple(dict.fromkeys(edge.source for edge in node.inputs)) for node in graph.nodes
        ]
        self.feeding = [
            tuple(dict.fromkeys(edge.source for edge in node.inputs if not edge.is_order))
            for node in graph.nodes
        ]
        """By rank, the predecessors that something flows from."""
        self.unmet = [len(sources) for sources in self.predecessors]
        self.levels: list[int] = []
        """How many nodes each level has."""
        for node in graph.nodes:
            self.levels += [0] * (node.gradient + 1 - len(self.levels))
            self.levels[node.gradient] += 1
        self.effects = [node.rank for node in graph.nodes if node.has_effects]
        self.fatal = bytearray(len(graph.nodes))
        """1: an edge out of this rank fails the whole execution."""
        self.consumers = [0] * len(graph.nodes)
        """How many need a node's values: successors by data, and what executes the body."""
        self.fed: dict[int, list[BodyPort]] = {}
        """By rank, what comes from outside the body."""
        self._bodies: dict[int, Shape] = {}
        self._count()

    def _count(self) -> None:
        for node in self.graph.nodes:
            for source in self.feeding[node.rank]:
                self.consumers[source] += 1
            for edge in node.inputs:
                if edge.on_error is OnError.FAIL_RUN:
                    self.fatal[edge.source] = 1
        if self.body is not None:
            for port in self.body.inputs:
                self.fed.setdefault(port.node, []).append(port)
            for rank in {port.node for port in self.body.outputs}:
                self.consumers[rank] += 1

    def body_of(self, rank: int) -> "Shape":
        """The shape of the body that the node there executes."""
        known = self._bodies.get(rank)
        if known is None:
            body = body_at(self.graph.nodes[rank])
            assert body is not None
            known = self._bodies[rank] = Shape(body.graph, body)
        return known
