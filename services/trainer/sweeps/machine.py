"""Sweeps within the step of jobs: trials are begun, compared by what they report, and ended. Pure.

A trial's job and the sweep's row are written in one transaction, so that no death of the trainer doubles or loses a
trial: the next number is taken where the job is made.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.trainer.jobs import outcomes, turns
from services.trainer.jobs.acts import Act
from services.trainer.model import OVER, JobState, SweepHasEnded, SweepNotSuspended, SweepState, TrialState
from services.trainer.state.effects import Answer, Effects, HoldReferences, PutSweep, PutTrial, TellSweepEnd
from services.trainer.state.jobs import LiveJob
from services.trainer.state.state import State
from services.trainer.state.sweep_events import (
    SweepCreated,
    SweepEvent,
    SweepRecovered,
    SweepResumed,
    SweepRevisited,
    SweepStopped,
    SweepSuspended,
)
from services.trainer.state.sweeps import LiveSweep
from services.trainer.sweeps import trials


def apply(state: State, event: SweepEvent, effects: Effects, now: int) -> None:
    """What happens to a sweep itself."""
    if isinstance(event, SweepCreated | SweepRecovered):
        live = LiveSweep(event.sweep, event.file, event.plan_of)
        if isinstance(event, SweepCreated):
            live.sweep.number, live.sweep.create_ms = state.next_sweep, now
            state.next_sweep += 1
            live.is_changed = True
            effects.answers.append(Answer(event.reply, live.sweep.number))
            if live.sweep.bundle_digest:
                # Also trials that begin in a week find it.
                _hold(live, effects, live.sweep.bundle_digest)
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
        live.decide(SweepState.STOPPED, "STOPPED", event.comment or "somebody stopped it")
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


def follow(state: State, jobs: Iterable[LiveJob], effects: Effects, now: int) -> list[LiveJob]:
    """What follows for sweeps from what became of jobs; the jobs that were begun or stopped for it."""
    concerned: dict[int, LiveSweep] = {}
    for job in jobs:
        live = state.sweeps.get(job.job.sweep)
        if live is not None:
            concerned[live.sweep.number] = live
            trials.note(live, live.trials[job.job.trial], job.job, now)
    return [job for live in concerned.values() for job in _settle(state, live, effects, now)]


def _settle(state: State, live: LiveSweep, effects: Effects, now: int) -> list[LiveJob]:
    """Everything that follows from what a sweep is by now."""
    sweep = live.sweep
    if sweep.state.has_ended:
        return []
    touched: list[LiveJob] = []
    while sweep.outcome is None and live.allowance and _has_room(live):
        live.allowance -= 1
        job = trials.begin(state, live, effects, now)
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
            if sweep.bundle_digest:
                _hold(live, effects)
    return touched


def _hold(live: LiveSweep, effects: Effects, *digests: str) -> None:
    """What the store keeps for it; nothing: it lets go."""
    holder = f"sweep:s-{live.sweep.number}"
    effects.wishes.append(HoldReferences(live.sweep.account, holder, digests))


def _has_room(live: LiveSweep) -> bool:
    sweep = live.sweep
    is_open = sweep.state is SweepState.RUNNING and sweep.next_trial <= sweep.trial_count
    return is_open and len(live.running) < sweep.parallel


def _decide_by_failures(live: LiveSweep) -> None:
    most, failed = live.file.failures_most, live.failed
    if live.sweep.outcome is None and 0 <= most < failed:
        last = max(
            (one for one in live.trials.values() if one.state is TrialState.FAILED),
            key=lambda one: (one.end_ms, one.number),
        )
        message = f"{failed} trials have failed; the last, {last.number}: {last.message or last.reason}"
        live.decide(SweepState.FAILED, "TOO_MANY_FAILURES", message)


def _decide_by_trials(live: LiveSweep) -> None:
    good = live.count(TrialState.SUCCEEDED)
    outcome = SweepState.SUCCEEDED if good else SweepState.FAILED
    message = f"{good} of {live.sweep.trial_count} trials have succeeded"
    live.decide(outcome, "EVERY_TRIAL_ENDED", message)


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
