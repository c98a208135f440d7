"""Gates: a run waits at them until somebody decides, or for as long as they are given. Pure."""

from services.chassis.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from services.graph.model import GateControl
from services.graph.runs import results
from services.graph.runs.effects import PutGate, Tell
from services.graph.runs.events import GateDecided
from services.graph.runs.places import Place, id_at, node_at
from services.graph.runs.state import Scope
from services.graph.runs.step import Step
from services.graph.runs.values import CAUSE_ERROR, CAUSE_TIMEOUT, Detail, End, Failure, GateRecord, PortInput


class NoGate(InvalidArgument):
    """The node is no gate."""


class GateForbidden(PermissionDenied):
    """Only its approvers decide over this gate."""


class GateNotWaiting(FailedPrecondition):
    """The gate waits for nobody: it was not reached yet, or was decided over."""


def begin(step: Step, scope: Scope, rank: int, inputs: list[PortInput]) -> None:
    """It waits from now on; after a restart since it did before, or not at all where it was decided over."""
    run, place = step.run, (*scope.place, rank)
    control = scope.shape.graph.nodes[rank].control
    assert isinstance(control, GateControl)
    record = run.gates.get(place)
    if record is None:
        record = run.gates[place] = GateRecord(step.now)
        step.effects.rows.append(PutGate(run.spec.number, place, record))
        if not run.spec.is_silent:
            step.effects.wishes.append(
                Tell(run.spec.number, run.spec.account, id_at(run.graph, place), control.message)
            )
    deadline_ms = record.open_ms + control.timeout_ms if control.timeout_ms else 0
    if record.is_approved is not None:
        _end(step, scope, rank, record)
    elif deadline_ms and deadline_ms <= step.now:
        # It had ended before a restart, or would have: nobody decides over it any more.
        _time_out(step, scope, rank)
    else:
        scope.nodes[rank].detail = Detail.GATED
        if deadline_ms:
            step.state.deadlines[run.spec.number, place] = deadline_ms


def require_approver(control: GateControl, name: str, account: str, *, is_admin: bool) -> None:
    """Raises GateForbidden unless the account is among those that are named, if any are."""
    if control.approvers and account not in control.approvers and not is_admin:
        raise GateForbidden(
            f"{account} may not decide over {name}", field="node_id",
            next_step=f"ask one of: {', '.join(control.approvers)}",
        )  # fmt: skip


def decide(step: Step, event: GateDecided) -> None:
    """The same decision again changes nothing. Raises NoGate, GateForbidden, GateNotWaiting."""
    run, place = step.run, event.place
    name, control = id_at(run.graph, place), node_at(run.graph, place).control
    if not isinstance(control, GateControl):
        raise NoGate(f"{name} is no gate", field="node_id", next_step=f"yard graph show r-{run.spec.number}")
    require_approver(control, name, event.account, is_admin=event.is_admin)
    record, scope = run.gates.get(place), run.scope_at(place)
    if record is not None and record.is_approved is event.is_approved:
        return
    if record is None or record.is_approved is not None:
        raise _not_waiting(run.spec.number, name, _why_not(record, scope, place[-1]))
    record = GateRecord(record.open_ms, event.is_approved, event.account, event.comment, step.now)
    run.gates[place] = record
    step.effects.rows.append(PutGate(run.spec.number, place, record))
    if scope is not None and scope.nodes[place[-1]].detail is Detail.GATED:
        _end(step, scope, place[-1], record)


def _why_not(record: GateRecord | None, scope: Scope | None, rank: int) -> str:
    if record is not None:
        return f"{record.account} has {'approved' if record.is_approved else 'rejected'} it"
    if scope is None:
        return "it was not reached yet, or has ended"
    end = scope.nodes[rank].end
    if end is not None:
        return "nobody decided in time" if end.detail is Detail.TIMED_OUT else "it has ended"
    return "it was not reached yet"


def _not_waiting(number: int, name: str, why: str) -> GateNotWaiting:
    return GateNotWaiting(
        f"{name} waits for nobody: {why}", field="node_id", next_step=f"yard graph show r-{number}"
    )


def _end(step: Step, scope: Scope, rank: int, record: GateRecord) -> None:
    step.state.deadlines.pop((step.run.spec.number, (*scope.place, rank)), None)
    said = f": {record.comment}" if record.comment else ""
    if not record.is_approved:
        failure = Failure(CAUSE_ERROR, f"rejected by {record.account}{said}")
        step.end(scope, rank, End(Detail.FAILED, failure=failure))
        return
    given = next(iter(results.inputs_of(scope, rank)), None)
    output = results.passed_on("value", given)
    step.end(scope, rank, End(Detail.COMPUTED, (output,), note=f"approved by {record.account}{said}"))


def on_time(step: Step, place: Place) -> None:
    """Nobody has decided in time."""
    step.state.deadlines.pop((step.run.spec.number, place), None)
    scope = step.run.scope_at(place)
    if scope is not None and scope.nodes[place[-1]].detail is Detail.GATED:
        _time_out(step, scope, place[-1])


def _time_out(step: Step, scope: Scope, rank: int) -> None:
    step.run.gates.pop((*scope.place, rank), None)
    failure = Failure(CAUSE_TIMEOUT, "nobody decided in time", "yard graph continue, and decide")
    step.end(scope, rank, End(Detail.TIMED_OUT, failure=failure))
