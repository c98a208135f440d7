"""Events in, effects out: `step` is all that ever changes the state of runs. Pure."""

from collections.abc import Iterable

import msgspec

from services.chassis.errors import FailedPrecondition, InvalidArgument, NotFound, ServiceError
from services.graph.runs import executions, gates, launching
from services.graph.runs.effects import (
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
from services.graph.runs.events import (
    BatchRefused,
    BodyKept,
    CacheAnswered,
    CancelAsked,
    Event,
    GateDecided,
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
    TimePassed,
    ValuesRead,
    ValuesStored,
)
from services.graph.runs.moves import cancel, move
from services.graph.runs.parameters import laid_over
from services.graph.runs.places import id_at, node_at
from services.graph.runs.state import Run, RunState, State
from services.graph.runs.step import Step
from services.graph.runs.values import Detail, End


class RunNotFound(NotFound):
    """There is no such run, or it is not yours to see."""


class RunHasEnded(FailedPrecondition):
    """The run has ended."""


class NodeHasStarted(FailedPrecondition):
    """The node has started, or has ended."""


class NodeHasNoParameters(InvalidArgument):
    """Nodes of this kind have no parameters."""


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
    """What starts leaves together, least place first; what has ended within the step does not leave."""
    wishes = [wish for wish in effects.wishes if not isinstance(wish, Submit) or _is_wanted(state, wish)]
    effects.wishes[:] = wishes
    for number, places in effects.starts.items():
        run = state.runs.get(number)
        if run is not None and (running := sorted([place for place in places if place in run.running])):
            effects.wishes.append(Submit(number, tuple(running)))


def _is_wanted(state: State, wish: Submit) -> bool:
    """Of what is tried once more after a refusal: whether nothing has happened to it since, within the step."""
    run = state.runs.get(wish.run)
    return run is not None and all(place in run.running for place in wish.places)


_OfNode = NodeEnded | NodeProgressed | CacheAnswered | NodePrepared | InputsUploaded
_OfControl = BodyKept | ValuesRead | ValuesStored


def _apply(state: State, event: Event, effects: Effects, now: int) -> None:
    if isinstance(event, _OfNode | _OfControl):
        run = state.runs.get(event.run)
        if run is not None:
            step = Step(state, run, effects, now)
            _on_node(step, event) if isinstance(event, _OfNode) else _on_control(step, event)
    elif isinstance(event, TasksAccepted):
        _on_accepted(state, event, effects)
    elif isinstance(event, RunAsked):
        _on_run_asked(state, event, effects, now)
    elif isinstance(event, BatchRefused):
        _on_refused(state, event, effects, now)
    elif isinstance(event, RunRecovered):
        _on_recovered(state, event, effects, now)
    elif isinstance(event, TimePassed):
        _on_time(state, effects, now)
    else:
        _on_wish(state, event, effects, now)


def _on_node(step: Step, event: _OfNode) -> None:
    run, place = step.run, event.place
    if isinstance(event, NodeEnded) and place in run.expected:
        run.early[place] = event.end
        move(step)
        return
    scope, rank = run.scope_at(place), place[-1]
    if scope is None:
        return
    if isinstance(event, NodeProgressed):
        if place in run.running:
            scope.nodes[rank].progress = (event.ratio, event.message)
            step.touch(place)
        return
    if isinstance(event, NodeEnded):
        step.end(scope, rank, event.end)
    elif isinstance(event, CacheAnswered):
        found = None
        if event.outputs is not None:
            found = End(Detail.CACHED, event.outputs, reason=event.reason)
        launching.cache_answered(step, scope, rank, found)
    elif isinstance(event, InputsUploaded):
        launching.uploaded(step, scope, rank)
    else:
        launching.prepared(step, scope, rank, event.params, event.failure)
    move(step)


def _on_control(step: Step, event: _OfControl) -> None:
    if isinstance(event, ValuesRead):
        launching.values_read(step, event.place, event.values, event.failure)
    elif isinstance(event, ValuesStored):
        launching.values_stored(step, event.place, event.stored, event.failure)
    elif (scope := step.run.scope_at((*event.place, 0))) is not None:
        executions.keep(step, scope, event.kept)
    move(step)


def _on_time(state: State, effects: Effects, now: int) -> None:
    due = [at for at, deadline_ms in state.deadlines.items() if deadline_ms <= now]
    for number, place in sorted(due):
        run = state.runs.get(number)
        if run is None:
            state.deadlines.pop((number, place), None)
            continue
        step = Step(state, run, effects, now)
        gates.on_time(step, place)
        move(step)


def _on_run_asked(state: State, event: RunAsked, effects: Effects, now: int) -> None:
    spec = msgspec.structs.replace(event.spec, number=state.next_run, create_ms=now)
    state.next_run += 1
    run = Run(spec, event.graph)
    run.root.kept = event.kept
    run.changed.update(event.changed)
    state.runs[spec.number] = run
    step = Step(state, run, effects, now)
    step.touch_run()
    effects.rows.append(InsertRun(spec, event.plan, run.revision, event.changed, event.request))
    for rank, kept in event.kept.items():
        effects.rows.append(KeepNode(spec.number, (rank,), kept.run, kept.end))
    effects.answers.append(Answer(event.reply, spec.number))
    step.open(run.root)
    move(step)


def _on_recovered(state: State, event: RunRecovered, effects: Effects, now: int) -> None:
    run = event.run
    state.runs[run.spec.number] = run
    if run.tasks:
        effects.wishes.append(Follow(run.spec.account, tuple(run.tasks)))
    effects.wishes += [SubmitAgain(run.spec.number, run.spec.account, batch) for batch in event.again]
    step = Step(state, run, effects, now)
    step.open(run.root)
    move(step)


def _on_accepted(state: State, event: TasksAccepted, effects: Effects) -> None:
    """Tasks of nodes that are not wanted any more are cancelled."""
    run = state.runs.get(event.run)
    effects.rows.append(DropBatch(event.batch) if run is None else RecordTasks(event.batch, event.tasks[0]))
    unwanted = []
    for place, task in zip(event.places, event.tasks, strict=True):
        node = run.node_at(place) if run is not None and place in run.running else None
        if run is not None and node is not None:
            node.task = task
            run.tasks[task] = place
        elif run is not None and place in run.expected:
            run.expected[place] = task
            run.tasks[task] = place
        else:
            unwanted.append(task)
    if unwanted:
        effects.wishes.append(CancelTasks(event.account, tuple(unwanted)))


def _on_refused(state: State, event: BatchRefused, effects: Effects, now: int) -> None:
    run = state.runs.get(event.run)
    effects.rows.append(DropBatch(event.batch))
    if run is None:
        return
    step = Step(state, run, effects, now)
    is_one = len(event.places) == 1
    for place in event.places:
        scope = run.scope_at(place)
        if place in run.expected:
            # It has not come up again. One of several may be at fault: each gets its own answer.
            if is_one:
                run.early[place] = End(Detail.FAILED, failure=event.failure)
            else:
                del run.expected[place]
        elif scope is not None and place in run.running:
            if is_one:
                step.end(scope, place[-1], End(Detail.FAILED, failure=event.failure))
            else:
                effects.wishes.append(Submit(event.run, (place,)))
    move(step)


def _on_wish(
    state: State,
    event: CancelAsked | PauseAsked | ResumeAsked | NodeModified | GateDecided,
    effects: Effects,
    now: int,
) -> None:
    run = state.runs.get(event.run)
    if run is None:
        raise RunHasEnded(
            f"r-{event.run} has ended", field="run_id", next_step=f"yard graph result r-{event.run}"
        )
    step = Step(state, run, effects, now)
    if isinstance(event, CancelAsked):
        cancel(step, event.comment or "cancelled")
    elif isinstance(event, PauseAsked):
        if run.state is not RunState.PAUSED:
            step.set_state(RunState.PAUSED)
    elif isinstance(event, ResumeAsked):
        if run.state is RunState.PAUSED:
            step.set_state(RunState.RUNNING)
            move(step)
    elif isinstance(event, GateDecided):
        gates.decide(step, event)
        move(step)
    else:
        _modify(step, run, event)
    effects.answers.append(Answer(event.reply, event.run))


def _modify(step: Step, run: Run, event: NodeModified) -> None:
    """Holds from its start on; recorded. Raises NodeHasStarted."""
    node, place = run.node_at(event.place), event.place
    name = id_at(run.graph, place)
    has_begun = place in run.running or place in run.expected or place in run.log
    if has_begun or (node is not None and node.end is not None):
        raise NodeHasStarted(
            f"{name} has started", field="node_id", next_step=f"yard graph continue r-{event.run} --from {name}",
        )  # fmt: skip
    if node_at(run.graph, place).control is not None:
        raise NodeHasNoParameters(f"{name} is a control node: it has none", field="node_id")
    changed = run.changed[place] = laid_over(run.changed.get(place, "{}"), event.params)
    step.state.revision += 1
    step.touch(place)
    step.effects.rows.append(InsertModification(event.run, place, step.state.revision, changed, step.now))
