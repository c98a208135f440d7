"""Events in, effects out: `step` is all that ever changes the state of runs. Pure."""

from collections.abc import Iterable

import msgspec

from services.chassis.errors import FailedPrecondition, NotFound, ServiceError
from services.graph.effects import (
    Answer,
    CancelTasks,
    DropBatch,
    Effects,
    Follow,
    InsertModification,
    InsertRun,
    KeepNode,
    RecordTasks,
    Submit,
    SubmitAgain,
)
from services.graph.events import (
    BatchRefused,
    CacheAnswered,
    CancelAsked,
    Event,
    InputsUploaded,
    NodeEnded,
    NodeModified,
    NodePrepared,
    NodeProgressed,
    PauseAsked,
    ResumeAsked,
    RunAsked,
    RunRecovered,
    TasksAccepted,
)
from services.graph.parameters import laid_over
from services.graph.runs import Step
from services.graph.state import Detail, End, Run, RunState, State


class RunNotFound(NotFound):
    """There is no such run, or it is not yours to see."""


class RunHasEnded(FailedPrecondition):
    """The run has ended."""


class NodeHasStarted(FailedPrecondition):
    """The node has started, or has ended."""


class RunNotPaused(FailedPrecondition):
    """The run is not paused."""


def step(state: State, events: Iterable[Event], now: int) -> Effects:
    """Applies the events in turn. `now` in milliseconds. The same events give the same state and effects."""
    effects = Effects()
    for event in events:
        try:
            _apply(state, event, effects, now)
        except ServiceError as error:
            reply = getattr(event, "reply", 0)
            effects.answers.append(Answer(reply, error=error))
    _submit(state, effects)
    return effects


def _submit(state: State, effects: Effects) -> None:
    """What starts leaves together, least rank first; what has ended within the step does not leave."""
    wishes = [wish for wish in effects.wishes if not isinstance(wish, Submit) or wish.run in state.runs]
    effects.wishes[:] = wishes
    for number, ranks in effects.starts.items():
        run = state.runs.get(number)
        if run is not None and (running := sorted(rank for rank in ranks if rank in run.running)):
            effects.wishes.append(Submit(number, tuple(running)))


def _apply(state: State, event: Event, effects: Effects, now: int) -> None:
    if isinstance(event, NodeEnded | NodeProgressed | CacheAnswered | NodePrepared | InputsUploaded):
        run = state.runs.get(event.run)
        if run is not None:
            _on_node(Step(state, run, effects, now), event)
    elif isinstance(event, TasksAccepted):
        _on_accepted(state, event, effects)
    elif isinstance(event, RunAsked):
        _on_run_asked(state, event, effects, now)
    elif isinstance(event, BatchRefused):
        _on_refused(state, event, effects, now)
    elif isinstance(event, RunRecovered):
        _on_recovered(state, event, effects, now)
    else:
        _on_wish(state, event, effects, now)


def _on_node(
    step: Step, event: NodeEnded | NodeProgressed | CacheAnswered | NodePrepared | InputsUploaded
) -> None:
    if isinstance(event, NodeProgressed):
        if event.rank in step.run.running:
            step.run.nodes[event.rank].progress = (event.ratio, event.message)
            step.touch(event.rank)
        return
    if isinstance(event, NodeEnded):
        step.end(event.rank, event.end)
    elif isinstance(event, CacheAnswered):
        found = None
        if event.outputs is not None:
            found = End(Detail.CACHED, event.outputs, reason=event.reason)
        step.cache_answered(event.rank, found)
    elif isinstance(event, InputsUploaded):
        step.uploaded(event.rank)
    else:
        step.prepared(event.rank, event.params, event.failure)
    step.move()


def _on_run_asked(state: State, event: RunAsked, effects: Effects, now: int) -> None:
    spec = msgspec.structs.replace(event.spec, number=state.next_run, create_ms=now)
    state.next_run += 1
    run = Run(spec, event.graph)
    run.kept = event.kept
    for rank, params in event.changed.items():
        run.nodes[rank].changed = params
    state.runs[spec.number] = run
    step = Step(state, run, effects, now)
    step.touch_run()
    effects.rows.append(InsertRun(spec, event.plan, run.revision, event.changed, event.request))
    for rank, kept in event.kept.items():
        effects.rows.append(KeepNode(spec.number, rank, kept.run, kept.end))
    effects.answers.append(Answer(event.reply, spec.number))
    step.open()


def _on_recovered(state: State, event: RunRecovered, effects: Effects, now: int) -> None:
    run = event.run
    state.runs[run.spec.number] = run
    if run.tasks:
        effects.wishes.append(Follow(run.spec.account, tuple(run.tasks)))
    effects.wishes += [SubmitAgain(run.spec.number, batch) for batch in event.again]
    step = Step(state, run, effects, now)
    for rank in run.running:
        step.touch(rank)
    step.open()


def _on_accepted(state: State, event: TasksAccepted, effects: Effects) -> None:
    """Tasks of nodes that are not wanted any more are cancelled."""
    effects.rows.append(RecordTasks(event.batch, event.tasks[0]))
    run = state.runs.get(event.run)
    unwanted = []
    for rank, task in zip(event.ranks, event.tasks, strict=True):
        if run is None or rank not in run.running:
            unwanted.append(task)
        else:
            run.nodes[rank].task = task
            run.tasks[task] = rank
    if unwanted:
        effects.wishes.append(CancelTasks(event.account, tuple(unwanted)))


def _on_refused(state: State, event: BatchRefused, effects: Effects, now: int) -> None:
    run = state.runs.get(event.run)
    if run is None:
        return
    effects.rows.append(DropBatch(event.batch))
    step = Step(state, run, effects, now)
    if len(event.ranks) > 1:
        # One of them may be at fault: each gets its own answer.
        effects.wishes += [Submit(event.run, (rank,)) for rank in event.ranks if rank in run.running]
        return
    for rank in event.ranks:
        if rank in run.running:
            step.end(rank, End(Detail.FAILED, failure=event.failure))
    step.move()


def _on_wish(
    state: State, event: CancelAsked | PauseAsked | ResumeAsked | NodeModified, effects: Effects, now: int
) -> None:
    run = state.runs.get(event.run)
    if run is None:
        raise RunHasEnded(
            f"r-{event.run} has ended", field="run_id", next_step=f"yard graph result r-{event.run}"
        )
    step = Step(state, run, effects, now)
    if isinstance(event, CancelAsked):
        step.cancel(event.comment or "cancelled")
    elif isinstance(event, PauseAsked):
        if run.state is not RunState.PAUSED:
            step.set_state(RunState.PAUSED)
    elif isinstance(event, ResumeAsked):
        if run.state is RunState.PAUSED:
            step.set_state(RunState.RUNNING)
            step.move()
    else:
        _modify(step, run, event)
    effects.answers.append(Answer(event.reply, event.run))


def _modify(step: Step, run: Run, event: NodeModified) -> None:
    """Holds from its start on; recorded. Raises NodeHasStarted."""
    node = run.nodes[event.rank]
    if node.end is not None or event.rank in run.running:
        raise NodeHasStarted(
            f"{run.graph.nodes[event.rank].id} has started", field="node_id",
            next_step=f"yard graph continue r-{event.run} --from {run.graph.nodes[event.rank].id}",
        )  # fmt: skip
    node.changed = laid_over(node.changed or "{}", event.params)
    step.touch(event.rank)
    step.effects.rows.append(InsertModification(event.run, event.rank, node.revision, node.changed, step.now))
