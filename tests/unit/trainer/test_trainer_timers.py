"""What time costs: only jobs whose time has come are looked at, and none of those is missed (S3.9, S3.11)."""

from __future__ import annotations

from modelyard.training.policies.restarts import Cause
from services.trainer.jobs import timers
from services.trainer.model import RESERVING_MOST, JobState
from tests.support.training_world import World, plan_from

JOB = """
kind: Framework
id: one
roles:
  first: {count: {default: 1}, functions: {create: {argv: [a]}}}
  second:
    count: {default: 1}
    functions:
      create: {argv: [b]}
      depend: [{role: first, until: log, pattern: ready, timeout: 700ms, on_timeout: fail}]
      restart: {when: [exit], scope: instance, max: 1, backoff: [400ms, 400ms]}
---
kind: Job
framework: one
name: %s
"""


def placed(seats: int = 2, more: str = "") -> World:
    world = World(seats_most=seats)
    world.create(plan_from(JOB % "x" + more))
    for _ in range(3):
        world.hear()
        world.place()
    return world


def test_waiting_jobs_are_not_looked_at_before_their_deadline() -> None:
    world = World(seats_most=0)
    for more in ("limits: {active_deadline: 10s}\n", "", "limits: {active_deadline: 20s}\n"):
        world.create(plan_from(JOB % "x" + more))
    assert timers.next_ms(world.state) == world.now + 10_000
    assert [live.job.number for live in timers.due(world.state, world.now + 15_000)] == [1]
    assert timers.next_ms(world.state) == world.now + 20_000


def test_edge_whose_time_is_over_is_due_to_the_millisecond() -> None:
    world = placed()
    due_ms = timers.next_ms(world.state)
    assert due_ms == world.now + 700
    world.pass_time(699)
    assert world.state.jobs[1].job.state is JobState.STARTING
    world.pass_time(1)
    assert world.state.jobs[1].job.outcome is JobState.FAILED


def test_back_off_is_due_to_the_millisecond_and_a_job_without_change_costs_no_row() -> None:
    world = placed(more="roles: {second: {depend: []}}\n")
    world.hear()
    world.fails = lambda seat: Cause.EXIT if seat.role == "second" else None
    while world.state.jobs[1].job.state is not JobState.RESTARTING:
        world.finish_one()
        world.hear()
    assert timers.next_ms(world.state) == world.now + 400
    world.now += 399
    assert not timers.is_due(world.state, world.now)
    assert not world.do().rows
    world.pass_time(1)
    assert world.state.jobs[1].job.restarts == 1 and not world.state.jobs[1].job.waves


def test_of_a_queue_only_so_many_ask_for_places_and_the_next_in_turn_follow() -> None:
    world = World(seats_most=0)
    for number in range(RESERVING_MOST + 3):
        world.create(plan_from(JOB % "x" + f"priority: {1 if number >= RESERVING_MOST + 2 else 0}\n"))
    waiting = [n for n, live in world.state.jobs.items() if live.job.state is JobState.QUEUED]
    assert waiting == [RESERVING_MOST + 1, RESERVING_MOST + 2, RESERVING_MOST + 3]
    world.seats_most = 2
    while len(waiting) == 3:
        world.place()
        world.hear()
        waiting = [n for n, live in world.state.jobs.items() if live.job.state is JobState.QUEUED]
    assert waiting == [RESERVING_MOST + 1, RESERVING_MOST + 2], "the one of higher priority goes first"
