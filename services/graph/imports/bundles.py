"""Nodes whose code or files do not come with a document: which they are, and giving them a bundle. Pure."""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from services.graph.canvases.canvas import Canvas, Node
from services.graph.canvases.operators import is_own_code, split_name
from services.graph.imports.report import Finding, Need


def needs(canvas: Canvas, told: Sequence[Need]) -> tuple[Need, ...]:
    """What the reader of the form told, and nodes with code of one's own and nothing that it is in."""
    known = {(need.body, need.node) for need in told}
    own = [Need(body, node.id) for body, node in _nodes(canvas) if _is_code_without_place(node)]
    return (*told, *(need for need in own if (need.body, need.node) not in known))


def given(canvas: Canvas, needs: Sequence[Need], digest: str) -> Canvas:
    """The canvas with the bundle at the nodes that need one and have none."""
    places = {(need.body, need.node) for need in needs}

    def nodes_of(body: str, nodes: Sequence[Node]) -> tuple[Node, ...]:
        return tuple(
            replace(node, bundle_digest=digest)
            if (body, node.id) in places and not node.bundle_digest
            else node
            for node in nodes
        )

    subgraphs = {
        name: replace(body, canvas=replace(body.canvas, nodes=nodes_of(name, body.canvas.nodes)))
        for name, body in canvas.subgraphs.items()
    }
    return replace(canvas, nodes=nodes_of("", canvas.nodes), subgraphs=subgraphs)


def findings(needs: Sequence[Need], told: Sequence[Finding], *, is_given: bool) -> tuple[Finding, ...]:
    """What is told of the bundle with the rest: each that is missing, or that it was for nobody."""
    rest = tuple(finding for finding in told if not finding.is_need)
    if is_given:
        unused = Finding("bundle_digest", "no node of the document needs a bundle; it was given to none")
        return rest if needs else (*rest, unused)
    own = tuple(
        Finding(need.place, "has code of its own and no bundle that it is in: give it one", need.node)
        for need in needs
        if not need.files
    )
    return (*told, *own)


def _nodes(canvas: Canvas) -> Iterator[tuple[str, Node]]:
    for node in canvas.nodes:
        yield "", node
    for name, body in canvas.subgraphs.items():
        for node in body.canvas.nodes:
            yield name, node


def _is_code_without_place(node: Node) -> bool:
    is_code = bool(node.operator) and is_own_code(split_name(node.operator)[0])
    return is_code and not (node.bundle_digest or node.environment)
