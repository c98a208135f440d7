"""Branches: what comes in goes out at the port of the first case that holds (S1.9). Pure."""

from services.graph.model import BranchControl
from services.graph.runs import conditions, results
from services.graph.runs.state import Scope
from services.graph.runs.step import Step
from services.graph.runs.values import Detail, End, PortInput

VALUE = "value"


def begin(step: Step, scope: Scope, rank: int, inputs: list[PortInput]) -> None:
    """The value is here, or has to be read first. Raises NotComparable."""
    given = next((port for port in inputs if port.port == VALUE), None)
    if given is None:
        on_read(step, scope, rank, "null")
    elif given.is_list:
        text = results.joined(given.pieces)
        if text is None:
            raise conditions.NotComparable(
                "artefacts are among the members of the list that is compared", field="branch",
                next_step="compare a value that a node makes of them",
            )  # fmt: skip
        on_read(step, scope, rank, text)
    elif given.pieces[0].digest:
        step.read((*scope.place, rank), {VALUE: given.pieces[0].digest})
    else:
        on_read(step, scope, rank, given.pieces[0].value)


def on_read(step: Step, scope: Scope, rank: int, text: str) -> None:
    """What is compared is here; the value goes on as it came. Raises NotComparable, ListOfLists."""
    control = scope.shape.graph.nodes[rank].control
    assert isinstance(control, BranchControl)
    value = conditions.decoded(text)
    port = next(
        (case.port for case in control.cases if conditions.holds(case.condition, value)), control.otherwise
    )
    inputs = results.inputs_of(scope, rank)
    given = next((one for one in inputs if one.port == VALUE), None)
    step.end(scope, rank, End(Detail.COMPUTED, (results.passed_on(port, given),), note=f"took {port!r}"))
