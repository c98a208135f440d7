"""From rows back to a live run: what was committed is committed, what had left is followed, the rest starts anew. Pure.

Nodes that had ended without being committed are told of again by the scheduler, which has their outcomes on disk. What
is committed of bodies is taken up when their executions begin again, and so is what had left for agents.
"""

from services.graph.records.store import BatchRow, LiveRun, Recovered
from services.graph.runs import commits
from services.graph.runs.state import Run, State
from services.graph.runs.values import Detail


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
    run.told_since = live.revision
    run.root.kept = live.kept
    run.changed.update(live.row.changed)
    run.changed.update(live.modified)
    for row in live.nodes:
        run.sequence = max(run.sequence, row.sequence)
        run.counts["error" if row.end.detail.is_error else "done"] += 1
        run.counts["cached"] += row.end.detail is Detail.CACHED
        if len(row.place) > 1:
            run.log[row.place] = (row.sequence, row.revision, row.end)
            continue
        commits.replay(run.root, row.place[0], row.sequence, row.revision, row.end)
        if row.end.detail.is_error:
            run.has_failed = True
            run.first_failure = run.first_failure or row.end.failure
    for place in [place for place in run.log if place[0] < run.root.committed]:
        # What executed the body is committed: nothing of it comes up again.
        del run.log[place]
        run.node_count += 1
    run.changes = sorted((row.revision, row.place) for row in live.nodes if len(row.place) == 1)
    committed = {row.place for row in live.nodes}
    run.gates.update(
        (place, record)
        for place, record in live.gates.items()
        # What was not decided over has timed out, or was let go of.
        if record.is_approved is not None or (place not in committed and place[0] >= run.root.committed)
    )
    for batch in live.batches:
        _expect(run, batch, committed)
    return run


def _expect(run: Run, batch: BatchRow, committed: set[tuple[int, ...]]) -> None:
    """Its nodes are on agents; of those whose batch was answered the tasks are known."""
    head, _, number = batch.first_task.rpartition("-")
    for index, place in enumerate(batch.places):
        if place in committed or place[0] > run.root.barrier:
            continue
        run.expected[place] = f"{head}-{int(number) + index}" if number else ""
        if number:
            run.tasks[run.expected[place]] = place


def _unanswered(live: LiveRun) -> tuple[int, ...]:
    ended = {row.place for row in live.nodes}
    return tuple(
        batch.number
        for batch in live.batches
        if not batch.first_task and not all(place in ended for place in batch.places)
    )
