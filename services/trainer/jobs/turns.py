"""Whose turn it is: jobs wait in queues, by priority, then by their turns (S3.4). Pure."""

from __future__ import annotations

from services.trainer.jobs import gangs
from services.trainer.jobs.acts import Act
from services.trainer.model import RESERVING_MOST, ConditionKind, JobState
from services.trainer.state.effects import Effects
from services.trainer.state.jobs import LiveJob
from services.trainer.state.state import State


def begin_next(state: State, effects: Effects, now: int) -> list[LiveJob]:
    """As many jobs of each queue ask for places as may; those that do so from now on."""
    begun = []
    for queue in state.queues.values():
        while queue.reserving < RESERVING_MOST and (live := queue.take(state)) is not None:
            act = Act(state, live, effects, now)
            act.set_job(JobState.RESERVING, "GANG", "asks the scheduler for places")
            gangs.submit(act, act.wanted(), is_whole=True)
            begun.append(live)
    return begun


def in_order(lives: list[LiveJob]) -> list[LiveJob]:
    """Higher priority first, then who has waited longer."""
    return sorted(lives, key=lambda live: (-live.job.priority, live.job.turn))


def position(state: State, live: LiveJob) -> int:
    """How many of its queue go before it."""
    waits = (JobState.QUEUED, JobState.RESERVING)
    of_queue = [
        one for one in state.jobs.values() if one.job.queue == live.job.queue and one.job.state in waits
    ]
    return in_order(of_queue).index(live) if live in of_queue else 0


def suspend_wished(act: Act) -> None:
    """Somebody wants it to give everything back."""
    job = act.job
    if job.state is JobState.SUSPENDED and job.yields_to:
        # It made room, and would go on by itself: now it waits for somebody.
        act.set_job(job.state, "SUSPENDED")
    job.is_suspending, job.is_resuming, job.yields_to = job.state is not JobState.SUSPENDED, False, 0
    act.touch()


def resume_wished(act: Act) -> bool:
    """Somebody wants it to go on; whether there was anything to resume."""
    job = act.job
    if job.is_suspending:
        job.is_resuming, job.yields_to = True, 0
        act.touch()
    elif job.state is JobState.SUSPENDED:
        resume(act)
    else:
        return False
    return True


def resume(act: Act) -> None:
    """A suspended job waits for its turn again."""
    go_behind(act)
    queue_again(act)


def queue_again(act: Act) -> None:
    """It waits with the turn that it has."""
    act.job.is_resuming, act.job.yields_to = False, 0
    act.set_job(JobState.QUEUED)
    act.condition(ConditionKind.SUSPENDED, is_true=False, reason="RESUMED")


def go_behind(act: Act) -> None:
    """To the end of those of its priority."""
    act.job.turn, act.state.next_turn = act.state.next_turn, act.state.next_turn + 1
    act.touch()
