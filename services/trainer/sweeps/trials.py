"""Trials: begun as jobs, compared by what they report, ended with their jobs. Pure."""

from __future__ import annotations

from modelyard.training import Progress, Refused
from modelyard.training.sweeps import Resource
from services.trainer.jobs import outcomes
from services.trainer.jobs.acts import Act
from services.trainer.jobs.admission import admit
from services.trainer.model import BEYOND, PRUNED, JobState, SweepState, TrialState
from services.trainer.state.effects import Effects
from services.trainer.state.events import Event, ProgressReported
from services.trainer.state.jobs import Job, LiveJob
from services.trainer.state.state import State
from services.trainer.state.sweeps import LiveSweep, Trial
from services.trainer.sweeps import rungs

_STATES = {
    JobState.SUCCEEDED: TrialState.SUCCEEDED,
    JobState.FAILED: TrialState.FAILED,
    JobState.STOPPED: TrialState.STOPPED,
}
_ENDS = {PRUNED: TrialState.PRUNED, BEYOND: TrialState.SUCCEEDED}
"""By the reason of the job."""


def begin(state: State, live: LiveSweep, effects: Effects, now: int) -> LiveJob | None:
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
        live.decide(SweepState.SUCCEEDED, "TARGET", message)
        return
    goes_on, message = rungs.passes(live, trial, value)
    if not goes_on:
        outcomes.decide(act, JobState.STOPPED, PRUNED, message)
    elif asha is not None and trial.resource is not None and trial.resource > asha.most:
        message = f"a whole trial goes to {asha.by.value} {asha.most:g}"
        outcomes.decide(act, JobState.STOPPED, BEYOND, message)


def note(live: LiveSweep, trial: Trial, job: Job, now: int) -> None:
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


def _end(live: LiveSweep, trial: Trial, state: TrialState, reason: str, message: str, now: int) -> None:
    trial.state, trial.reason, trial.message, trial.end_ms = state, reason, message, now
    live.running.discard(trial.number)
    live.failed += state is TrialState.FAILED
    live.changed.add(trial.number)
