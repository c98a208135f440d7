"""The canvases that a canvas is made of: itself, and each body of a map, loop or sub-graph once. Pure."""

from collections.abc import Iterator, Mapping

from services.graph.canvases.canvas import Canvas, Node, Subgraph, body_of
from services.graph.canvases.problems import shown


class Drawing:
    """One canvas of the whole: what was drawn itself, or a body."""

    def __init__(self, canvas: Canvas, path: str, subgraph: Subgraph | None) -> None:
        self.canvas = canvas
        self.path = path
        self.nodes: dict[str, Node] = {}
        self.index: dict[str, int] = {}
        for number, node in enumerate(canvas.nodes):
            self.nodes.setdefault(node.id, node)
            self.index.setdefault(node.id, number)
        self.fed = {(port.node, port.port) for port in subgraph.inputs} if subgraph else set()
        self.subgraph = subgraph

    def at(self, node_id: str) -> str:
        """What the node is called in problems."""
        return self.path + shown(node_id)


def drawings_of(canvas: Canvas, subgraphs: Mapping[str, Subgraph]) -> Iterator[Drawing]:
    """The canvas, then each body, under the path of the first node that runs it; what nobody runs last."""
    seen: set[str] = set()
    waiting = [Drawing(canvas, "", None)]
    for drawing in waiting:
        yield drawing
        for node in drawing.canvas.nodes:
            name = body_of(node)
            if name and name in subgraphs and name not in seen:
                seen.add(name)
                waiting.append(Drawing(subgraphs[name].canvas, f"{drawing.at(node.id)}/", subgraphs[name]))
    for name, subgraph in subgraphs.items():
        if name not in seen:
            yield Drawing(subgraph.canvas, f"{shown(name)}/", subgraph)
