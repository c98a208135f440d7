"""Loops: the body runs again and again, each round with what the one before gave, until a condition holds. Pure."""

import msgspec

from services.graph.model import LoopControl
from services.graph.runs import bodies, conditions, executions, results
from services.graph.runs.state import LoopBodies, Scope
from services.graph.runs.step import Step
from services.graph.runs.values import Detail, End, Output, PortInput

UNTIL = "until"


def begin(step: Step, scope: Scope, rank: int, inputs: list[PortInput]) -> None:
    """The first round gets the loop's inputs."""
    most = max(1, _control(scope, rank).max_iterations)
    scope.bodies[rank] = LoopBodies({port.port: port for port in inputs}, most)
    begin_more(step, scope, rank)


def _control(scope: Scope, rank: int) -> LoopControl:
    control = scope.shape.graph.nodes[rank].control
    assert isinstance(control, LoopControl)
    return control


def _bodies(scope: Scope, rank: int) -> LoopBodies:
    executed = scope.bodies[rank]
    assert isinstance(executed, LoopBodies)
    return executed


def begin_more(step: Step, scope: Scope, rank: int) -> None:
    """The next round, unless the one before goes on, or too many are not committed yet."""
    executed = _bodies(scope, rank)
    before = executed.scopes.get(executed.next - 1)
    is_settled = not executed.is_deciding and (before is None or before.has_ended)
    if is_settled and bodies.has_room(executed):
        executions.begin(step, scope, rank, executed.values)


def on_ended(step: Step, scope: Scope, inner: Scope) -> None:
    """A round has ended: another follows, or the loop ends."""
    rank = inner.place[-2]
    executed, control = _bodies(scope, rank), _control(scope, rank)
    if inner.errors:
        step.end(scope, rank, End(Detail.FAILED, failure=bodies.failure_of(inner)))
        return
    executed.given = bodies.outputs_of(inner)
    for name, output in executed.given.items():
        if output is not None:
            executed.values[name] = _as_input(output)
    if control.until is None:
        _decide(step, scope, rank, is_met=False)
        return
    seen = executed.given.get(control.until_port)
    if seen is not None and seen.digest:
        executed.is_deciding = True
        step.read((*scope.place, rank), {UNTIL: seen.digest})
        return
    try:
        on_read(step, scope, rank, seen.value if seen is not None else "null")
    except conditions.NotComparable as error:
        step.fail(scope, rank, error)


def on_read(step: Step, scope: Scope, rank: int, text: str) -> None:
    """What the condition looks at is here. Raises NotComparable."""
    control = _control(scope, rank)
    assert control.until is not None
    _bodies(scope, rank).is_deciding = False
    _decide(step, scope, rank, is_met=conditions.holds(control.until, conditions.decoded(text)))


def _decide(step: Step, scope: Scope, rank: int, *, is_met: bool) -> None:
    executed, control = _bodies(scope, rank), _control(scope, rank)
    rounds = executed.next
    if not is_met and rounds <= executed.last:
        node = scope.nodes[rank]
        node.progress = (rounds / (executed.last + 1), f"{rounds:,} of at most {executed.last + 1:,} rounds")
        step.touch((*scope.place, rank))
        begin_more(step, scope, rank)
        return
    executed.last = rounds - 1
    outputs = tuple(
        results.value_output(name, "null") if output is None else _renamed(name, output)
        for name, output in executed.given.items()
    )
    note = f"{rounds:,} round{'' if rounds == 1 else 's'}"
    if control.until is not None:
        note += ", the condition holds" if is_met else ", the condition does not hold"
    step.end(scope, rank, End(Detail.COMPUTED, outputs, note=note))


def _renamed(name: str, output: Output) -> Output:
    return msgspec.structs.replace(output, port=name)


def _as_input(output: Output) -> PortInput:
    if output.items:
        return PortInput(output.port, "json", output.items, True)
    return PortInput(output.port, "json", (results.piece_of(output),), False)
