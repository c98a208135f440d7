"""Where a node of a run stands: (rank,) in the run's own graph, (rank, number, rank) in an execution of a body. Pure.

Ids follow places: "n5/3/n1" is node n1 of the fourth execution of the body of n5. Places stand in the total order.
"""

from services.graph.model import Body, Graph, LoopControl, MapControl, PlannedNode

Place = tuple[int, ...]


def body_at(node: PlannedNode) -> Body | None:
    """The body that a map or loop executes."""
    return node.control.body if isinstance(node.control, MapControl | LoopControl) else None


def text_of(place: Place) -> str:
    """The place as text of the same order."""
    return ".".join([f"{number:05x}" for number in place])


def place_of(text: str) -> Place:
    """What `text_of` wrote."""
    return tuple([int(number, 16) for number in text.split(".")])


def node_at(graph: Graph, place: Place) -> PlannedNode:
    """The node that stands there."""
    node = graph.nodes[place[0]]
    for rank in place[2::2]:
        body = body_at(node)
        assert body is not None
        node = body.graph.nodes[rank]
    return node


def id_at(graph: Graph, place: Place) -> str:
    """The id of a node, or (a place that ends with a number) of one execution of a body."""
    if len(place) == 1:
        return graph.nodes[place[0]].id
    node = graph.nodes[place[0]]
    parts = [node.id]
    for number, rank in zip(place[1::2], [*place[2::2], None], strict=False):
        parts.append(str(number))
        if rank is None:
            break
        body = body_at(node)
        assert body is not None
        node = body.graph.nodes[rank]
        parts.append(node.id)
    return "/".join(parts)


def find(graph: Graph, node_id: str) -> Place | None:
    """The place of a node, or of an execution of a body, by its id; whether that was executed is not asked."""
    for node in graph.nodes:
        if node.id == node_id:
            return (node.rank,)
    for node in graph.nodes:
        body = body_at(node)
        if body is None or not node_id.startswith(node.id + "/"):
            continue
        number, slash, rest = node_id[len(node.id) + 1 :].partition("/")
        if not (number.isascii() and number.isdecimal() and len(number) <= 7 and str(int(number)) == number):
            continue
        if not slash:
            return node.rank, int(number)
        inner = find(body.graph, rest)
        if inner is not None:
            return node.rank, int(number), *inner
    return None
