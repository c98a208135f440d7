"""Any roles, any order of events, any deaths: no half gang, nothing lives twice, every job ends (S3.4–S3.11)."""

from __future__ import annotations

import random

import pytest

from modelyard.training.jobs.evidence import items
from modelyard.training.policies.restarts import Cause
from services.trainer.model import JobState
from services.trainer.state.events import JobResumed, JobStopped, JobSuspended
from tests.support.training_world import World, plan_from

SEEDS = range(60)
SEATS = 6


def random_job(chance: random.Random, number: int) -> str:
    """Roles in a row, each waiting for some before it; at most as many instances as there are seats."""
    lines = ["kind: Framework", f"id: f{number}", "roles:"]
    left, names, deciding = SEATS, list[str](), list[str]()
    for place in range(chance.randint(1, 4)):
        count = min(chance.randint(1, 3), left)
        if not count:
            break
        left -= count
        name = f"r{place}"
        lines += [
            f"  {name}:",
            f"    count: {{default: {count}}}",
            "    functions:",
            "      create: {argv: [work]}",
        ]
        if names and chance.random() < 0.7:
            until = chance.choice(("address", "started", "started"))
            quorum = chance.choice(("all", "any", "50%"))
            lines.append(
                f"      depend: [{{role: {chance.choice(names)}, until: {until}, quorum: {quorum}}}]"
            )
        scope = chance.choice(("instance", "role", "job"))
        causes = chance.choice(("exit, node_lost", "exit, node_lost, no_evidence"))
        lines.append(f"      restart: {{when: [{causes}], scope: {scope}, max: 3, backoff: [1s, 4s]}}")
        if place and chance.random() < 0.3:
            lines.append("      status: {endless: true}")
        else:
            deciding.append(name)
        names.append(name)
    if chance.random() < 0.5:
        lines += [f"ranks: [{', '.join(names)}]"]
    policy = f"all({', '.join(deciding)})"
    lines += [f'job_status: {{succeeded: "{policy}", failed: "any({", ".join(names)})"}}']
    lines += ["---", "kind: Job", f"framework: f{number}", f"priority: {chance.randint(0, 3)}"]
    if chance.random() < 0.5:
        role = chance.choice((*names, ""))
        lines += [f"success: {{artifacts: [out], log: {{role: '{role}', regex: done}}}}"]
    if chance.random() < 0.6:
        lines += ["checkpoints: {dir: ckpt, keep_last: 2}"]
    return "\n".join([*lines, ""])


def storm(world: World, numbers: list[int], actions: int) -> None:
    """What goes wrong, and what people do."""
    chance = world.chance
    for _ in range(actions):
        number = chance.choice(numbers)
        deed = chance.choices(
            ("hear", "place", "finish", "time", "lose", "die", "suspend", "resume", "stop", "save", "store"),
            (8, 4, 4, 4, 1, 1, 0.4, 0.8, 0.1, 4, 3),
        )[0]
        if deed == "hear":
            world.hear(most=chance.randint(1, 4))
        elif deed == "place":
            world.place()
        elif deed == "finish":
            world.finish_one()
        elif deed == "time":
            world.pass_time(chance.choice((100, 1_000, 5_000)))
        elif deed == "save":
            world.save_one()
        elif deed == "store":
            world.store_one()
        elif deed == "lose":
            world.lose_one()
        elif deed == "die":
            world.die()
        elif deed == "suspend":
            world.do(JobSuspended(1, number, ""))
        elif deed == "resume":
            world.do(JobResumed(1, number))
        else:
            world.do(JobStopped(1, number, ""))


@pytest.mark.parametrize("seed", SEEDS)
def test_every_job_ends_once_and_leaves_nothing_whatever_happens(seed: int) -> None:
    chance = random.Random(seed)
    world = World(SEATS, seed)
    world.fails = lambda seat: chance.choice((None, None, None, Cause.EXIT))
    world.is_torn = lambda found: found.number % 7 == 0
    world.shows = lambda seat: tuple(
        number for number, _ in enumerate(world.plans[seat.job].signs(seat.role)) if chance.random() < 0.7
    )
    numbers = [
        world.create(plan_from(random_job(chance, number))) for number in range(1, chance.randint(2, 5))
    ]
    storm(world, numbers, 150)
    for number in numbers:
        world.do(JobResumed(1, number))
    world.run()
    assert sorted(world.outcomes) == numbers
    assert not world.seats and not any(world.gangs.values()) and not world.batches
    assert_store_holds_what_is_known(world)
    for number in numbers:
        assert_judged_by_evidence(world, number)


def assert_store_holds_what_is_known(world: World) -> None:
    """G8: every checkpoint that is known as stored has its reference, and nothing else has one."""
    known = {
        f"job:j-{job}/{one.role}-{one.index}/{one.number}": {digest for _, digest, _ in one.files}
        for (job, *_), one in world.checkpoints.items()
        if one.is_stored
    }
    assert {holder: digests for holder, digests in world.held.items() if digests} == known


def assert_judged_by_evidence(world: World, number: int) -> None:
    """N6: success has everything that was asked for, in the present epochs; who failed for that lacks something."""
    job, instances = world.on_disk(number)
    seen = {(one.role, world.plans[number].signs(one.role)[sign]) for one in instances for sign in one.signs}
    wanted = items(world.plans[number].job.evidence)
    lacks = [
        item
        for item in wanted
        if not any(item.sign == sign and item.role in ("", role) for role, sign in seen)
    ]
    if job.state is JobState.SUCCEEDED:
        assert not lacks
    elif job.reason == "NO_EVIDENCE":
        assert lacks
