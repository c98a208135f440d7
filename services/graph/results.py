"""What flows between nodes: outputs by port, inputs by port in the defined order, keys of the cache. Pure.

Values of at most 64 KiB are JSON text; what is larger is named by its digest and never seen here.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

import msgspec

from services.graph.model import InputEdge, PlannedNode, Trigger
from services.graph.state import End, Output, Run

RESULT = "result"
"""The port of an operator that declares none."""

_DECODE = msgspec.json.Decoder()
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODE = msgspec.json.Encoder(order="sorted")


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """What one edge brings; without value and digest: the empty set."""

    value: str = ""
    digest: str = ""
    content: bytes = b""


class PortInput(msgspec.Struct, frozen=True, array_like=True):
    """What a port gets. A port with several edges gets a list, in the defined order."""

    port: str
    takes: str
    pieces: tuple[Piece, ...]
    is_list: bool


EMPTY = Piece()


def value_output(port: str, value: str) -> Output:
    """A small JSON value at a port."""
    data = value.encode()
    return Output(port, value, "", len(data), sha256(data).digest())


def artifact_output(port: str, digest: str, size_bytes: int) -> Output:
    """An artefact at a port."""
    return Output(port, "", digest, size_bytes, bytes.fromhex(digest))


def outputs_of(
    node: PlannedNode, value: str, value_digest: str, files: Iterable[tuple[str, str, int]]
) -> tuple[Output, ...]:
    """The outputs of a task by port: `value` is what the operator returned as JSON, `files` (name, digest, bytes)."""
    by_path = dict(node.files)
    found = [
        artifact_output(by_path.get(name, name), digest, size_bytes) for name, digest, size_bytes in files
    ]
    taken = {output.port for output in found}
    open_ports = [port for port in node.outputs if port not in taken] or ([] if taken else [RESULT])
    if value_digest:
        found += [artifact_output(port, value_digest, 0) for port in open_ports[:1]]
    elif value:
        found += _values(node, value, open_ports)
    if len(found) < 2:
        return tuple(found)
    places = {port: place for place, port in enumerate(node.outputs)}
    return tuple(sorted(found, key=lambda output: (places.get(output.port, len(places)), output.port)))


def _values(node: PlannedNode, value: str, open_ports: list[str]) -> list[Output]:
    """One open port of one gets the value; several get the members of an object."""
    if len(node.outputs) < 2 and open_ports:
        return [value_output(open_ports[0], value)]
    try:
        members = _OBJECT.decode(value)
    except msgspec.MsgspecError:
        return [value_output(port, value) for port in open_ports[:1]]
    wanted = set(open_ports)
    return [value_output(port, bytes(raw).decode()) for port, raw in members.items() if port in wanted]


def inputs_of(run: Run, rank: int) -> list[PortInput]:
    """What the node gets, by port in the declared order (S1.5, S1.8)."""
    by_port: dict[str, list[InputEdge]] = {}
    for edge in run.graph.nodes[rank].inputs:
        if not edge.is_order:
            by_port.setdefault(edge.port, []).append(edge)
    only = first_done(run, rank) if run.graph.nodes[rank].trigger is Trigger.ANY_DONE else None
    return [
        PortInput(port, edges[0].takes, tuple(_piece(run, edge, only) for edge in edges), len(edges) > 1)
        for port, edges in by_port.items()
    ]


def first_done(run: Run, rank: int) -> int | None:
    """The predecessor of least rank that has results, if all before it have ended; which one that is does not depend
    on who is quicker."""
    for source in sorted(run.predecessors[rank]):
        end = run.nodes[source].end
        if end is None:
            return None
        if end.detail.has_results:
            return source
    return None


def _piece(run: Run, edge: InputEdge, only: int | None) -> Piece:
    end = run.nodes[edge.source].end
    if end is None or (only is not None and edge.source != only):
        return EMPTY
    output = output_at(end, edge.source_port)
    return EMPTY if output is None else Piece(output.value, output.digest, output.content)


def output_at(end: End, port: str) -> Output | None:
    """The output of that port; "" is the only one."""
    for output in end.outputs:
        if output.port == port or not port:
            return output
    return None


def joined(pieces: Sequence[Piece]) -> str | None:
    """Several small values as one JSON list, empty ones as null; None: one of them is an artefact."""
    if any(piece.digest for piece in pieces):
        return None
    return "[" + ",".join(piece.value or "null" for piece in pieces) + "]"


def plain(takes: str, value: str) -> bytes:
    """The bytes of a small value as its port wants them."""
    if takes in ("text", "bytes", "file") and value[:1] == '"':
        return str(_DECODE.decode(value)).encode()
    return value.encode()


def key_of(node: PlannedNode, params: str, inputs: Iterable[PortInput]) -> bytes:
    """What the results are a function of: the code, the parameters, the contents of the inputs in port order.

    Contents, not recipes: a change further up that yields equal bytes ends here (early cut-off).
    """
    seen = sha256()
    for text in (node.identity or f"{node.operator}@{node.version}", canonical(params)):
        data = text.encode()
        seen.update(b"%d:" % len(data))
        seen.update(data)
    if not node.identity:
        seen.update(node.body)
    for port_input in inputs:
        name = port_input.port.encode()
        seen.update(b"|%d:%b%d;" % (len(name), name, len(port_input.pieces)))
        for piece in port_input.pieces:
            seen.update(piece.content or b"-")
    return seen.digest()


def canonical(params: str) -> str:
    """The same text for the same JSON object."""
    if params in ("", "{}"):
        return "{}"
    return _ENCODE.encode(_DECODE.decode(params)).decode()


def stripped(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """What is left of them once nobody needs the values: their contents' digests."""
    return tuple(msgspec.structs.replace(output, value="", digest="") for output in outputs)
