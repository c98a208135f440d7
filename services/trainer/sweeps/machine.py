"""Sweeps within the step of jobs: trials are begun, compared by what they report, and ended. Pure.

A trial's job and the sweep's row are written in one transaction, so that no death of the trainer doubles or loses a
trial: the next number is taken where the job is made.
"""

from __future__ import annotations

from collections.abc import Iterable

from modelyard.training import Progress, Refused
from modelyard.training.sweeps import Resource
from services.trainer import outcomes, turns
from services.trainer.acts import Act
from services.trainer.admission import admit
from services.trainer.effects import Answer, Effects, TellSweepEnd
from services.trainer.events import Event, ProgressReported
from services.trainer.model import JobState
from services.trainer.state import Job, LiveJob, State
from services.trainer.sweeps import rungs
from services.trainer.sweeps.events import (
    SweepCreated,
    SweepEvent,
    SweepRecovered,
    SweepResumed,
    SweepRevisited,
    SweepStopped,
    SweepSuspended,
)
from services.trainer.sweeps.model import (
    BEYOND,
    OVER,
    PRUNED,
    SweepHasEnded,
    SweepNotSuspended,
    SweepState,
    TrialState,
)
from services.trainer.sweeps.rows import PutSweep, PutTrial
from services.trainer.sweeps.state import LiveSweep, Trial


def apply(state: State, event: SweepEvent, effects: Effects, now: int) -> None:
    """What happens to a sweep itself."""
    if isinstance(event, SweepCreated | SweepRecovered):
        live = LiveSweep(event.sweep, event.file, event.plan_of)
        if isinstance(event, SweepCreated):
            live.sweep.number, live.sweep.create_ms = state.next_sweep, now
            state.next_sweep += 1
            live.is_changed = True
            effects.answers.append(Answer(event.reply, live.sweep.number))
        else:
            live.take_up(event.trials)
        state.sweeps[live.sweep.number] = live
    elif isinstance(event, SweepRevisited):
        _revisit(state, event.sweep, effects, now)
        return
    else:
        live = _require(state, event)
        _carry_out(state, live, event, effects, now)
        effects.answers.append(Answer(event.reply, event.sweep))
    _settle(state, live, effects, now)


def _require(state: State, event: SweepStopped | SweepSuspended | SweepResumed) -> LiveSweep:
    """One that goes on. Raises SweepHasEnded."""
    live = state.sweeps.get(event.sweep)
    if live is None or live.sweep.state.has_ended:
        step = f"yard train sweep get s-{event.sweep}"
        raise SweepHasEnded(f"s-{event.sweep} has ended", field="sweep_id", next_step=step)
    return live


def _carry_out(
    state: State,
    live: LiveSweep,
    event: SweepStopped | SweepSuspended | SweepResumed,
    effects: Effects,
    now: int,
) -> None:
    sweep = live.sweep
    if isinstance(event, SweepStopped):
        _decide(live, SweepState.STOPPED, "STOPPED", event.comment or "somebody stopped it")
        return
    if sweep.outcome is not None:
        raise SweepHasEnded(f"s-{sweep.number} has ended", field="sweep_id")
    is_suspended = isinstance(event, SweepSuspended)
    if not is_suspended and sweep.state is not SweepState.SUSPENDED:
        raise SweepNotSuspended(f"s-{sweep.number} is {sweep.state.value}", field="sweep_id")
    sweep.state = SweepState.SUSPENDED if is_suspended else SweepState.RUNNING
    sweep.reason = "SUSPENDED" if is_suspended else ""
    sweep.message = event.comment if isinstance(event, SweepSuspended) else ""
    live.is_changed = True
    for number in sorted(live.running):
        job = state.jobs.get(live.trials[number].job)
        if job is None or job.job.is_over:
            continue
        act = Act(state, job, effects, now)
        if is_suspended:
            turns.suspend_wished(act)
        else:
            turns.resume_wished(act)


def _revisit(state: State, number: int, effects: Effects, now: int) -> None:
    live = state.sweeps.get(number)
    if live is None:
        return
    if live.sweep.state.has_ended:
        del state.sweeps[number]
        return
    live.allowance = live.burst
    _settle(state, live, effects, now)


