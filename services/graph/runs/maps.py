"""Maps: the body runs for each item of a list, several side by side; outputs are lists in the items' order. Pure.

Which items are executed when is nobody's business but the clock's; that a map fails, and at which item, is decided in
the items' order: at the first by which more have failed than may.
"""

import math

import msgspec

from services.graph.model import MapControl
from services.graph.runs import bodies, executions, results
from services.graph.runs.state import MapBodies, Scope
from services.graph.runs.step import Step
from services.graph.runs.values import (
    CAUSE_ERROR,
    CAUSE_SETUP,
    EMPTY,
    Detail,
    End,
    Failure,
    Output,
    Piece,
    PortInput,
)

ITEMS = "items"
"""The input port with the list."""
ITEMS_MOST = 100_000
INLINE_BYTES_MOST = 64 << 10
"""Of a list that travels inline; a larger one lies in the store."""
LISTS_BYTES_MOST = 64 << 20
"""Of all lists of small values that a map gives."""
_TOO_LARGE = f"its lists have more than {LISTS_BYTES_MOST >> 20} MiB"

_LIST = msgspec.json.Decoder(list[msgspec.Raw])


def begin(step: Step, scope: Scope, rank: int, inputs: list[PortInput]) -> None:
    """The list is here, or has to be read first."""
    given = _items_of(inputs)
    if given is None:
        _split(step, scope, rank, inputs, ())
    elif given.is_list:
        _split(step, scope, rank, inputs, given.pieces)
    elif given.pieces[0].digest:
        step.read((*scope.place, rank), {ITEMS: given.pieces[0].digest})
    else:
        _split_text(step, scope, rank, inputs, given.pieces[0].value)


def on_read(step: Step, scope: Scope, rank: int, text: str) -> None:
    """The list that lay in the store."""
    _split_text(step, scope, rank, results.inputs_of(scope, rank), text)


def _items_of(inputs: list[PortInput]) -> PortInput | None:
    return next((port for port in inputs if port.port == ITEMS), None)


def _split_text(step: Step, scope: Scope, rank: int, inputs: list[PortInput], text: str) -> None:
    if text in ("", "null"):
        _split(step, scope, rank, inputs, ())
        return
    try:
        items = _LIST.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        _fail(step, scope, rank, "what came to its port 'items' is not a list", "give a JSON list")
        return
    if len(items) > ITEMS_MOST:
        _fail(
            step,
            scope,
            rank,
            f"{len(items)} items are more than {ITEMS_MOST}",
            "split the list among several maps",
        )
        return
    _split(
        step,
        scope,
        rank,
        inputs,
        tuple([results.small_piece(bytes(item).decode().strip()) for item in items]),
    )


def _fail(step: Step, scope: Scope, rank: int, message: str, next_step: str) -> None:
    step.end(scope, rank, End(Detail.FAILED, failure=Failure(CAUSE_SETUP, message, next_step)))


def _split(step: Step, scope: Scope, rank: int, inputs: list[PortInput], items: tuple[Piece, ...]) -> None:
    """Each item, or batch of items, becomes what one execution of the body gets."""
    control = _control(scope, rank)
    size, port = control.batch_size, control.item_port
    groups = [items[start : start + max(1, size)] for start in range(0, len(items), max(1, size))]
    given = [PortInput(port, "json", group, bool(size)) for group in groups]
    shared = {one.port: one for one in inputs if one.port != ITEMS}
    executed = scope.bodies[rank] = MapBodies(shared, given, len(items))
    if not groups:
        _finish(step, scope, rank, executed)
    else:
        begin_more(step, scope, rank, executed)


def _control(scope: Scope, rank: int) -> MapControl:
    control = scope.shape.graph.nodes[rank].control
    assert isinstance(control, MapControl)
    return control


def begin_more(step: Step, scope: Scope, rank: int, executed: MapBodies) -> None:
    """As many items as may run side by side."""
    control = _control(scope, rank)
    most = control.max_parallel or len(executed.items)
    while executed.next - executed.ended < most and bodies.has_room(executed):
        item = executed.items[executed.next]
        executions.begin(step, scope, rank, {**executed.inputs, control.item_port: item})


def on_ended(step: Step, scope: Scope, inner: Scope) -> None:
    """An item, or a batch, has ended."""
    rank, number = inner.place[-2:]
    executed = scope.bodies[rank]
    assert isinstance(executed, MapBodies)
    step.pass_turn(inner)
    if inner.errors:
        _settle(step, scope, rank, executed, number, bodies.failure_of(inner))
        return
    control = _control(scope, rank)
    outputs = bodies.outputs_of(inner)
    large = {name: output.digest for name, output in outputs.items() if output is not None and output.digest}
    if control.batch_size and large:
        step.read(inner.place, large)
        return
    _take(step, scope, rank, executed, number, outputs)


def on_batch_read(
    step: Step, scope: Scope, inner: Scope, values: dict[str, str], failure: Failure | None
) -> None:
    """Lists of a batch that lay in the store, or why they could not be read."""
    rank, number = inner.place[-2:]
    executed = scope.bodies[rank]
    assert isinstance(executed, MapBodies)
    if failure is not None:
        _settle(step, scope, rank, executed, number, failure)
        return
    outputs = bodies.outputs_of(inner) | {name: Output(name, value) for name, value in values.items()}
    _take(step, scope, rank, executed, number, outputs)


