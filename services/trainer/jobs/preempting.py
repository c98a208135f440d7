"""Jobs that may be interrupted make room for one of higher priority of their queue that waits for its places. Pure.

Whether room would be made is the scheduler's to say: it is asked which gang would be placed if which seats were given
back (`ExplainTask.without`). Here stands who may be asked about, in which order, and what follows: those who make room
are suspended gracefully, uncounted; they wait until the other has its places, and are queued again before their equals.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import TypeVar

import msgspec

from services.trainer.jobs import gangs, turns
from services.trainer.jobs.acts import Act
from services.trainer.model import PLACED, ConditionKind, InstanceState, JobState
from services.trainer.state.jobs import LiveJob
from services.trainer.state.state import State

REASON = "PREEMPTED"
SETTLED_MS = 60_000
"""A job that was interrupted before keeps its next places so long."""
YIELD_MS = 60_000
"""So long it waits for the other to have its places: who else took the room, took it."""
CANDIDATES_MOST = 32
"""Who may make room for one job; those who would be taken first."""

T = TypeVar("T")


class Wish(msgspec.Struct, frozen=True):
    """A job that wants room: a task that stands for its gang, and whom it may take it from, in this order."""

    job: int
    account: str
    task: str
    candidates: tuple[int, ...]


def wishes(state: State, now: int) -> list[Wish]:
    """Of each queue those who wait for room that others could make, first comes first."""
    open_to: dict[str, list[LiveJob]] = {}
    busy, helped = set[str](), set[int]()
    waiting: dict[str, list[LiveJob]] = {}
    for live in state.jobs.values():
        job = live.job
        helped.add(job.yields_to)
        if job.yields_to and job.is_suspending:
            # One at a time: what is being cleared may be enough for who comes next, too.
            busy.add(job.queue)
        elif job.state is JobState.RESERVING:
            waiting.setdefault(job.queue, []).append(live)
        elif may_make_room(live, now):
            open_to.setdefault(job.queue, []).append(live)
    found = []
    for queue, lives in waiting.items():
        if queue in busy or queue not in open_to:
            continue
        for head in turns.in_order(lives):
            wish = _wish(head, open_to[queue])
            if wish is not None and wish.job not in helped:
                found.append(wish)
    return found


def _wish(head: LiveJob, others: Iterable[LiveJob]) -> Wish | None:
    lower = [one for one in others if one.job.priority < head.job.priority]
    task = next((one.task for one in head.instances.values() if one.task and one.address is None), "")
    if not lower or not task or head.job.batches:
        return None
    lower.sort(key=lambda one: (one.job.priority, -placed_ms(one), one.job.number))
    return Wish(
        head.job.number,
        head.job.account,
        task,
        tuple(one.job.number for one in lower[:CANDIDATES_MOST]),
    )


def may_make_room(live: LiveJob, now: int) -> bool:
    """Whether it holds places, and may be interrupted now."""
    job = live.job
    if not live.plan.job.preemptible or job.state not in PLACED or job.is_over or job.is_suspending:
        return False
    return not job.preemptions or now - placed_ms(live) >= SETTLED_MS


def placed_ms(live: LiveJob) -> int:
    """When it got its present places."""
    changes = reversed(live.job.conditions)
    return next((one.time_ms for one in changes if one.kind is ConditionKind.PLACED and one.is_true), 0)


def seats_of(state: State, jobs: Iterable[int]) -> list[str]:
    """Tasks that would end with them."""
    return [one.task for number in jobs for one in state.jobs[number].instances.values() if one.task]


def choose(candidates: Sequence[T]) -> Generator[tuple[T, ...], bool, tuple[T, ...]]:
    """Yields sets of which it wants to know whether they would make room; returns whom to take.

    Nobody where all together would not be enough. One is preferred to several; of several none could be left out; those
    who come first are taken first.
    """
    if not candidates or not (yield tuple(candidates)):
        return ()
    for one in candidates[:-1] if len(candidates) > 1 else ():
        if (yield (one,)):
            return (one,)
    if len(candidates) == 1 or (yield (candidates[-1],)):
        return (candidates[-1],)
    chosen: list[T] = []
    for one in candidates:
        chosen.append(one)
        if len(chosen) == len(candidates) or (len(chosen) > 1 and (yield tuple(chosen))):
            break
    # The last one was needed; who would have been taken last is spared first.
    for one in chosen[-2::-1]:
        fewer = [other for other in chosen if other != one]
        if len(fewer) > 1 and (yield tuple(fewer)):
            chosen = fewer
    return tuple(chosen)


def make_room(act: Act, others: Sequence[int]) -> None:
    """These are suspended for the job, if everything is still as it was when they were chosen."""
    lives = [act.state.jobs.get(number) for number in others]
    found = [live for live in lives if live is not None and _still_makes_room(act, live)]
    if act.job.state is not JobState.RESERVING or len(found) != len(others):
        return
    for live in found:
        other = Act(act.state, live, act.effects, act.now)
        live.job.yields_to, live.job.preemptions = act.job.number, live.job.preemptions + 1
        live.job.is_suspending, live.job.is_resuming = True, False
        other.set_job(live.job.state, REASON, _words(act.job.number, act.job.priority))


def _still_makes_room(act: Act, live: LiveJob) -> bool:
    same = live.job.queue == act.job.queue and live.job.priority < act.job.priority
    return same and may_make_room(live, act.now)


def _words(number: int, priority: int) -> str:
    return f"it makes room for j-{number} of priority {priority}, and goes on by itself after that"


def is_done(act: Act) -> bool:
    """Whether a job that made room may go on: the other has its places, or wants none, or has not got them."""
    if act.job.state is not JobState.SUSPENDED or not act.job.yields_to:
        return False
    head = act.state.jobs.get(act.job.yields_to)
    waits = head is not None and head.job.state in (JobState.QUEUED, JobState.RESERVING)
    return not waits or act.now >= act.job.yield_until_ms


def go_on(act: Act) -> None:
    """It is queued again, before its equals: those who have asked for places without getting any ask after it."""
    equals = [
        live
        for live in act.state.jobs.values()
        if live is not act.live
        and live.job.queue == act.job.queue
        and live.job.priority == act.job.priority
        and live.job.state in (JobState.QUEUED, JobState.RESERVING)
    ]
    act.job.turn = min([act.job.turn, *(live.job.turn - 1 for live in equals)])
    turns.queue_again(act)
    for live in equals:
        if live.job.state is JobState.RESERVING and _has_nothing(live):
            _ask_later(Act(act.state, live, act.effects, act.now))


def _has_nothing(live: LiveJob) -> bool:
    return all(one.state is InstanceState.PENDING and one.address is None for one in live.instances.values())


def _ask_later(act: Act) -> None:
    gangs.give_up(act, message="a job that made room goes first")
    act.set_job(JobState.QUEUED)


def makers(state: State, number: int) -> list[LiveJob]:
    """Who makes room for it, or has."""
    return [live for live in state.jobs.values() if live.job.yields_to == number]
