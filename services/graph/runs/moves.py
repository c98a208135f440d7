"""How one run moves: what follows from what has ended, and what starts next (S1.4–S1.10). Pure.

Nodes end in any order and are committed in O (`commits.py`). What starts when is decided in two places only:
`Step.admit` says whether a node whose inputs are there waits for the order, `_start` takes what may start off the heap,
least place first. A completion costs its out-degree, however large the run is.
"""

import heapq

from services.graph.model import Order
from services.graph.runs import bodies, commits, launching, loops, maps
from services.graph.runs.places import Place
from services.graph.runs.skipping import why_skipped
from services.graph.runs.state import MapBodies, RunState, Scope, Start
from services.graph.runs.step import Step, completed
from services.graph.runs.values import CAUSE_CANCELLED, Detail, End, Failure


def move(step: Step) -> None:
    """Everything that follows: skips, starts, commits, the end of the run."""
    while True:
        _settle(step)
        _start(step)
        if step.met or step.due or step.ended:
            continue
        commits.commit(step)
        while step.freed:
            _go_on(step, step.freed.pop())
        if not (step.met or step.due or step.ended):
            break
    if step.submitted:
        step.effects.starts.setdefault(step.run.spec.number, []).extend(step.submitted)


def _settle(step: Step) -> None:
    while True:
        if step.due:
            _begin(step, *step.due.pop())
        elif step.met:
            _on_inputs(step, *step.met.pop())
        elif step.ended:
            _on_ended(step, step.ended.pop())
        else:
            return


def _begin(step: Step, scope: Scope, rank: int) -> None:
    """What is due, unless something that has ended since does not let it."""
    place = (*scope.place, rank)
    if place in step.run.expected or step.run.may_start(place):
        launching.launch(step, scope, rank)


def _on_ended(step: Step, inner: Scope) -> None:
    """An execution of a body has ended: the node that executes it is told."""
    scope = inner.parent
    if scope is None or inner.is_gone:
        return
    if isinstance(scope.bodies[inner.place[-2]], MapBodies):
        maps.on_ended(step, scope, inner)
    else:
        loops.on_ended(step, scope, inner)


def _go_on(step: Step, place: Place) -> None:
    """Executions of the node there were committed: others may begin."""
    scope, rank = step.run.scope_at(place), place[-1]
    executed = scope.bodies.get(rank) if scope is not None else None
    if scope is None or executed is None or scope.nodes[rank].end is not None:
        return
    if isinstance(executed, MapBodies):
        maps.begin_more(step, scope, rank, executed)
    else:
        loops.begin_more(step, scope, rank)


def _on_inputs(step: Step, scope: Scope, rank: int) -> None:
    """All that it waits for has ended: it is skipped, or may start when the order lets it."""
    node = scope.nodes[rank]
    if node.end is not None or node.ready_ms >= 0 or scope.is_gone:
        return
    node.ready_ms = step.now
    why = why_skipped(scope, rank)
    if why:
        step.end(scope, rank, End(Detail.SKIPPED, note=why))
    else:
        step.admit(scope, rank)


def _start(step: Step) -> None:
    run = step.run
    if run.state is not RunState.RUNNING:
        return
    most = run.spec.max_parallel or run.node_count
    one_by_one = run.spec.start is Start.STRICT and run.spec.order is Order.BRANCHES
    while run.ready and run.busy < most:
        place = run.ready[0]
        scope, rank = run.scope_at(place), place[-1]
        if scope is None or not run.may_start(place):
            heapq.heappop(run.ready)
            continue
        if one_by_one and (run.running or run.aside or not _is_first_open(scope, rank)):
            return
        heapq.heappop(run.ready)
        node = scope.nodes[rank]
        if one_by_one:
            node.wait_ms = step.now - node.ready_ms
        run.order_wait_ms += node.wait_ms
        launching.launch(step, scope, rank)
        if step.met or step.due or step.ended:
            return


def _is_first_open(scope: Scope, rank: int) -> bool:
    """Whether everything before it in O has ended."""
    if rank != scope.first_open:
        return False
    if scope.parent is None:
        return True
    at, number = scope.place[-2:]
    return bodies.first_open(scope.parent.bodies[at]) == number and _is_first_open(scope.parent, at)


def cancel(step: Step, message: str) -> None:
    """Ends the run at once: what has not ended is cancelled."""
    run = step.run
    run.state = RunState.CANCELLED
    step.cancel_tasks([*run.tasks])
    _cancel_scope(step, run.root, Failure(CAUSE_CANCELLED, message))
    for known in (run.running, run.aside, run.ready, run.expected, run.early):
        known.clear()
    step.forget_gates([*run.gates])
    commits.commit(step)


def _cancel_scope(step: Step, scope: Scope, failure: Failure) -> None:
    for executed in scope.bodies.values():
        executed.last = executed.next - 1
        for inner in executed.scopes.values():
            _cancel_scope(step, inner, failure)
    for node in scope.nodes[scope.committed :]:
        if node.end is None:
            # What it wrote until then is its task's.
            end = End(Detail.CANCELLED, failure=failure, task=node.task)
            node.end = completed(node, end, step.now)
