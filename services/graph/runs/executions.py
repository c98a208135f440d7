"""Executions of the bodies of maps and loops begin, and go on after a restart. Pure."""

from services.graph.runs import commits
from services.graph.runs.effects import FetchKept
from services.graph.runs.state import Scope
from services.graph.runs.step import Step
from services.graph.runs.values import Kept, PortInput


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
        step.pass_turn(inner)
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
