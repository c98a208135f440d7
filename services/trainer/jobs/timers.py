"""When a job has to be looked at again although nothing happens to it: what waits for a time says so here. Pure.

Whatever changes a job is followed up at once; only what is due costs anything when time passes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from services.trainer.model import PLACED, InstanceState, JobState
from services.trainer.state.jobs import Instance, LiveJob
from services.trainer.state.state import State

REPLACEMENT_WAIT_S = 60.0
"""How long a job that has lost a place keeps the others, where its file does not say."""
ROUND_MS = 1_000
"""A job with instances is looked at so often anyway (S3.9)."""
_ROUNDS = PLACED | {JobState.DRAINING}


def arm(state: State, live: LiveJob, now: int) -> None:
    """To be called whenever the job was followed up."""
    due_ms = min((due for due in _dues(live, now) if due > now), default=0)
    # An earlier time that is set already stays: the job is looked at, and armed again.
    if due_ms and (not live.due_ms or due_ms < live.due_ms):
        live.due_ms = due_ms
        heapq.heappush(state.alarms, (due_ms, live.job.number))


def due(state: State, now: int) -> list[LiveJob]:
    """Those whose time has come; `arm` is called for each of them afterwards."""
    found = []
    while state.alarms and state.alarms[0][0] <= now:
        due_ms, number = heapq.heappop(state.alarms)
        live = state.jobs.get(number)
        if live is not None and live.due_ms == due_ms:
            live.due_ms = 0
            found.append(live)
    return found


def next_ms(state: State) -> int:
    """Nothing is due before; 0: nothing is due ever."""
    return state.alarms[0][0] if state.alarms else 0


def is_due(state: State, now: int) -> bool:
    """Whether `due` would find anything."""
    return bool(state.alarms) and state.alarms[0][0] <= now


def _dues(live: LiveJob, now: int) -> Iterator[int]:
    job = live.job
    if job.state.has_ended:
        return
    if job.deadline_ms and job.outcome is None and job.state is not JobState.SUSPENDED:
        # It may have passed while the job was suspended, or nobody was there.
        yield max(job.deadline_ms, now + 1)
    is_yielding = job.state is JobState.SUSPENDED and job.yields_to
    if job.state not in _ROUNDS and not job.is_suspending and not is_yielding:
        return
    yield now + ROUND_MS
    yield job.drain_until_ms
    if live.check is not None:
        yield live.check.until_ms
    for wave in job.waves:
        yield wave.until_ms
    for role, timeout_s in _waits(live):
        for one in live.of_role(role):
            if one.state is InstanceState.SEATED:
                yield edge_ms(one, timeout_s)


def _waits(live: LiveJob) -> Iterator[tuple[str, float]]:
    for planned in live.plan.roles:
        for edge in planned.role.depend():
            if edge.timeout_s:
                yield planned.name, edge.timeout_s


def edge_ms(instance: Instance, timeout_s: float) -> int:
    """Until then it waits for what its role depends on."""
    return instance.since_ms + round(1000 * timeout_s)


def replacement_ms(live: LiveJob) -> int:
    """How long those with places wait for those without."""
    return round(1000 * (live.plan.job.gang.wait_s or REPLACEMENT_WAIT_S))
