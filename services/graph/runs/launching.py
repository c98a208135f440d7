"""How a node that may start does: prepared, kept, cached, decided here, or off to an agent; what is answered to that.

Pure.
"""

from typing import Any

import msgspec

from services.chassis.errors import ServiceError
from services.graph.model import CachePolicy, Kind, PlannedNode
from services.graph.runs import branches, gates, loops, maps, parameters, results
from services.graph.runs.effects import FetchCached, Prepare, TouchCached
from services.graph.runs.places import Place
from services.graph.runs.state import NodeState, Run, Scope
from services.graph.runs.step import Step
from services.graph.runs.values import Detail, End, Failure

_CONTROLS = {
    Kind.BRANCH: branches.begin,
    Kind.GATE: gates.begin,
    Kind.MAP: maps.begin,
    Kind.LOOP: loops.begin,
}
_UNKNOWN = "nothing is known of this operator with these parameters and inputs"
_READERS = {Kind.BRANCH: branches.on_read, Kind.MAP: maps.on_read, Kind.LOOP: loops.on_read}


def launch(step: Step, scope: Scope, rank: int) -> None:
    """Prepared, kept, cached, decided here, or off to an agent."""
    run, node, planned = step.run, scope.nodes[rank], scope.shape.graph.nodes[rank]
    place = (*scope.place, rank)
    node.start_ms = node.start_ms or step.now
    node.detail = Detail.RUNNING
    try:
        if node.params is None and _prepare(step, place, planned, node):
            run.running.add(place)
            step.touch(place)
            return
        inputs = results.inputs_of(scope, rank)
    except ServiceError as error:
        step.fail(scope, rank, error)
        return
    if node.params is not None:
        node.key = results.key_of(planned, node.params or "{}", inputs)
    kept = scope.kept.get(rank)
    if kept is not None and kept.end.key == node.key:
        node.reason = f"kept from r-{kept.run}"
        step.end(scope, rank, msgspec.structs.replace(kept.end, reason=node.reason))
        return
    if planned.control is not None:
        step.touch(place)
        try:
            _CONTROLS[planned.kind](step, scope, rank, inputs)
        except ServiceError as error:
            step.fail(scope, rank, error)
        return
    run.running.add(place)
    step.touch(place)
    why = _no_cache(run, planned)
    is_asked, node.reason = not why, why or _UNKNOWN
    if place in run.expected:
        _take_up(step, scope, rank, place)
        return
    key = (run.spec.account, node.key)
    if is_asked and step.state.cache.has(key, run.spec.number):
        step.state.cache.touch(key)
        step.effects.wishes.append(FetchCached(run.spec.number, place, *key))
        return
    step.effects.inputs[run.spec.number, place] = inputs
    step.submitted.append(place)


def _take_up(step: Step, scope: Scope, rank: int, place: Place) -> None:
    """It had left before a restart, and may have ended."""
    run, node = step.run, scope.nodes[rank]
    node.task = run.expected.pop(place)
    end = run.early.pop(place, None)
    if end is not None:
        step.end(scope, rank, end)


def _prepare(step: Step, place: Place, planned: PlannedNode, node: NodeState) -> bool:
    """Resolves the parameters; True: something has to be read for it first. Raises ServiceError leaves."""
    run = step.run
    text = planned.initial_params
    if parameters.PARAM in text or planned.parameter_address:
        values = _values(step)
        text = parameters.resolve(text, values)
        address = parameters.parse_address(planned.parameter_address)
        if address is not None and address.kind == "run":
            text = parameters.laid_over(text, parameters.at_run(address.name, values))
        elif address is not None and address.kind in ("artifact", "project"):
            if place in run.expected:
                # It has left with what was there then.
                return False
            step.effects.wishes.append(Prepare(run.spec.number, place))
            return True
    node.params = parameters.laid_over(text, run.changed.get(place, ""))
    return False


def _values(step: Step) -> dict[str, Any]:
    if step.values is None:
        step.values = parameters.decode_object(step.run.spec.params, "params_json")
    return step.values


def prepared(step: Step, scope: Scope, rank: int, params: str, failure: Failure | None) -> None:
    """What its parameter address names is here."""
    run, node, place = step.run, scope.nodes[rank], (*scope.place, rank)
    if place not in run.running or node.params is not None:
        return
    if failure is not None:
        step.end(scope, rank, End(Detail.FAILED, failure=failure))
        return
    try:
        text = parameters.resolve(scope.shape.graph.nodes[rank].initial_params, _values(step))
        node.params = parameters.laid_over(parameters.laid_over(text, params), run.changed.get(place, ""))
    except ServiceError as error:
        step.fail(scope, rank, error)
        return
    run.running.discard(place)
    launch(step, scope, rank)


def uploaded(step: Step, scope: Scope, rank: int) -> None:
    """Its inputs lie in the store: it is submitted after all."""
    place = (*scope.place, rank)
    if place in step.run.running and not scope.nodes[rank].task:
        step.submitted.append(place)


def cache_answered(step: Step, scope: Scope, rank: int, found: End | None) -> None:
    """The cache had it, or it goes to an agent after all."""
    run, node, place = step.run, scope.nodes[rank], (*scope.place, rank)
    if place not in run.running or node.task:
        return
    if found is not None:
        step.effects.rows.append(TouchCached(run.spec.account, node.key, step.now))
        node.reason = found.reason
        step.end(scope, rank, found)
        return
    step.state.cache.remove((run.spec.account, node.key))
    node.reason = "the cache has let go of it"
    step.submitted.append(place)


def values_read(step: Step, place: Place, values: dict[str, str], failure: Failure | None) -> None:
    """What a control node, or a batch of a map, waited for is here."""
    if place not in step.run.aside:
        return
    step.run.aside.discard(place)
    if len(place) % 2 == 0:
        scope = step.run.scope_at((*place, 0))
        if scope is not None and scope.parent is not None:
            maps.on_batch_read(step, scope.parent, scope, values, failure)
        return
    scope, rank = step.run.scope_at(place), place[-1]
    if scope is None:
        return
    if failure is not None:
        step.end(scope, rank, End(Detail.FAILED, failure=failure))
        return
    [text] = values.values()
    try:
        _READERS[scope.shape.graph.nodes[rank].kind](step, scope, rank, text)
    except ServiceError as error:
        step.fail(scope, rank, error)


def values_stored(
    step: Step, place: Place, stored: dict[str, tuple[str, int]], failure: Failure | None
) -> None:
    """A map's lists lie in the store."""
    scope = step.run.scope_at(place)
    if scope is None or place not in step.run.aside:
        return
    step.run.aside.discard(place)
    if failure is not None:
        step.end(scope, place[-1], End(Detail.FAILED, failure=failure))
    else:
        maps.on_stored(step, scope, place[-1], stored)


def _no_cache(run: Run, planned: PlannedNode) -> str:
    """Why the cache is not asked; "": it is."""
    if planned.has_effects:
        return "it has effects beside its results"
    if planned.cache is CachePolicy.OFF:
        return "its cache policy is off"
    if run.spec.refresh or planned.cache is CachePolicy.REFRESH:
        return "a refresh was asked for"
    if parameters.variable_of(planned.parameter_address):
        return f"its parameters at {planned.parameter_address} are its agent's, and not known here"
    if not planned.identity:
        return "what computes it is not known here"
    return ""