def is_to_be_revisited(live: LiveSweep) -> bool:
    """Whether something is left to do once the step is on disk."""
    sweep = live.sweep
    return sweep.state.has_ended or (sweep.outcome is None and not live.allowance and _has_room(live))


def hear(state: State, event: Event, effects: Effects, now: int) -> None:
    """What an instance reports may be what its trial is compared by."""
    if not isinstance(event, ProgressReported):
        return
    job = state.jobs.get(event.job)
    live = state.sweeps.get(job.job.sweep) if job is not None else None
    if job is None or live is None:
        return
    trial = live.trials[job.job.trial]
    metric = live.file.metric
    if metric is None or metric.role not in ("", event.role):
        return
    value = event.progress.metrics.get(metric.name)
    resource = _resource(live, event.progress)
    if resource is not None and resource != trial.resource:
        trial.resource = resource
        live.changed.add(trial.number)
    if value is None:
        return
    live.changed.add(trial.number)
    trial.latest = value
    if trial.best is None or metric.is_better(value, trial.best):
        trial.best = value
    if job.job.outcome is None and live.sweep.outcome is None:
        _compare(Act(state, job, effects, now), live, trial, value)


def _resource(live: LiveSweep, progress: Progress) -> float | None:
    asha = live.file.search.asha
    return progress.epoch if asha is not None and asha.by is Resource.EPOCH else progress.step


def _compare(act: Act, live: LiveSweep, trial: Trial, value: float) -> None:
    metric, target, asha = live.file.metric, live.file.target, live.file.search.asha
    assert metric is not None
    if target is not None and not metric.is_better(target, value):
        live.sweep.target_trial = trial.number
        message = f"trial {trial.number} has reached {metric.name} {value:g}"
        _decide(live, SweepState.SUCCEEDED, "TARGET", message)
        return
    goes_on, message = rungs.passes(live, trial, value)
    if not goes_on:
        outcomes.decide(act, JobState.STOPPED, PRUNED, message)
    elif asha is not None and trial.resource is not None and trial.resource > asha.most:
        message = f"a whole trial goes to {asha.by.value} {asha.most:g}"
        outcomes.decide(act, JobState.STOPPED, BEYOND, message)


def follow(state: State, jobs: Iterable[LiveJob], effects: Effects, now: int) -> list[LiveJob]:
    """What follows for sweeps from what became of jobs; the jobs that were begun or stopped for it."""
    concerned: dict[int, LiveSweep] = {}
    for job in jobs:
        live = state.sweeps.get(job.job.sweep)
        if live is not None:
            concerned[live.sweep.number] = live
            _note(live, live.trials[job.job.trial], job.job, now)
    return [job for live in concerned.values() for job in _settle(state, live, effects, now)]


def _note(live: LiveSweep, trial: Trial, job: Job, now: int) -> None:
    """How far a trial's job is."""
    if trial.state.has_ended:
        return
    if trial.state is TrialState.WAITING and job.start_ms:
        trial.state, trial.start_ms = TrialState.RUNNING, job.start_ms
        live.changed.add(trial.number)
    if job.state.has_ended:
        message = job.message
        if job.state is JobState.SUCCEEDED:
            metric = live.file.metric
            is_silent = metric is not None and trial.best is None
            message = f"it never reported {metric.name}" if metric is not None and is_silent else ""
        _end(live, trial, _ENDS.get(job.reason, _STATES[job.state]), job.reason, message, now)


_STATES = {
    JobState.SUCCEEDED: TrialState.SUCCEEDED,
    JobState.FAILED: TrialState.FAILED,
    JobState.STOPPED: TrialState.STOPPED,
}
_ENDS = {PRUNED: TrialState.PRUNED, BEYOND: TrialState.SUCCEEDED}
"""By the reason of the job."""


def _end(live: LiveSweep, trial: Trial, state: TrialState, reason: str, message: str, now: int) -> None:
    trial.state, trial.reason, trial.message, trial.end_ms = state, reason, message, now
    live.running.discard(trial.number)
    live.failed += state is TrialState.FAILED
    live.changed.add(trial.number)


