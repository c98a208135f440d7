"""The committed log: what has ended is committed in O, in one scope after the other (S1.4, S1.7, S1.9). Pure.

Executions of a body are committed one after the other, each in its own order, before the node that executes them.
"""

import msgspec

from services.graph.model import CachePolicy, PlannedNode
from services.graph.runs import results
from services.graph.runs.caching import CacheEntry, holder
from services.graph.runs.effects import (
    CommitNode,
    DropBelow,
    DropCached,
    DropOutputs,
    KeepArtifacts,
    PutCached,
    RecordRunState,
    Tell,
)
from services.graph.runs.parameters import variable_of
from services.graph.runs.places import body_at
from services.graph.runs.state import Bodies, Run, RunState, Scope
from services.graph.runs.step import Step
from services.graph.runs.values import CAUSE_CANCELLED, Detail, End, Failure

_ENTRY_BYTES = 200


def commit(step: Step) -> None:
    """As far as it goes; with the last node the run ends."""
    if step.run.spec.number in step.state.runs and _commit_scope(step, step.run.root):
        _finish(step)


def replay(scope: Scope, rank: int, sequence: int, revision: int, end: End) -> None:
    """What was committed before a restart is committed again; nothing is told."""
    node, planned = scope.nodes[rank], scope.shape.graph.nodes[rank]
    node.end, node.detail, node.revision, node.sequence = end, end.detail, revision, sequence
    node.params, node.key, node.reason = end.params, end.key, end.reason
    scope.committed = rank + 1
    scope.open_by_level[planned.gradient] -= 1
    for successor in planned.successors:
        scope.nodes[successor].unmet -= 1
    if end.detail.is_error:
        scope.errors += 1
        if scope.shape.fatal[rank]:
            scope.barrier = min(scope.barrier, rank)
    else:
        for source in scope.shape.feeding[rank]:
            scope.consumers[source] -= 1
    effects = scope.shape.effects
    while scope.first_open < len(scope.nodes) and scope.nodes[scope.first_open].end is not None:
        scope.first_open += 1
    while scope.level < len(scope.open_by_level) and not scope.open_by_level[scope.level]:
        scope.level += 1
    while scope.next_effect < len(effects) and scope.nodes[effects[scope.next_effect]].end is not None:
        scope.next_effect += 1


def _commit_scope(step: Step, scope: Scope) -> bool:
    """Whether all of it is committed."""
    nodes = scope.nodes
    while scope.committed < len(nodes):
        rank = scope.committed
        executed = scope.bodies.get(rank)
        if executed is not None:
            _commit_bodies(step, scope, rank, executed)
        if rank > scope.barrier:
            nodes[rank].end = _ended_by_barrier(step, scope)
        end = nodes[rank].end
        if end is None:
            return False
        scope.committed += 1
        scope.bodies.pop(rank, None)
        _commit_node(step, scope, rank, end)
    return True


def _commit_bodies(step: Step, scope: Scope, rank: int, executed: Bodies) -> None:
    before = executed.committed
    while (inner := executed.scopes.get(executed.committed)) is not None and _commit_scope(step, inner):
        if inner.place in step.run.aside:
            # What it gave is still being read.
            break
        del executed.scopes[executed.committed]
        executed.committed += 1
    if executed.committed != before:
        step.freed.append((*scope.place, rank))


def _ended_by_barrier(step: Step, scope: Scope) -> End:
    """The same whether it had begun or not: the log does not depend on who was quicker."""
    what = "the run" if scope.parent is None else "the execution"
    at = scope.shape.graph.nodes[scope.barrier].id
    return End(Detail.CANCELLED, failure=Failure(CAUSE_CANCELLED, f"{what} failed at {at}"), end_ms=step.now)


