"""From rows back to a live run: what was committed is committed, what had left is followed, the rest starts anew. Pure.

Nodes that had ended without being committed are told of again by the scheduler, which has their outcomes on disk.
"""

from services.graph.state import Detail, End, Run, State
from services.graph.store import BatchRow, LiveRun, Recovered


def restore(recovered: Recovered) -> tuple[State, list[tuple[Run, tuple[int, ...]]]]:
    """The state without its runs, and each run with the batches that were never answered."""
    state = State(recovered.next_run, recovered.revision)
    state.next_batch = recovered.next_batch
    for key, entry in recovered.cache:
        state.cache.put(key, entry)
    return state, [(_run(live), _unanswered(live)) for live in recovered.runs]


def _run(live: LiveRun) -> Run:
    run = Run(live.row.spec, live.graph)
    run.state, run.revision = live.row.state, live.row.revision
    run.kept = live.kept
    for rank, params in (live.row.changed | live.modified).items():
        run.nodes[rank].changed = params
    for row in live.nodes:
        _commit(run, row.rank, row.revision, row.end)
    run.changes = sorted((row.revision, row.rank) for row in live.nodes)
    for batch in live.batches:
        _run_again(run, batch)
    return run


def _commit(run: Run, rank: int, revision: int, end: End) -> None:
    """As the machine did it: see runs.Step.end and _commit."""
    node, planned = run.nodes[rank], run.graph.nodes[rank]
    node.end, node.detail, node.revision = end, end.detail, revision
    node.params, node.key, node.reason = end.params, end.key, end.reason
    run.committed = rank + 1
    run.open_by_level[planned.gradient] -= 1
    for successor in planned.successors:
        run.nodes[successor].unmet -= 1
    if end.detail.is_error:
        run.counts["error"] += 1
        if run.first_failure is None and end.failure is not None:
            run.first_failure = (rank, end.failure)
        if run.fatal[rank]:
            run.barrier = min(run.barrier, rank)
    else:
        run.counts["done"] += 1
        run.counts["cached"] += end.detail is Detail.CACHED
        for source in run.feeding[rank]:
            run.consumers[source] -= 1
    while run.first_open < len(run.nodes) and run.nodes[run.first_open].end is not None:
        run.first_open += 1
    while run.level < len(run.open_by_level) and not run.open_by_level[run.level]:
        run.level += 1
    while run.next_effect < len(run.effects) and run.nodes[run.effects[run.next_effect]].end is not None:
        run.next_effect += 1


def _run_again(run: Run, batch: BatchRow) -> None:
    """Its nodes are on agents; of those whose batch was answered the tasks are known."""
    head, _, number = batch.first_task.rpartition("-")
    for place, rank in enumerate(batch.ranks):
        node = run.nodes[rank]
        if node.end is not None or rank > run.barrier:
            continue
        run.running.add(rank)
        node.detail = Detail.RUNNING
        node.ready_ms = node.start_ms = run.spec.create_ms
        if number:
            node.task = f"{head}-{int(number) + place}"
            run.tasks[node.task] = rank


def _unanswered(live: LiveRun) -> tuple[int, ...]:
    ended = {row.rank for row in live.nodes}
    return tuple(
        batch.number
        for batch in live.batches
        if not batch.first_task and not all(rank in ended for rank in batch.ranks)
    )
