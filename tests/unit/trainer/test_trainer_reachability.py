"""Nodes of a gang find out whether they reach each other before anybody starts (S3.6)."""

from __future__ import annotations

import pytest

from modelyard.training.policies.restarts import Cause
from services.trainer.model import ConditionKind, JobState
from services.trainer.state.effects import CheckPeers
from services.trainer.state.jobs import Job
from tests.support.training_world import World, plan_from

JOB = """
kind: Framework
id: mesh
roles:
  server:
    count: {default: 1}
    service: {ports: {main: auto}}
    functions: {create: {argv: [serve]}}
  worker:
    count: {default: 2, max: 2000}
    service: {ports: {net: auto, web: auto}}
    functions: {create: {argv: [work]}, restart: {when: [node_lost], scope: instance, max: 9}}
---
kind: Job
framework: mesh
name: m
%s
"""


def world_of(gang: str = "", nodes: int = 3, count: int = 2) -> World:
    """Each instance on the next node."""
    world = World(seats_most=count + 1)
    world.node_of = lambda role, index: f"n{(index + (role == 'worker')) % nodes}"
    world.create(plan_from(JOB % f"gang: {{wait: 1h{gang}}}\nroles: {{worker: {{count: {count}}}}}"))
    world.hear()
    world.place()
    return world


def open_all(world: World) -> None:
    """Every seat is open, whoever was heard first."""
    while not asked(world) and any(one.address is None for one in world.state.jobs[1].instances.values()):
        world.hear(most=1)


def asked(world: World) -> list[CheckPeers]:
    return [wish for wish in world.effects.wishes if isinstance(wish, CheckPeers)]


def job(world: World) -> Job:
    return world.state.jobs[1].job


def states(world: World) -> set[str]:
    return {one.state.value for one in world.state.jobs[1].instances.values()}


def test_every_node_dials_every_other_one_and_nobody_starts_before() -> None:  # S3.6
    world = world_of()
    open_all(world)
    assert len(asked(world)) == 3 and states(world) == {"seated"}
    assert sorted(world.dialled) == [(f"n{a}", f"n{b}") for a in range(3) for b in range(3) if a != b]
    assert {wish.callers for wish in asked(world)} == {2}
    world.hear()
    assert states(world) == {"starting"} and world.state.jobs[1].check is None
    world.run()
    assert world.outcomes == {1: JobState.SUCCEEDED}


def test_job_on_one_node_asks_nobody() -> None:
    world = world_of(nodes=1)
    open_all(world)
    assert states(world) == {"starting"} and not world.dialled


def test_pair_that_does_not_reach_each_other_fails_the_job_by_name() -> None:  # S3.6
    world = world_of()
    world.reaches = lambda here, there: (here, there) != ("n2", "n0")
    open_all(world)
    world.hear()
    assert job(world).outcome is None, "it is tried again"
    world.hear()
    found = job(world)
    assert found.outcome is JobState.FAILED and found.reason == "UNREACHABLE"
    assert found.message.startswith("worker-1 on n2 cannot reach server-0 at h-n0:")
    assert found.message.endswith("on n0: no way")
    world.run()
    assert not world.epochs, "nobody was started"


def test_warned_job_starts_and_its_condition_says_so() -> None:
    world = world_of(", check: warn")
    world.reaches = lambda here, there: False
    open_all(world)
    world.hear()
    world.hear()
    assert states(world) == {"starting"}
    (condition,) = [one for one in job(world).conditions if one.kind is ConditionKind.UNREACHABLE]
    assert condition.is_true and "and 5 more of such" in condition.message


def test_waiting_job_tries_again_until_they_reach_each_other() -> None:
    world = world_of(", check: wait")
    world.reaches = lambda here, there: False
    open_all(world)
    world.hear()
    world.hear()
    assert states(world) == {"seated"} and "cannot reach" in job(world).message
    world.pass_time(5_000)
    assert len(world.dialled) == 12
    world.reaches = lambda here, there: True
    world.pass_time(6_000)
    assert len(world.dialled) == 18
    world.hear()
    assert states(world) == {"starting"}
    assert [one.is_true for one in job(world).conditions if one.kind is ConditionKind.UNREACHABLE] == [
        True,
        False,
    ]


def test_switched_off_nobody_asks() -> None:
    world = world_of(", check: off")
    open_all(world)
    assert states(world) == {"starting"} and not world.dialled


def test_agent_that_does_not_answer_is_not_waited_for_for_ever() -> None:
    world = world_of()
    open_all(world)
    world.news.clear()
    world.pass_time(9_000)
    assert states(world) == {"seated"}
    world.pass_time(2_000)
    assert states(world) == {"starting"}


def test_agent_that_was_away_for_a_moment_fails_nobody() -> None:
    """Others could not reach its seat, because it was not asked to answer yet."""
    world = world_of()
    world.reaches = lambda here, there: there != "n1"
    open_all(world)
    world.reaches = lambda here, there: True
    world.hear()
    world.hear()
    assert states(world) == {"starting"} and job(world).outcome is None


def test_agent_that_stays_away_is_no_reason_to_fail_those_who_dialled_it() -> None:
    world = world_of()
    world.reaches = lambda here, there: there != "n1"
    open_all(world)
    (away,) = [wish for wish in asked(world) if wish.node == "n1"]
    world.news = [one for one in world.news if getattr(one, "task", "") != away.task]
    world.hear()
    assert states(world) == {"seated"}
    world.pass_time(11_000)
    assert states(world) == {"starting"}


def test_trainer_that_dies_meanwhile_asks_again() -> None:
    world = world_of()
    open_all(world)
    world.die()
    world.hear()
    world.run()
    assert world.outcomes == {1: JobState.SUCCEEDED}


def test_only_a_new_node_is_asked_about_later() -> None:
    """Old ones dial it; what runs is dialled by nobody."""
    world = world_of()
    open_all(world)
    world.hear()
    world.hear()
    assert states(world) == {"running"}
    before = len(world.dialled)
    nodes = world.node_of
    world.node_of = lambda role, index: "n9" if (role, index) == ("worker", 1) else nodes(role, index)
    (lost,) = [seat for seat in world.seats.values() if (seat.role, seat.index) == ("worker", 1)]
    lost.is_live = False
    world._end(lost, Cause.NODE_LOST)
    for _ in range(20):
        world.hear()
        world.place()
        world.pass_time(2_000)
    assert sorted(world.dialled[before:]) == [("n0", "n9"), ("n1", "n9")]
    assert states(world) == {"running"}


@pytest.mark.parametrize("nodes", [9, 100])
def test_many_nodes_make_few_attempts_and_everybody_tries_and_is_tried(nodes: int) -> None:
    world = world_of(nodes=nodes, count=nodes - 1)
    while not world.dialled:
        world.hear()
    assert len(world.dialled) <= nodes * (nodes.bit_length() + 1)
    assert {here for here, _ in world.dialled} == {there for _, there in world.dialled}
    assert len({here for here, there in world.dialled if there == "n0"}) == nodes - 1