def _take(
    step: Step, scope: Scope, rank: int, executed: MapBodies, number: int, outputs: dict[str, Output | None]
) -> None:
    is_batch, wanted = bool(_control(scope, rank).batch_size), len(executed.items[number].pieces)
    given: list[tuple[Piece, ...]] = []
    for name, output in outputs.items():
        pieces = _members(output) if is_batch else _single(output)
        if pieces is None or len(pieces) != wanted:
            what = (
                f"is no list of {wanted}"
                if is_batch
                else "is a list with artefacts, which has no place in a list"
            )
            advice = "give one member for each item" if is_batch else "put it together in a node of the body"
            failure = Failure(CAUSE_ERROR, f"{number}: output {name!r} {what}", advice)
            _settle(step, scope, rank, executed, number, failure)
            return
        given.append(pieces)
    _settle(step, scope, rank, executed, number, tuple(given))


def _single(output: Output | None) -> tuple[Piece, ...] | None:
    if output is not None and output.items:
        return None
    return (results.piece_of(output),)


def _members(output: Output | None) -> tuple[Piece, ...] | None:
    if output is None:
        return None
    if output.items:
        return output.items
    try:
        return tuple([results.small_piece(bytes(raw).decode().strip()) for raw in _LIST.decode(output.value)])
    except (msgspec.MsgspecError, RecursionError):
        return None


def _settle(
    step: Step, scope: Scope, rank: int, executed: MapBodies, number: int,
    given: tuple[tuple[Piece, ...], ...] | Failure,
) -> None:  # fmt: skip
    """The item's end is known; in the items' order it may decide over the map."""
    if executed.given[number] is not None or number > executed.last:
        return
    executed.given[number] = given
    executed.ended += 1
    allowed = allowed_failures(executed.total, _control(scope, rank).min_success_ratio)
    while executed.frontier <= executed.last and executed.given[executed.frontier] is not None:
        if isinstance(executed.given[executed.frontier], Failure):
            executed.failures += len(executed.items[executed.frontier].pieces)
            if executed.failures > allowed:
                step.drop_behind((*scope.place, rank), executed.frontier)
                bodies.let_go(executed, executed.frontier)
        executed.frontier += 1
    _show(step, scope, rank, executed)
    if executed.frontier > executed.last:
        _finish(step, scope, rank, executed)
    else:
        begin_more(step, scope, rank, executed)


def allowed_failures(total: int, ratio: float) -> int:
    """How many of so many items may fail."""
    return total - math.ceil(ratio * total - 1e-9)


def _show(step: Step, scope: Scope, rank: int, executed: MapBodies) -> None:
    hundredth = executed.ended * 100 // len(executed.items)
    if hundredth != executed.shown:
        executed.shown = hundredth
        what = "batches" if _control(scope, rank).batch_size else "items"
        ratio = executed.ended / len(executed.items)
        scope.nodes[rank].progress = (ratio, f"{executed.ended:,} of {len(executed.items):,} {what}")
        step.touch((*scope.place, rank))


def _finish(step: Step, scope: Scope, rank: int, executed: MapBodies) -> None:
    control = _control(scope, rank)
    if executed.failures > allowed_failures(executed.total, control.min_success_ratio):
        step.end(scope, rank, End(Detail.FAILED, failure=_failure(executed, control)))
        return
    outputs = _lists(scope, rank, executed)
    large = {output.port: output.value for output in outputs if len(output.value) > INLINE_BYTES_MOST}
    if sum(map(len, large.values())) > LISTS_BYTES_MOST:
        _fail(
            step,
            scope,
            rank,
            _TOO_LARGE,
            "give files instead of values",
        )
    elif large:
        step.keep((*scope.place, rank), large)
    else:
        step.end(scope, rank, End(Detail.COMPUTED, outputs, note=_note(executed)))


def on_stored(step: Step, scope: Scope, rank: int, stored: dict[str, tuple[str, int]]) -> None:
    """Lists too large to travel lie in the store."""
    executed = scope.bodies[rank]
    assert isinstance(executed, MapBodies)
    outputs = tuple(
        results.artifact_output(output.port, *stored[output.port], is_value=True)
        if output.port in stored
        else output
        for output in _lists(scope, rank, executed)
    )
    step.end(scope, rank, End(Detail.COMPUTED, outputs, note=_note(executed)))


def _lists(scope: Scope, rank: int, executed: MapBodies) -> tuple[Output, ...]:
    body = _control(scope, rank).body
    outputs = []
    for index, port in enumerate(body.outputs):
        pieces: list[Piece] = []
        for number, given in enumerate(executed.given):
            if isinstance(given, Failure) or given is None:
                pieces += [EMPTY] * len(executed.items[number].pieces)
            else:
                pieces += given[index]
        outputs.append(results.list_output(port.name, pieces))
    return tuple(outputs)


def _note(executed: MapBodies) -> str:
    failed = f", {executed.failures:,} of them failed" if executed.failures else ""
    return f"{executed.total:,} item{'' if executed.total == 1 else 's'}{failed}"


def _failure(executed: MapBodies, control: MapControl) -> Failure:
    """The first item's error, and how many there were by then."""
    first = next(given for given in executed.given if isinstance(given, Failure))
    allowed = allowed_failures(executed.total, control.min_success_ratio)
    may = "none" if not allowed else f"at most {allowed}"
    message = f"{executed.failures} of {executed.total} items failed where {may} may, first {first.message}"
    return Failure(first.cause, message, first.next_step, first.exit_code, first.signal)
