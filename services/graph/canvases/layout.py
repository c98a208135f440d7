"""A canvas written out (S1.3): the nodes and edges of one graph, by index, before they have an order.

Instances of sub-graphs are replaced by their nodes, whose ids have the instance's before them: "n5/n1". A node of an
instance stands where the instance does, and within it where it was drawn: that is its key. Pure.
"""

from collections.abc import Mapping, Sequence

import msgspec

from services.graph.canvases.canvas import Canvas, Edge, Node, Subgraph
from services.graph.canvases.operators import Ports, Signatures, only
from services.graph.model import EDGES_MOST, NODES_MOST, OnError

Key = tuple[tuple[int, int, str], ...]


class PlanTooLarge(ValueError):
    """Written out, the canvas has more nodes or edges than a graph may have."""


class FlatNode(msgspec.Struct, gc=False):
    """A node of the written-out graph."""

    id: str
    key: Key
    node: Node
    ports: Ports


class FlatEdge(msgspec.Struct, frozen=True, gc=False):
    """An edge of the written-out graph, between indices."""

    source: int
    source_port: str
    target: int
    port: str
    index: int
    is_order: bool
    on_error: OnError


End = tuple[int, str]
"""A node by index, and its port."""


class Site(msgspec.Struct):
    """Where edges of a canvas node lead to once it is written out."""

    inputs: Mapping[str, Sequence[End]] | None
    """Of an instance, by name; None: it is the node `first` itself."""
    outputs: Mapping[str, End]
    first: int
    last: int
    """The indices first … last − 1 are its nodes."""
    edges: tuple[int, int] = (0, 0)
    """The edges between them, likewise."""
    leaves: Sequence[int] = ()
    """The nodes after which it has ended; empty: not looked for yet."""
    roots: Sequence[int] = ()
    """The nodes with which it begins; empty: not looked for yet."""


class Layout:
    """The written-out nodes and edges of one graph."""

    def __init__(self, signatures: Signatures) -> None:
        self.nodes: list[FlatNode] = []
        self.edges: list[FlatEdge] = []
        self.asked: dict[int, dict[str, None]] = {}
        """Output ports that are asked for of code whose ports nobody has declared."""
        self._signatures = signatures

    def add(self, canvas: Canvas, prefix: str, key: Key) -> dict[str, Site]:
        """Writes a canvas out; where each of its nodes went."""
        sites: dict[str, Site] = {}
        for node in canvas.nodes:
            own = (*key, (node.drag_in_time_ns, node.drag_sequence, node.id))
            sites[node.id] = self._add_node(node, prefix + node.id, own)
        for edge in canvas.edges:
            self._add_edge(edge, sites[edge.source], sites[edge.target])
        return sites

    def _add_node(self, node: Node, id_: str, key: Key) -> Site:
        first = len(self.nodes)
        if node.subgraph is None:
            if first >= NODES_MOST:
                raise PlanTooLarge(f"written out, the canvas has more than {NODES_MOST} nodes")
            self.nodes.append(FlatNode(id_, key, node, self._signatures.of(node)))
            return Site(None, {}, first, first + 1)
        subgraph, first_edge = self._signatures.subgraphs[node.subgraph.subgraph], len(self.edges)
        sites = self.add(subgraph.canvas, f"{id_}/", key)
        inputs, outputs = self.ends(subgraph, sites)
        return Site(inputs, outputs, first, len(self.nodes), (first_edge, len(self.edges)))

    def ends(
        self, subgraph: Subgraph, sites: Mapping[str, Site]
    ) -> tuple[dict[str, list[End]], dict[str, End]]:
        """Where the ports of a body lead to."""
        inputs: dict[str, list[End]] = {}
        for port in subgraph.inputs:
            inputs.setdefault(port.name, []).extend(self._takers(sites[port.node], port.port))
        outputs: dict[str, End] = {}
        for port in subgraph.outputs:
            outputs.setdefault(port.name, self._giver(sites[port.node], port.port))
        return inputs, outputs

    def _takers(self, site: Site, port: str) -> Sequence[End]:
        if site.inputs is None:
            return [(site.first, port or only(self.nodes[site.first].ports.inputs) or "value")]
        return site.inputs.get(port or next(iter(site.inputs), ""), ())

    def _giver(self, site: Site, port: str) -> End:
        if site.inputs is None:
            ports = self.nodes[site.first].ports
            name = port or only(ports.outputs) or "result"
            if ports.gives_any:
                self.asked.setdefault(site.first, {})[name] = None
            return site.first, name
        return site.outputs[port or next(iter(site.outputs))]

    def _add_edge(self, edge: Edge, source: Site, target: Site) -> None:
        on_error = edge.on_error or OnError.EMPTY
        if edge.is_order:
            for before in self._leaves(source):
                for after in self._roots(target):
                    self._write(FlatEdge(before, edge.source_port, after, "", 0, True, on_error))
            return
        giver, port = self._giver(source, edge.source_port)
        for taker, name in self._takers(target, edge.target_port):
            self._write(FlatEdge(giver, port, taker, name, edge.index, False, on_error))

    def _write(self, edge: FlatEdge) -> None:
        if len(self.edges) >= EDGES_MOST:
            raise PlanTooLarge(f"written out, the canvas has more than {EDGES_MOST} edges")
        self.edges.append(edge)

    def _leaves(self, site: Site) -> Sequence[int]:
        if not site.leaves:
            followed = {edge.source for edge in self.edges[slice(*site.edges)]}
            site.leaves = [number for number in range(site.first, site.last) if number not in followed]
        return site.leaves

    def _roots(self, site: Site) -> Sequence[int]:
        if not site.roots:
            preceded = {edge.target for edge in self.edges[slice(*site.edges)]}
            site.roots = [number for number in range(site.first, site.last) if number not in preceded]
        return site.roots