def _commit_node(step: Step, scope: Scope, rank: int, end: End) -> None:
    run, node, planned = step.run, scope.nodes[rank], scope.shape.graph.nodes[rank]
    place = (*scope.place, rank)
    node.detail, node.progress = end.detail, None
    run.sequence += 1
    node.sequence = run.sequence
    step.touch(place)
    if scope.parent is not None:
        run.note_commit(node.revision, place, node.sequence, end)
    number = run.spec.number
    step.effects.rows.append(CommitNode(number, place, node.sequence, node.revision, end, planned.record))
    if end.detail.is_error:
        run.counts["error"] += 1
        if scope.parent is None:
            run.has_failed = True
            run.first_failure = run.first_failure or end.failure
    else:
        run.counts["done"] += 1
        run.counts["cached"] += end.detail is Detail.CACHED
        _release_inputs(step, scope, rank)
        if body_at(planned) is not None and end.detail is not Detail.SKIPPED:
            step.effects.rows.append(DropBelow(number, place))
    digests = tuple(digest for output in end.outputs for digest in output.digests)
    if digests and (planned.record or not scope.consumers[rank]):
        step.effects.wishes.append(KeepArtifacts(run.spec.account, f"run:r-{number}", digests))
    kept = scope.kept.get(rank)
    # What was kept is there already: put again it would count as this run's, which takes nothing of its own.
    is_new = end.detail is Detail.COMPUTED and (kept is None or kept.end.key != end.key)
    if is_new and planned.control is None and planned.identity and end.key and end.outputs:
        _put_cached(step, end, planned, digests)


def _release_inputs(step: Step, scope: Scope, rank: int) -> None:
    """What it was the last to need is dropped, unless it is recorded (S1.7)."""
    for source in scope.shape.feeding[rank]:
        scope.consumers[source] -= 1
        end = scope.nodes[source].end
        is_recorded = scope.shape.graph.nodes[source].record
        if scope.consumers[source] or is_recorded or end is None or not end.outputs:
            continue
        outputs = results.stripped(end.outputs)
        scope.nodes[source].end = msgspec.structs.replace(end, outputs=outputs)
        step.effects.rows.append(DropOutputs(step.run.spec.number, (*scope.place, source), outputs))


def _put_cached(step: Step, end: End, planned: PlannedNode, digests: tuple[str, ...]) -> None:
    if planned.cache is CachePolicy.OFF or planned.has_effects or variable_of(planned.parameter_address):
        return
    if any(output.is_dropped for output in end.outputs):
        return
    account, number = step.run.spec.account, step.run.spec.number
    size = _ENTRY_BYTES + sum(len(output.value) for output in end.outputs)
    step.effects.rows.append(PutCached(account, end.key, number, planned.id, end.outputs, size, step.now))
    if digests:
        step.effects.wishes.append(KeepArtifacts(account, holder(account, end.key), digests))
    entry = CacheEntry(number, size, bool(digests))
    for (gone_account, gone), found in step.state.cache.put((account, end.key), entry):
        step.effects.rows.append(DropCached(gone_account, gone))
        if found.has_artifacts:
            step.effects.wishes.append(KeepArtifacts(gone_account, holder(gone_account, gone), ()))


def _finish(step: Step) -> None:
    """The last node is committed."""
    run = step.run
    if run.state is not RunState.CANCELLED:
        run.state = RunState.FAILED if run.has_failed else RunState.SUCCEEDED
    step.touch_run()
    step.effects.rows.append(
        RecordRunState(
            run.spec.number, run.state, run.revision, step.now, run.counts["done"], run.counts["error"],
            run.counts["cached"], run.order_wait_ms, run.first_failure,
        )
    )  # fmt: skip
    if not run.spec.is_silent:
        step.effects.wishes.append(Tell(run.spec.number, run.spec.account, failed_node=_first_in_error(run)))
    step.state.runs.pop(run.spec.number, None)


def _first_in_error(run: Run) -> str:
    """Its id; "": there is none."""
    nodes = run.root.nodes if run.has_failed else ()
    failed = (rank for rank, node in enumerate(nodes) if node.end is not None and node.end.detail.is_error)
    rank = next(failed, None)
    return run.graph.nodes[rank].id if rank is not None else ""
