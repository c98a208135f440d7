"""What flows between nodes: outputs by port, inputs by port in the defined order, keys of the cache. Pure.

Values of at most 64 KiB are JSON text; what is larger is named by its digest and never seen here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256

import msgspec

from services.chassis.errors import FailedPrecondition
from services.graph.canvases.operators import is_own_code
from services.graph.model import InputEdge, PlannedNode, Trigger
from services.graph.runs.parameters import variable_of
from services.graph.runs.state import Scope
from services.graph.runs.values import EMPTY, End, Output, Piece, PortInput

RESULT = "result"
"""The port of an operator that declares none."""

PLAIN = ("text", "bytes", "file")
"""What a port takes that wants the text of a JSON string, not the JSON."""

_DECODE = msgspec.json.Decoder()
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODE = msgspec.json.Encoder(order="sorted")


NOTHING = Output("")
"""Of an edge that does not count: its target takes the first of its predecessors that is done, and no other."""


class ListOfLists(FailedPrecondition):
    """Several lists go into one port, and artefacts are among their members."""


def value_output(port: str, value: str) -> Output:
    """A small JSON value at a port."""
    data = value.encode()
    return Output(port, value, "", len(data), sha256(data).digest())


def artifact_output(port: str, digest: str, size_bytes: int, *, is_value: bool = False) -> Output:
    """An artefact at a port: a file, or the JSON of a value."""
    return Output(port, "", digest, size_bytes, bytes.fromhex(digest), is_value=is_value)


def outputs_of(
    node: PlannedNode, value: str, value_digest: str, files: Iterable[tuple[str, str, int, bool]]
) -> tuple[Output, ...]:
    """The outputs of a task by port: `value` is what the operator returned as JSON, `files` (name, digest, bytes,
    whether it is the JSON of a value)."""
    by_path = dict(node.files)
    found = [
        artifact_output(by_path.get(name, name), digest, size_bytes, is_value=is_value)
        for name, digest, size_bytes, is_value in files
    ]
    taken = {output.port for output in found}
    open_ports = [port for port in node.outputs if port not in taken] or ([] if taken else [RESULT])
    if value_digest:
        found += [artifact_output(port, value_digest, 0, is_value=True) for port in open_ports[:1]]
    elif value:
        found += _values(node, value, open_ports)
    if len(found) < 2:
        return tuple(found)
    places = {port: place for place, port in enumerate(node.outputs)}
    return tuple(sorted(found, key=lambda output: (places.get(output.port, len(places)), output.port)))


def _values(node: PlannedNode, value: str, open_ports: list[str]) -> list[Output]:
    """One open port of one gets the value; several get the members of an object."""
    if node.outputs and is_own_code(node.operator):
        return _asked(value, open_ports)
    if len(node.outputs) < 2 and open_ports:
        return [value_output(open_ports[0], value)]
    try:
        members = _OBJECT.decode(value)
    except msgspec.MsgspecError:
        return [value_output(port, value) for port in open_ports[:1]]
    # Of code that no agent offers the ports are not known: each member is one, beside the files.
    wanted = set(open_ports if node.outputs else members)
    return [value_output(port, bytes(raw).decode()) for port, raw in members.items() if port in wanted]


def _asked(value: str, ports: list[str]) -> list[Output]:
    """Of code whose ports nobody has declared, what is asked for: the members of an object by their names. The value
    itself has the name of the result, and any name if there is one alone and no such member."""
    try:
        members = {port: bytes(raw).decode() for port, raw in _OBJECT.decode(value).items()}
    except msgspec.MsgspecError:
        members = {}
    whole = value if len(ports) == 1 else ""
    found = [(port, value if port == RESULT else members.get(port, whole)) for port in ports]
    return [value_output(port, text) for port, text in found if text]


def note_of(node: PlannedNode, outputs: Sequence[Output]) -> str:
    """What is asked of code of one's own that it has not given; empty: nothing, or nobody asks."""
    if not is_own_code(node.operator):
        return ""
    given = {output.port for output in outputs}
    lacking = [port for port in node.outputs if port not in given]
    return f"returned no {', '.join(map(repr, lacking[:5]))}: nothing comes from there" if lacking else ""


def inputs_of(scope: Scope, rank: int) -> list[PortInput]:
    """What the node gets, by port in the declared order (S1.5, S1.8); what comes from outside a body stands first in
    its port. Raises ListOfLists."""
    node, found = scope.shape.graph.nodes[rank], dict[str, _Port]()
    for port in scope.shape.fed.get(rank, ()):
        given = scope.inputs.get(port.name)
        if given is not None:
            found.setdefault(port.port, _Port(port.takes)).add(given.pieces, given.is_list)
    only = first_done(scope, rank) if node.trigger is Trigger.ANY_DONE else None
    return _together(found, node.inputs, lambda edge: _flowing(scope, edge, only))


def inputs_from(node: PlannedNode, outputs: Mapping[int, tuple[Output, ...]]) -> list[PortInput]:
    """The same of a node all of whose predecessors are done, with these outputs. Raises ListOfLists."""
    only = min((edge.source for edge in node.inputs), default=None)

    def flowing(edge: InputEdge) -> Output | None:
        if node.trigger is Trigger.ANY_DONE and edge.source != only:
            return NOTHING
        return output_of(outputs[edge.source], edge.source_port)

    return _together({}, node.inputs, flowing)