def _settle(state: State, live: LiveSweep, effects: Effects, now: int) -> list[LiveJob]:
    """Everything that follows from what a sweep is by now."""
    sweep = live.sweep
    if sweep.state.has_ended:
        return []
    touched: list[LiveJob] = []
    while sweep.outcome is None and live.allowance and _has_room(live):
        live.allowance -= 1
        job = _begin(state, live, effects, now)
        touched += [job] if job is not None else []
        _decide_by_failures(live)
    _decide_by_failures(live)
    if sweep.next_trial > sweep.trial_count and not live.running:
        _decide_by_trials(live)
    if sweep.outcome is not None:
        touched += _drain(state, live, effects, now)
        if not live.running:
            sweep.state, sweep.end_ms, live.is_changed = sweep.outcome, now, True
            effects.wishes.append(TellSweepEnd(sweep.number, sweep.account))
    return touched


def _has_room(live: LiveSweep) -> bool:
    sweep = live.sweep
    is_open = sweep.state is SweepState.RUNNING and sweep.next_trial <= sweep.trial_count
    return is_open and len(live.running) < sweep.parallel


def _begin(state: State, live: LiveSweep, effects: Effects, now: int) -> LiveJob | None:
    """The next trial. None: its values make no job, which counts as a failure."""
    sweep, number = live.sweep, live.sweep.next_trial
    sweep.next_trial += 1
    live.is_changed = True
    trial = live.trials[number] = Trial(number, values=live.file.values(number, sweep.seed), create_ms=now)
    live.changed.add(number)
    labels = {"sweep": f"s-{sweep.number}", "trial": f"{number}"}
    document = live.file.document(number, trial.values, labels)
    job = Job(
        0, sweep.account, "", sweep.framework, sweep.framework_version, document, "", 0, now,
        bundle_digest=sweep.bundle_digest, environment=sweep.environment,
        sweep=sweep.number, trial=number,
    )  # fmt: skip
    try:
        plan = live.plan_of(job)
    except Refused as refused:
        _end(live, trial, TrialState.FAILED, "INVALID", str(refused), now)
        return None
    job.name, job.queue, job.priority = plan.job.name, plan.job.queue, plan.job.priority
    job.labels = dict(plan.job.labels)
    made = admit(state, job, plan, effects, now)
    trial.job = made.job.number
    live.running.add(number)
    return made


def _decide_by_failures(live: LiveSweep) -> None:
    most, failed = live.file.failures_most, live.failed
    if live.sweep.outcome is None and 0 <= most < failed:
        last = max(
            (one for one in live.trials.values() if one.state is TrialState.FAILED),
            key=lambda one: (one.end_ms, one.number),
        )
        message = f"{failed} trials have failed; the last, {last.number}: {last.message or last.reason}"
        _decide(live, SweepState.FAILED, "TOO_MANY_FAILURES", message)


def _decide_by_trials(live: LiveSweep) -> None:
    good = live.count(TrialState.SUCCEEDED)
    outcome = SweepState.SUCCEEDED if good else SweepState.FAILED
    message = f"{good} of {live.sweep.trial_count} trials have succeeded"
    _decide(live, outcome, "EVERY_TRIAL_ENDED", message)


def _decide(live: LiveSweep, outcome: SweepState, reason: str, message: str) -> None:
    """Once: from now on no trial begins."""
    sweep = live.sweep
    if sweep.outcome is None:
        sweep.outcome, sweep.state, sweep.reason, sweep.message = (
            outcome,
            SweepState.DRAINING,
            reason,
            message,
        )
        live.is_changed = True


def _drain(state: State, live: LiveSweep, effects: Effects, now: int) -> list[LiveJob]:
    """Trials that go on are stopped, but for the one that reached the target."""
    found = []
    for number in sorted(live.running - {live.sweep.target_trial}):
        job = state.jobs.get(live.trials[number].job)
        if job is not None and job.job.outcome is None:
            outcomes.decide(
                Act(state, job, effects, now), JobState.STOPPED, OVER, f"s-{live.sweep.number} is over"
            )
            found.append(job)
    return found


def write(state: State, effects: Effects) -> None:
    """What changed is told and written under a new revision."""
    for live in state.sweeps.values():
        if not live.is_changed and not live.changed:
            continue
        state.revision += 1
        live.sweep.revision = state.revision
        for number in sorted(live.changed):
            live.trials[number].revision = state.revision
            effects.rows.append(PutTrial(live.sweep.number, live.trials[number]))
        effects.rows.append(PutSweep(live.sweep))
        effects.changed_sweeps.add(live.sweep.number)
        live.changed.clear()
        live.is_changed = False
