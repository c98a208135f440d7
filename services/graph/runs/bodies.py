"""Executions of the bodies of maps and loops: what is true of them, and letting go of those not wanted. Pure.

What begins them is in `executions.py`.
"""

from services.graph.runs import results
from services.graph.runs.state import Bodies, MapBodies, Scope
from services.graph.runs.values import Failure, Output

UNCOMMITTED_MOST = 10_000
"""Executions of one body that have begun and are not committed: what bounds memory."""


def has_room(executed: Bodies) -> bool:
    """Whether another execution may begin: there is one more, and memory for it."""
    return executed.next <= executed.last and executed.next - executed.committed < UNCOMMITTED_MOST


def let_go(executed: Bodies, last: int) -> None:
    """Nothing behind the execution `last` is wanted any more."""
    executed.last = min(executed.last, last)
    for number in [number for number in executed.scopes if number > last]:
        _let_go(executed.scopes.pop(number))
    executed.next = min(executed.next, last + 1)


def _let_go(scope: Scope) -> None:
    scope.is_gone = True
    for executed in scope.bodies.values():
        for inner in executed.scopes.values():
            _let_go(inner)


def first_open(executed: Bodies) -> int:
    """The least execution that has not ended."""
    number = executed.committed
    while number in executed.scopes and executed.scopes[number].has_ended:
        number += 1
    return number


def failure_of(inner: Scope) -> Failure:
    """Why it failed: the error that is first in its order, told with the execution's number."""
    graph, number = inner.shape.graph, inner.place[-1]
    for rank, node in enumerate(inner.nodes):
        if node.end is not None and node.end.failure is not None:
            found = node.end.failure
            message = f"{number}/{graph.nodes[rank].id}: {found.message}"
            return Failure(found.cause, message, found.next_step, found.exit_code, found.signal)
    raise AssertionError("it has not failed")


def outputs_of(inner: Scope) -> dict[str, Output | None]:
    """What an execution gave, by output of the body."""
    body = inner.shape.body
    assert body is not None
    found: dict[str, Output | None] = {}
    for port in body.outputs:
        end = inner.nodes[port.node].end
        found[port.name] = results.output_at(end, port.port) if end is not None else None
    return found


# Effects: those of one item before those of the next


def has_turn(scope: Scope) -> bool:
    """Whether nodes with effects of this execution may start."""
    assert scope.parent is not None
    at, number = scope.place[-2:]
    executed = scope.parent.bodies[at]
    return not isinstance(executed, MapBodies) or executed.effect_turn == number


def pass_turn(inner: Scope) -> Scope | None:
    """The turn goes to the next item once all with effects of this one have ended. The execution whose turn it is
    then, if it has begun; None also where nothing of this one could have passed it on."""
    assert inner.parent is not None
    at, number = inner.place[-2:]
    executed = inner.parent.bodies.get(at)
    if not isinstance(executed, MapBodies) or executed.effect_turn != number or not inner.shape.effects:
        return None
    while _is_through(executed.scopes.get(executed.effect_turn)):
        executed.effect_turn += 1
    return executed.scopes.get(executed.effect_turn)


def _is_through(scope: Scope | None) -> bool:
    return scope is not None and (scope.has_ended or scope.next_effect >= len(scope.shape.effects))