def _together(
    found: dict[str, "_Port"], edges: Iterable[InputEdge], flowing: Callable[[InputEdge], Output | None]
) -> list[PortInput]:
    for edge in edges:
        if edge.is_order:
            continue
        output = flowing(edge)
        if output is NOTHING:
            continue
        port = found.get(edge.port)
        if port is None:
            port = found[edge.port] = _Port(edge.takes)
        if output is not None and output.items:
            port.add(output.items, True)
        else:
            port.add((piece_of(output),), False)
    return [PortInput(name, port.takes, *port.value(name)) for name, port in found.items()]


class _Port:
    """What comes together at one port."""

    __slots__ = ("given", "has_lists", "takes")

    def __init__(self, takes: str) -> None:
        self.takes = takes
        self.has_lists = False
        self.given: list[tuple[tuple[Piece, ...], bool]] = []

    def add(self, pieces: tuple[Piece, ...], is_list: bool) -> None:
        self.given.append((pieces, is_list))
        self.has_lists = self.has_lists or is_list

    def value(self, name: str) -> tuple[tuple[Piece, ...], bool]:
        if len(self.given) == 1:
            return self.given[0]
        if not self.has_lists:
            return tuple([pieces[0] for pieces, _ in self.given]), True
        whole = [_whole(pieces) if is_list else pieces[0] for pieces, is_list in self.given]
        if any(piece is None for piece in whole):
            raise ListOfLists(
                f"port {name!r} gets several lists, and artefacts are among their members", field=name,
                next_step="put each list together in a node of its own",
            )  # fmt: skip
        return tuple([piece for piece in whole if piece is not None]), True


def _whole(pieces: Sequence[Piece]) -> Piece | None:
    text = joined(pieces)
    return None if text is None else small_piece(text)


def first_done(scope: Scope, rank: int) -> int | None:
    """The predecessor of least rank that has results, if all before it have ended; which one that is does not depend
    on who is quicker."""
    for source in sorted(scope.shape.predecessors[rank]):
        end = scope.nodes[source].end
        if end is None:
            return None
        if end.detail.has_results:
            return source
    return None


def _flowing(scope: Scope, edge: InputEdge, only: int | None) -> Output | None:
    end = scope.nodes[edge.source].end
    if only is not None and edge.source != only:
        return NOTHING
    return None if end is None else output_at(end, edge.source_port)


def piece_of(output: Output | None) -> Piece:
    """What flows of an output that is no list of artefacts."""
    return EMPTY if output is None else Piece(output.value, output.digest, output.content, output.is_value)


def small_piece(value: str) -> Piece:
    """A small JSON value."""
    return Piece(value, "", sha256(value.encode()).digest())


def passed_on(port: str, given: PortInput | None) -> Output:
    """What came in, as the output of a port; null where nothing did."""
    if given is None:
        return value_output(port, "null")
    if given.is_list:
        return list_output(port, given.pieces)
    [piece] = given.pieces
    if not piece.digest:
        return value_output(port, piece.value or "null")
    return Output(port, "", piece.digest, 0, piece.content, is_value=piece.is_value)


def list_output(port: str, pieces: Sequence[Piece]) -> Output:
    """A list as the output of a port; empty sets are null in it."""
    text = joined(pieces)
    if text is not None:
        return value_output(port, text)
    whole = sha256(b"".join(piece.content or bytes(32) for piece in pieces)).digest()
    return Output(port, content=whole, items=tuple(pieces))


def output_at(end: End, port: str) -> Output | None:
    """The output of that port; "" is the only one."""
    return output_of(end.outputs, port)


def output_of(outputs: Iterable[Output], port: str) -> Output | None:
    """The one of that port; "" is the only one."""
    for output in outputs:
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
    if takes in PLAIN and value[:1] == '"':
        return str(_DECODE.decode(value)).encode()
    return value.encode()


def key_of(node: PlannedNode, params: str, inputs: Iterable[PortInput]) -> bytes:
    """What the results are a function of: the code, the parameters, the contents of the inputs in port order.

    Contents, not recipes: a change further up that yields equal bytes ends here (early cut-off).
    """
    seen = []
    for text in (node.identity or f"{node.operator}@{node.version}", canonical(params)):
        data = text.encode()
        seen.append(b"%d:%b" % (len(data), data))
    if not node.identity:
        seen.append(node.body)
    if variable := variable_of(node.parameter_address):
        # What it gives nobody knows here; that it is another one is known.
        seen.append(b"$%b;" % variable.encode())
    for port_input in inputs:
        name = port_input.port.encode()
        seen.append(b"|%d:%b%d;" % (len(name), name, len(port_input.pieces)))
        for piece in port_input.pieces:
            seen.append(piece.content or b"-")
            if piece.digest and not piece.is_value:
                # A file that holds JSON is another input than the value that this JSON says.
                seen.append(b"f")
    return sha256(b"".join(seen)).digest()


def canonical(params: str) -> str:
    """The same text for the same JSON object."""
    if params in ("", "{}"):
        return "{}"
    return _ENCODE.encode(_DECODE.decode(params)).decode()


def stripped(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """What is left of them once nobody needs the values: their contents' digests."""
    return tuple(msgspec.structs.replace(output, value="", digest="", items=()) for output in outputs)
