"""Executions of the bodies of maps and loops: how one begins, and how those not wanted are let go of. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.graph import commits, maps
from services.graph.effects import FetchKept
from services.graph.state import Bodies, Scope
from services.graph.values import Failure, Kept, PortInput

if TYPE_CHECKING:
    from services.graph.runs import Step

UNCOMMITTED_MOST = 10_000
"""Executions of one body that have begun and are not committed: what bounds memory."""


def begin(step: Step, scope: Scope, rank: int, inputs: dict[str, PortInput]) -> None:
    """The next execution of the body of a node."""
    run, executed = step.run, scope.bodies[rank]
    inner = Scope(scope.shape.body_of(rank), (*scope.place, rank, executed.next), scope)
    inner.inputs = inputs
    executed.scopes[executed.next] = inner
    executed.next += 1
    run.node_count += len(inner.nodes)
    if run.log:
        _take_up(step, inner)
        maps.pass_turn(step, inner)
    if run.spec.continued_from and inner.place[0] not in run.spec.fresh and not inner.has_ended:
        run.aside.add(inner.place)
        step.effects.wishes.append(FetchKept(run.spec.number, inner.place))
        return
    step.open(inner)


def _take_up(step: Step, inner: Scope) -> None:
    """What was committed of it before a restart."""
    for rank in range(len(inner.nodes)):
        found = step.run.log.pop((*inner.place, rank), None)
        if found is None:
            return
        commits.replay(inner, rank, *found)


def keep(step: Step, inner: Scope, found: dict[int, Kept]) -> None:
    """What the run before has of it is known: it goes on."""
    if inner.place in step.run.aside:
        step.run.aside.discard(inner.place)
        inner.kept = found
        step.open(inner)


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
