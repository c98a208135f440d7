"""Events in, effects out: `step` is all that ever changes the state of jobs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from modelyard.training.policies.restarts import Cause
from services.chassis.errors import ServiceError
from services.trainer.jobs import (
    asking,
    checkpoints,
    closings,
    endings,
    gangs,
    greeting,
    hangs,
    launching,
    outcomes,
    preempting,
    reachability,
    resuming,
    scaling,
    standing_in,
    timers,
    turns,
)
from services.trainer.jobs.acts import Act
from services.trainer.jobs.admission import admit
from services.trainer.model import (
    PLACED,
    Exit,
    InstanceState,
    JobHasEnded,
    JobNotSuspended,
    JobState,
)
from services.trainer.state.effects import Answer, CancelSeats, DropBatch, Effects, PutInstance, PutJob
from services.trainer.state.events import (
    ActivitySeen,
    CheckpointSeen,
    Event,
    FrameworkLost,
    FunctionAnswered,
    InstanceEnded,
    InstanceStarted,
    JobCreated,
    JobForgotten,
    JobRecovered,
    JobResumed,
    JobStopped,
    JobSuspended,
    PeersChecked,
    ProgressReported,
    RoleScaled,
    RoomFound,
    SeatEnded,
    SeatOpened,
    SeatsAccepted,
    SeatsRefused,
    SeatStands,
    SignSeen,
    StacksTold,
    Ticked,
)
from services.trainer.state.jobs import Instance, LiveJob
from services.trainer.state.state import State
from services.trainer.state.sweep_events import SweepEvent
from services.trainer.sweeps import machine as sweeps
from services.trainer.sweeps import trials

_OfInstance = (
    SeatOpened
    | SeatStands
    | InstanceStarted
    | SignSeen
    | InstanceEnded
    | ActivitySeen
    | ProgressReported
    | CheckpointSeen
    | StacksTold
    | PeersChecked
)


def step(state: State, events: Iterable[Event | SweepEvent], now: int) -> Effects:
    """Applies the events in turn. `now` in milliseconds. The same events give the same state and effects."""
    effects = Effects()
    due: list[LiveJob] = []
    for event in events:
        try:
            if isinstance(event, SweepEvent):
                sweeps.apply(state, event, effects, now)
            else:
                due += _apply(state, event, effects, now)
                trials.hear(state, event, effects, now)
        except ServiceError as error:
            effects.answers.append(Answer(getattr(event, "reply", 0), error=error))
    for live in _to_follow(state, due):
        _follow_up(state, live, effects, now)
    # What became of jobs lets trials begin, and ends others.
    while lives := sweeps.follow(state, [*due, *state.changed.values()], effects, now):
        for live in lives:
            _follow_up(state, live, effects, now)
    # Who wants no places at all has them, and makes room for the next.
    while begun := turns.begin_next(state, effects, now):
        for live in begun:
            _follow_up(state, live, effects, now)
    changed, state.changed = state.changed, {}
    for live in changed.values():
        _write(state, live, effects)
    sweeps.write(state, effects)
    return effects


def _to_follow(state: State, due: list[LiveJob]) -> Iterator[LiveJob]:
    """Nothing follows for a job of which nothing has changed, unless it is due; what follows may change others."""
    seen: set[int] = set()
    while left := [one for one in (*due, *state.changed.values()) if one.job.number not in seen]:
        for live in left:
            seen.add(live.job.number)
            yield live


def _follow_up(state: State, live: LiveJob, effects: Effects, now: int) -> None:
    _settle(Act(state, live, effects, now))
    timers.arm(state, live, now)


def _write(state: State, live: LiveJob, effects: Effects) -> None:
    """What changed is told and written under a new revision."""
    if not live.is_changed and not live.changed:
        return
    state.revision += 1
    live.job.revision = state.revision
    for key in sorted(live.changed):
        if key in live.instances:
            live.instances[key].revision = state.revision
            effects.rows.append(PutInstance(live.job.number, live.instances[key]))
    effects.rows.append(PutJob(live.job))
    effects.changed.add(live.job.number)
    live.changed.clear()
    live.is_changed = False


def _settle(act: Act) -> None:
    """Everything that follows from what a job is by now."""
    if act.job.state.has_ended:
        return
    scaling.drop_surplus(act)
    gangs.place(act)
    endings.judge_waiting(act)
    endings.go_on(act)
    launching.send_unsent(act)
    launching.launch_ready(act)
    launching.look(act)
    launching.run(act)
    outcomes.decide_by_policy(act)
    outcomes.suspend(act)
    outcomes.clear(act)


def _apply(state: State, event: Event, effects: Effects, now: int) -> list[LiveJob]:
    """Jobs that are to be followed up although nothing of them may have changed."""
    if isinstance(event, JobCreated):
        _on_created(state, event, effects, now)
        return []
    if isinstance(event, JobRecovered):
        live = LiveJob(event.job, event.plan)
        live.instances = {one.key: one for one in event.instances}
        for known in event.checkpoints:
            live.checkpoints.setdefault((known.role, known.index), {})[known.name] = known
        state.jobs[event.job.number] = live
        state.moved(event.job, None)
        return [live]
    if isinstance(event, Ticked):
        return [_on_tick(Act(state, live, effects, now)) for live in timers.due(state, now)]
    found = state.jobs.get(event.job)
    if isinstance(event, JobForgotten):
        if found is not None and found.job.state.has_ended:
            del state.jobs[event.job]
        return []
    if isinstance(event, SeatsAccepted | SeatsRefused) and (
        found is None or event.batch not in found.job.batches
    ):
        _on_unwanted(event, found, effects)
        return []
    if isinstance(event, JobStopped | JobSuspended | JobResumed | RoleScaled):
        if found is None:
            raise JobHasEnded(
                f"j-{event.job} has ended", field="job_id", next_step=f"yard train get j-{event.job}"
            )
        _on_wish(Act(state, found, effects, now), event)
        effects.answers.append(Answer(event.reply, event.job))
        return []
    if found is None:
        return []
    act = Act(state, found, effects, now)
    if isinstance(event, _OfInstance):
        instance = found.instances.get((event.role, event.index))
        if instance is not None:
            _on_instance(act, instance, event)
        if isinstance(event, PeersChecked) and reachability.is_answered(found):
            return [found]
    elif isinstance(event, SeatsAccepted):
        gangs.accepted(act, event.batch, event.tasks)
    elif isinstance(event, FrameworkLost):
        outcomes.decide(act, JobState.FAILED, standing_in.REASON, event.message)
    elif isinstance(event, FunctionAnswered):
        asking.answered(act, event.question, event.value, event.error)
        return [found]
    elif isinstance(event, RoomFound):
        preempting.make_room(act, event.others)
    elif isinstance(event, SeatsRefused):
        _on_refused(act, event)
    else:
        _on_seat_ended(act, event)
    return []


def _on_created(state: State, event: JobCreated, effects: Effects, now: int) -> None:
    live = admit(state, event.job, event.plan, effects, now)
    effects.answers.append(Answer(event.reply, live.job.number))


def _on_tick(act: Act) -> LiveJob:
    job = act.job
    if job.deadline_ms and act.now >= job.deadline_ms and job.state is not JobState.SUSPENDED:
        outcomes.decide(act, JobState.FAILED, "DEADLINE", "its time is over")
    elif job.state in PLACED and not job.is_suspending and _waits_too_long(act):
        _give_way(act, "a lost place was not replaced in time")
    elif preempting.is_done(act):
        preempting.go_on(act)
    return act.live


def _waits_too_long(act: Act) -> bool:
    """Whether who must start together waits for a place while others hold theirs: two such jobs wait for each other."""
    wait_ms = timers.replacement_ms(act.live)
    for planned in act.plan.roles:
        of_role = act.live.of_role(planned.name)
        lacking = [one for one in of_role if one.state is InstanceState.PENDING]
        is_short = len(of_role) - len(lacking) < min(planned.gang_least, len(of_role))
        if is_short and any(act.now - one.since_ms >= wait_ms for one in lacking):
            return True
    return False


def _on_wish(act: Act, event: JobStopped | JobSuspended | JobResumed | RoleScaled) -> None:
    job = act.job
    if isinstance(event, JobStopped):
        # A job that has ended stays as it is.
        outcomes.decide(act, JobState.STOPPED, "STOPPED", event.comment or "somebody stopped it")
    elif isinstance(event, RoleScaled):
        scaling.scale(act, event)
    elif job.outcome is not None or job.state.has_ended:
        raise JobHasEnded(f"j-{job.number} has ended", field="job_id")
    elif isinstance(event, JobSuspended):
        turns.suspend_wished(act)
    elif not turns.resume_wished(act):
        raise JobNotSuspended(f"j-{job.number} is {job.state.value}", field="job_id")


def _on_instance(act: Act, instance: Instance, event: _OfInstance) -> None:
    if isinstance(event, SeatOpened):
        gangs.opened(act, instance, event.task, event.address)
    elif isinstance(event, ProgressReported):
        # What earlier processes said is no news of those that run now.
        if event.epoch in (0, instance.epoch):
            hangs.progressed(act, instance, event.progress)
            checkpoints.reported(act, instance, event.progress)
    elif isinstance(event, SignSeen):
        if event.epoch == instance.epoch and event.sign not in instance.signs:
            instance.signs = [*instance.signs, event.sign]
            act.touch_instance(instance)
    elif isinstance(event, ActivitySeen):
        hangs.seen(act, instance, event.epoch, event.cpu, event.silent_ms)
    elif isinstance(event, CheckpointSeen):
        if event.flaw:
            resuming.torn(act, instance, event)
        else:
            checkpoints.seen(act, instance, event)
    elif isinstance(event, SeatStands) and event.task in instance.closing:
        act.close_again(instance, event.task)
    elif isinstance(event, StacksTold):
        hangs.told(act, instance, event.epoch, event.text)
    elif event.task != instance.task:
        # Of a seat that it has no more.
        return
    elif isinstance(event, PeersChecked):
        found = tuple(reachability.named(instance, one) for one in event.unreached)
        reachability.answered(act, instance, event.number, found)
    elif isinstance(event, SeatStands):
        greeting.stands(act, instance, event.epoch)
    elif isinstance(event, InstanceStarted):
        launching.started(act, instance, event.epoch)
    elif instance.state.has_processes:
        # An end that is told again is none of who waits to be started.
        endings.ended(act, instance, event.exit)


def _on_unwanted(event: SeatsAccepted | SeatsRefused, live: LiveJob | None, effects: Effects) -> None:
    """Nobody wants these seats any more, but those that were open before their acceptance was told."""
    effects.rows.append(DropBatch(event.batch))
    if isinstance(event, SeatsRefused):
        return
    held = {one.task for one in live.instances.values()} if live is not None else set()
    if unwanted := tuple(task for task in event.tasks.values() if task not in held):
        effects.wishes.append(CancelSeats(event.account, unwanted))


def _on_refused(act: Act, event: SeatsRefused) -> None:
    act.effects.rows.append(DropBatch(event.batch))
    act.job.batches = {number: keys for number, keys in act.job.batches.items() if number != event.batch}
    outcomes.decide(act, JobState.FAILED, "CANNOT_BE_PLACED", event.message)


def _on_seat_ended(act: Act, event: SeatEnded) -> None:
    closing = act.live.of_closing(event.task)
    if closing is not None:
        closings.ended(act, closing, event)
        return
    instance = act.live.of_task(event.task)
    if instance is None:
        return
    if event.exit.cause is Cause.SETUP and instance.state is InstanceState.PENDING and not act.job.is_over:
        _cannot_be_prepared(act, instance, event.exit)
        return
    if act.job.state is JobState.RESERVING or (event.has_waited_too_long and not act.job.is_over):
        _give_way(act, event.exit.message)
        return
    waits = instance.state in (InstanceState.PENDING, InstanceState.SEATED, InstanceState.BACKING_OFF)
    endings.seat_lost(act, instance, msgspec.structs.replace(event.exit, epoch=instance.epoch))
    if waits and not act.job.is_over and instance.state is InstanceState.PENDING:
        gangs.submit(act, [instance.key], is_whole=False)


def _cannot_be_prepared(act: Act, instance: Instance, found: Exit) -> None:
    """Its packages or its image cannot be had where it was placed; asking again and again would not bring them."""
    act.job.failure, act.job.failed = act.job.failure or found, act.job.failed or instance.key
    act.set(instance, InstanceState.FAILED, "SETUP", found.message)
    outcomes.decide(act, JobState.FAILED, "SETUP", found.message)


def _give_way(act: Act, message: str) -> None:
    """Its time for getting places is over: no half gang stays, and it goes behind those of its priority."""
    for instance in act.live.instances.values():
        if instance.state.has_processes:
            act.stop(instance, "restart")
    act.job.waves = []
    gangs.give_up(act, message=message)
    turns.go_behind(act)
    act.set_job(JobState.QUEUED, "GANG", message)
