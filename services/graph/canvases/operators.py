"""What a canvas can be made of: operators as the agents offer them, and the ports of every kind of node.

Owns which types may be connected. Pure.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from services.graph.canvases.canvas import Canvas, Node, Subgraph, body_of
from services.graph.model import SUBGRAPH_DEPTH_MOST

ANY = "any"
"""Of a port whose type is only known when values flow."""

# By what a source gives: what a target may take it as.
_TAKEN_AS = {
    "json": frozenset({"json", "text", "bytes", "file"}),
    "text": frozenset({"text", "bytes", "file"}),
    "bytes": frozenset({"bytes", "file"}),
    "file": frozenset({"file", "bytes", "text"}),
}
PLACEHOLDER = "placeholder:"
"""An operator of another tool that an import did not know begins so."""


class Port(msgspec.Struct, frozen=True):
    """An input or an output. `type` is "json", "text", "bytes", "file" or ANY."""

    name: str
    type: str = ANY
    required: bool = False


class Operator(msgspec.Struct, frozen=True):
    """One that agents offer."""

    name: str
    version: str = ""
    schema: dict[str, Any] | None = None
    """JSON Schema of the parameters; None: not known."""
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    nodes: tuple[str, ...] = ()
    """Agents that offer it, sorted."""
    has_effects: bool = False
    code_digest: str = ""


Catalogue = Mapping[str, Operator]


class Ports(msgspec.Struct, frozen=True):
    """The ports of a node by name, in their order; open: any other name will do too."""

    inputs: dict[str, Port]
    outputs: dict[str, Port]
    takes_any: bool = False
    gives_any: bool = False


NO_PORTS = Ports({}, {}, True, True)
"""Of a node of which nothing is known: every edge fits."""


def can_take(source: str, target: str) -> bool:
    """Whether a value of the one type can go in where the other is wanted.

    JSON is text and bytes, and anything can be a file; a file can be read as bytes or text. What is not known to be
    JSON is not taken for it.
    """
    return ANY in (source, target) or target in _TAKEN_AS.get(source, ())


def split_name(reference: str) -> tuple[str, str]:
    """Name and version of "name" or "name@version"."""
    name, _, version = reference.partition("@")
    return name, version


def is_own_code(name: str) -> bool:
    """Whether it is a "module:function" of a bundle or an environment, which no agent offers."""
    return ":" in name and not name.startswith(PLACEHOLDER)


def named(ports: Iterable[Port]) -> dict[str, Port]:
    """Ports by name; the first of a name counts."""
    found: dict[str, Port] = {}
    for port in ports:
        found.setdefault(port.name, port)
    return found


class Signatures:
    """The ports of every node of a canvas and its sub-graphs."""

    def __init__(self, canvas: Canvas, operators: Catalogue) -> None:
        self._operators = operators
        self.subgraphs: dict[str, Subgraph] = {}
        _collect(canvas, self.subgraphs)
        self._of_subgraph: dict[str, Ports] = {}
        self._open: set[str] = set()

    def of(self, node: Node) -> Ports:
        """The ports of a node; NO_PORTS where its work is not known."""
        if node.operator:
            operator = self._operators.get(split_name(node.operator)[0])
            return Ports(named(operator.inputs), named(operator.outputs)) if operator else NO_PORTS
        if node.command is not None:
            outputs = [Port(name, "file") for name in node.command.outputs] or [Port("result", "json")]
            return Ports({}, named(outputs), takes_any=True)
        if node.branch is not None:
            ports = [case.port for case in node.branch.cases] + [node.branch.otherwise or "else"]
            return Ports({"value": Port("value", "json", True)}, {name: Port(name, "json") for name in ports})
        if node.gate is not None:
            return Ports({"value": Port("value")}, {"value": Port("value")})
        return self._of_body(node)

    def _of_body(self, node: Node) -> Ports:
        name = body_of(node)
        body = self.of_subgraph(name) if name else NO_PORTS
        if node.map is None or body is NO_PORTS:
            return body
        item = node.map.item_port or next(iter(body.inputs), "")
        shared = {name: port for name, port in body.inputs.items() if name != item and name != "items"}
        outputs = {name: Port(name, "json") for name in body.outputs}
        return Ports({"items": Port("items", "json", True), **shared}, outputs)

    def of_subgraph(self, name: str) -> Ports:
        """The ports of a body; NO_PORTS for one that is not there, or contains itself."""
        if name not in self.subgraphs or name in self._open or len(self._open) > SUBGRAPH_DEPTH_MOST:
            return NO_PORTS
        known = self._of_subgraph.get(name)
        if known is None:
            self._open.add(name)
            known = self._of_subgraph[name] = self._read(self.subgraphs[name])
            self._open.discard(name)
        return known

    def _read(self, subgraph: Subgraph) -> Ports:
        nodes = {node.id: node for node in subgraph.canvas.nodes}
        inputs: dict[str, Port] = {}
        for inner in subgraph.inputs:
            found = self._inner(nodes.get(inner.node), inner.port, is_input=True)
            before = inputs.get(inner.name)
            # One name may lead to several ports: then the most particular one tells the type.
            kind = before.type if before is not None and before.type != ANY else found.type
            required = found.required or (before is not None and before.required)
            inputs[inner.name] = Port(inner.name, kind, required)
        outputs = {
            inner.name: Port(inner.name, self._inner(nodes.get(inner.node), inner.port, is_input=False).type)
            for inner in subgraph.outputs
        }
        return Ports(inputs, outputs)

    def _inner(self, node: Node | None, name: str, *, is_input: bool) -> Port:
        if node is None:
            return Port(name)
        ports = self.of(node)
        side = ports.inputs if is_input else ports.outputs
        return side.get(name or only(side)) or Port(name)


def only(ports: Mapping[str, Port]) -> str:
    """The name of the only port; empty: there are none, or several."""
    return next(iter(ports)) if len(ports) == 1 else ""


def _collect(canvas: Canvas, found: dict[str, Subgraph]) -> None:
    """Sub-graphs of all depths; names are one space, the outermost counts."""
    for name, subgraph in canvas.subgraphs.items():
        found.setdefault(name, subgraph)
    for subgraph in canvas.subgraphs.values():
        _collect(subgraph.canvas, found)


def all_nodes(canvas: Canvas, subgraphs: Mapping[str, Subgraph]) -> Iterable[Node]:
    """Nodes of the canvas and of every sub-graph."""
    yield from canvas.nodes
    for subgraph in subgraphs.values():
        yield from subgraph.canvas.nodes


def operators_digest(canvas: Canvas, operators: Catalogue) -> str:
    """sha256 of the operators that the canvas names, as far as they matter to validation and planning."""
    subgraphs: dict[str, Subgraph] = {}
    _collect(canvas, subgraphs)
    names = {split_name(node.operator)[0] for node in all_nodes(canvas, subgraphs) if node.operator}
    described = [
        (
            name,
            operator.version,
            operator.schema,
            operator.inputs,
            operator.outputs,
            operator.has_effects,
            operator.code_digest,
        )
        if (operator := operators.get(name))
        else (name,)
        for name in sorted(names)
    ]
    return hashlib.sha256(msgspec.json.encode(described, order="sorted")).hexdigest()
