"""What a KFP task gives to a sub-graph in which nothing reads it: left out, for it would flow nowhere. Pure."""

from collections.abc import Mapping

from msgspec.structs import replace

from services.graph.canvases.canvas import Canvas, Edge, Node, Subgraph, body_of

ITEMS = "items"


def without_unread(canvas: Canvas, subgraphs: Mapping[str, Subgraph]) -> tuple[Canvas, dict[str, Subgraph]]:
    """Canvas and bodies without edges into inputs that a body does not have; that may leave others unread in turn."""
    bodies, is_settled = dict(subgraphs), False
    while not is_settled:
        is_settled = True
        for name, body in bodies.items():
            read = _body(body, bodies)
            if read != body:
                bodies[name], is_settled = read, False
    return _canvas(canvas, bodies), bodies


def _body(body: Subgraph, bodies: Mapping[str, Subgraph]) -> Subgraph:
    nodes = {node.id: node for node in body.canvas.nodes}
    inputs = tuple(port for port in body.inputs if _is_read(nodes.get(port.node), port.port, bodies))
    return replace(body, canvas=_canvas(body.canvas, bodies), inputs=inputs)


def _canvas(canvas: Canvas, bodies: Mapping[str, Subgraph]) -> Canvas:
    nodes = {node.id: node for node in canvas.nodes}
    edges = tuple(edge for edge in canvas.edges if _flows(edge, nodes, bodies))
    return canvas if len(edges) == len(canvas.edges) else replace(canvas, edges=edges)


def _flows(edge: Edge, nodes: Mapping[str, Node], bodies: Mapping[str, Subgraph]) -> bool:
    return edge.is_order or _is_read(nodes.get(edge.target), edge.target_port, bodies)


def _is_read(node: Node | None, port: str, bodies: Mapping[str, Subgraph]) -> bool:
    name = body_of(node) if node is not None else None
    if node is None or name is None or name not in bodies:
        return True
    if node.map is not None and port == ITEMS:
        return True
    return port in {each.name for each in bodies[name].inputs}
