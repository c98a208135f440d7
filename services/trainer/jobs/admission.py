"""A job enters the state, whoever asked for it: somebody, or a sweep. Pure."""

from __future__ import annotations

import msgspec

from modelyard.training import Plan
from services.trainer.jobs.acts import Act
from services.trainer.model import JobState
from services.trainer.state.effects import Effects
from services.trainer.state.jobs import Instance, Job, LiveJob
from services.trainer.state.state import State


def admit(state: State, job: Job, plan: Plan, effects: Effects, now: int) -> LiveJob:
    """The job under the next number, with an instance for everyone that there is to be."""
    made = msgspec.structs.replace(
        job,
        number=state.next_job,
        turn=state.next_turn,
        create_ms=now,
        counts={role.name: role.count for role in plan.roles if role.count},
        deadline_ms=now + round(1000 * plan.job.deadline_s) if plan.job.deadline_s else 0,
    )
    made.state = JobState.SUSPENDED if plan.job.suspended else JobState.QUEUED
    state.next_job += 1
    state.next_turn += 1
    live = state.jobs[made.number] = LiveJob(made, plan)
    state.moved(made, None)
    act = Act(state, live, effects, now)
    for key in act.wanted():
        live.instances[key] = Instance(*key, since_ms=now)
        act.touch_instance(live.instances[key])
    act.touch()
    return live
