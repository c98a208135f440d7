"""Deployments: weights, warm frames, aliases that move, rollbacks; one memory for all of them."""

from __future__ import annotations

import pytest

from services.models.frames import events as ev
from services.models.frames.model import (
    DeploymentNotFound,
    DeploymentStale,
    DeploymentState,
    DeploymentTaken,
    FrameKept,
    FrameState,
    NothingBefore,
    Settings,
)
from services.models.frames.routes import choose, is_mirrored
from services.models.frames.state import Deployment, MirrorWish, RouteWish, Target
from tests.support.frame_world import MIB, World, key, shape

SIZE = 100 * MIB


def target(model: str, version: int, most: int = 4) -> Target:
    return Target(shape(model, version, memory=SIZE, most=most, idle_s=300.0))


def deploy(world: World, *versions: tuple[int, int], least: int = 1, name: str = "m") -> Deployment:
    """Versions of the model m with their weights."""
    world.tell(
        ev.Deployed(
            reply=1, name=name, account="me", sticky="", settings=Settings(min_instances=least), mirror=None,
            routes=tuple(RouteWish("m", str(version), weight) for version, weight in versions),
            targets=tuple(target("m", version) for version, _ in versions),
        )
    )  # fmt: skip
    return world.state.deployments[name]


def modify(world: World, *versions: tuple[int, int], revision: int = 0) -> None:
    world.tell(
        ev.Modified(
            reply=2, name="m", account="me", revision=revision,
            routes=tuple(RouteWish("m", str(version), weight) for version, weight in versions),
            targets=tuple(target("m", version) for version, _ in versions),
        )
    )  # fmt: skip


def test_deployment_is_ready_when_its_frames_are() -> None:  # S2.6
    world = World()
    found = deploy(world, (1, 1), least=2)
    assert found.state is DeploymentState.LOADING
    assert found.message == "m version 1: 0 of 2"
    world.settle()
    assert found.state is DeploymentState.READY and len(world.ready("m")) == 2


def test_minimum_is_shared_by_weight_and_each_version_has_one() -> None:
    world = World()
    deploy(world, (1, 90), (2, 10), least=3)
    world.settle()
    assert [len(world.ready("m", version)) for version in (1, 2)] == [3, 1]


def test_version_without_weight_is_not_loaded() -> None:
    world = World()
    deploy(world, (1, 1), (2, 0))
    world.settle()
    assert world.ready("m", 1) and not world.ready("m", 2)


def test_killed_frame_of_a_deployment_is_replaced_when_its_seat_is_lost() -> None:
    world = World()
    deploy(world, (1, 1))
    world.settle()
    world.close(world.ready("m")[0].task, "NODE_LOST")
    world.settle()
    assert len(world.ready("m")) == 1


def test_moved_alias_is_followed_without_a_gap() -> None:  # S2.6, G4
    """Who answered before answers until the new version is ready."""
    world = World()
    found = deploy(world, (1, 1))
    world.settle()
    world.tell(ev.TargetsFound("m", found.wish_revision, (target("m", 2),)))
    assert found.standby == {"m/2/1": key("m", 1)}
    while not world.ready("m", 2):
        assert world.ready("m", 1)
        happenings = world.happenings()
        assert happenings
        world.happen(*happenings[0])
    world.tick()
    assert not found.standby


def test_moved_alias_of_a_deployment_that_keeps_none_loads_the_new_version_too() -> None:
    world = World()
    found = deploy(world, (1, 1), least=0)
    world.load_all("m")
    world.tell(ev.TargetsFound("m", found.wish_revision, (target("m", 2),)))
    world.settle()
    assert world.ready("m", 2) and not found.standby


def test_new_version_takes_over_where_memory_is_for_two() -> None:
    """One by one: the old one makes room only once the new one answers."""
    world = World(budget=3 * SIZE)
    found = deploy(world, (1, 1), least=2)
    world.settle()
    world.tell(ev.TargetsFound("m", found.wish_revision, (target("m", 2),)))
    least = 2
    for _ in range(500):
        serving = len(world.ready("m", 1)) + len(world.ready("m", 2))
        least = min(least, serving)
        if happenings := world.happenings():
            world.happen(*world.random.choice(happenings))
        else:
            world.tick(2_500)
    assert least >= 1 and len(world.ready("m", 2)) == 2
    assert found.state is DeploymentState.READY


def test_new_version_that_cannot_be_loaded_leaves_the_old_one_answering() -> None:
    world = World()
    found = deploy(world, (1, 1))
    world.settle()
    bad = Target(shape("bad", 2, memory=SIZE))
    world.unloadable = {"bad"}
    world.tell(
        ev.Modified(
            reply=2, name="m", account="me", revision=0, routes=(RouteWish("bad", "2", 1),), targets=(bad,)
        )
    )
    world.settle()
    world.tick()
    assert found.state is DeploymentState.FAILED and "it has no weights" in found.message
    world.tell(ev.RolledBack(3, "m", "me", "", (target("m", 1),)))
    world.settle()
    assert found.state is DeploymentState.READY


def test_version_that_is_not_there_is_said() -> None:
    world = World()
    world.tell(
        ev.Deployed(
            reply=1, name="m", account="me", sticky="", settings=Settings(), mirror=None,
            routes=(RouteWish("m", "9", 1),), targets=(Target(None, "there is no version 9 of m"),),
        )
    )  # fmt: skip
    found = world.state.deployments["m"]
    assert (found.state, found.message) == (DeploymentState.FAILED, "there is no version 9 of m")


def test_rollback_is_the_weights_before_and_again_those_after() -> None:  # S2.6, G4
    world = World()
    found = deploy(world, (1, 1))
    modify(world, (1, 90), (2, 10))
    world.tell(ev.RolledBack(3, "m", "me", "too slow", (target("m", 1),)))
    assert found.routes == (RouteWish("m", "1", 1),)
    world.tell(ev.RolledBack(4, "m", "me", "", (target("m", 1), target("m", 2))))
    assert [one.weight for one in found.routes] == [90, 10]


def test_frames_of_the_version_before_are_warm_for_a_rollback() -> None:
    world = World()
    deploy(world, (1, 1))
    world.settle()
    modify(world, (2, 1))
    world.settle()
    assert world.ready("m", 1) and world.ready("m", 2)
    world.tell(ev.RolledBack(3, "m", "me", "", (target("m", 1),)))
    assert world.ready("m", 1) and not world.state.deployments["m"].standby


def test_withdrawn_version_does_not_stand_in_for_one_that_has_ended_meanwhile() -> None:  # G4
    world = World()
    found = deploy(world, (1, 1))
    world.settle()
    [old] = world.ready("m", 1)
    modify(world, (2, 1))
    world.settle()
    world.kill(old.task)
    assert not world.ready("m", 1)
    world.tell(ev.RolledBack(3, "m", "me", "", (target("m", 1),)))
    assert not found.standby
    world.settle()
    assert world.ready("m", 1)


def test_rollback_of_what_was_never_changed_is_refused() -> None:
    world = World()
    deploy(world, (1, 1))
    world.tell(ev.RolledBack(3, "m", "me", "", ()))
    assert isinstance(world.answers[-1].error, NothingBefore)


def test_change_that_is_based_on_an_older_revision_is_refused() -> None:
    world = World()
    found = deploy(world, (1, 1))
    seen = found.wish_revision
    modify(world, (1, 90), (2, 10), revision=seen)
    assert world.answers[-1].error is None
    modify(world, (1, 1), revision=seen)
    assert isinstance(world.answers[-1].error, DeploymentStale)


def test_undeployed_frames_end_unless_somebody_else_wants_them() -> None:
    world = World()
    deploy(world, (1, 1))
    deploy(world, (1, 1), name="other")
    world.settle()
    world.tell(ev.Undeployed(5, "m", "me"))
    world.settle()
    assert world.ready("m")
    world.tell(ev.Undeployed(6, "other", "me"))
    world.settle()
    assert not world.frames() and not world.seats


def test_others_deployments_are_not_there() -> None:
    world = World()
    deploy(world, (1, 1))
    world.tell(ev.Undeployed(5, "m", "you"))
    assert isinstance(world.answers[-1].error, DeploymentNotFound)
    world.tell(
        ev.Deployed(
            reply=6, name="m", account="you", routes=(RouteWish("m", "1", 1),), mirror=None, sticky="",
            settings=Settings(), targets=(target("m", 1),),
        )
    )  # fmt: skip
    assert isinstance(world.answers[-1].error, DeploymentTaken)


def test_what_a_deployment_keeps_is_neither_unloaded_nor_makes_room() -> None:  # G5
    world = World(budget=2 * SIZE)
    deploy(world, (1, 1))
    world.settle()
    kept = world.ready("m")[0]
    world.tell(ev.UnloadWanted(7, (kept.number,)))
    refused = world.answers[-1].error
    assert isinstance(refused, FrameKept) and refused.next_step == "yard model undeploy m"
    world.load_all("a")
    world.want("b", memory=SIZE)
    world.settle()
    assert world.ready("m") and world.ready("b") and not world.frames("a")
    world.want("c", memory=2 * SIZE)
    world.settle()
    (waiting,) = world.frames("c")
    assert waiting.state is FrameState.PENDING and "in use, or kept" in waiting.message
    assert world.ready("b"), "what would not be enough is not begun"


def test_who_is_unused_longest_makes_room() -> None:  # G5
    world = World(budget=3 * SIZE)
    world.load_all("a", "b", "c")
    (first,) = world.ready("a")
    world.used(first.number, 1)
    world.now += 100
    world.used(first.number, 0)
    world.want("d", memory=SIZE)
    world.settle()
    assert {one.key.model for one in world.frames()} == {"a", "c", "d"}


def test_fewest_that_suffice_make_room() -> None:
    world = World(budget=4 * SIZE)
    for model, size in (("small", SIZE), ("large", 3 * SIZE)):
        world.want(model, memory=size)
        world.settle()
        (frame,) = world.ready(model)
        world.used(frame.number, 0)
        world.now += 10
    world.want("new", memory=3 * SIZE)
    world.settle()
    assert {one.key.model for one in world.frames()} == {"small", "new"}


def test_what_is_larger_than_all_memory_is_refused_at_once() -> None:
    world = World(budget=SIZE)
    world.want("m", memory=2 * SIZE)
    world.tick()
    (refusal,) = world.refusals
    assert (refusal.failure.reason, refusal.failure.field) == ("TOO_LARGE", "runtime.memory")


def test_busy_model_gets_more_frames_up_to_its_most_where_memory_is_free() -> None:
    world = World(budget=3 * SIZE)
    wanted = shape("m", memory=SIZE, most=2)
    world.tell(ev.Wanted(wanted, world.now + 60_000))
    world.settle()
    world.tell(ev.MoreWanted(wanted))
    world.tell(ev.MoreWanted(wanted))
    assert len(world.frames("m")) == 2
    world.settle()
    world.tell(ev.MoreWanted(wanted))
    assert len(world.frames("m")) == 2


def test_mirror_of_a_deployment_that_keeps_frames_has_one() -> None:
    world = World()
    world.tell(
        ev.Deployed(
            reply=1, name="m", account="me", sticky="", settings=Settings(min_instances=2),
            mirror=MirrorWish("m", "2", 0.1), routes=(RouteWish("m", "1", 1),),
            targets=(target("m", 1), target("m", 2)),
        )
    )  # fmt: skip
    world.settle()
    assert [len(world.ready("m", version)) for version in (1, 2)] == [2, 1]


def test_killed_service_goes_on_with_its_deployments() -> None:
    world = World()
    deploy(world, (1, 90), (2, 10))
    world.settle()
    tasks = set(world.seats)
    world.die()
    world.settle()
    found = world.state.deployments["m"]
    assert found.state is DeploymentState.READY and set(world.seats) == tasks


# Weights


def test_callers_stay_with_their_version() -> None:  # G4
    weights = [("a", 50), ("b", 50)]
    assert all(choose(f"caller {n}", weights) == choose(f"caller {n}", weights) for n in range(100))


@pytest.mark.parametrize("weights", [(90, 10), (50, 50), (1, 99), (700, 300)])
def test_shares_are_in_proportion(weights: tuple[int, int]) -> None:
    chosen = [choose(f"caller {n}", [("a", weights[0]), ("b", weights[1])]) for n in range(4_000)]
    assert abs(chosen.count(0) / 4_000 - weights[0] / sum(weights)) < 0.03


def test_few_move_when_weights_change_little() -> None:  # G4
    before = [choose(f"caller {n}", [("a", 90), ("b", 10)]) for n in range(4_000)]
    after = [choose(f"caller {n}", [("a", 85), ("b", 15)]) for n in range(4_000)]
    moved = sum(one != other for one, other in zip(before, after, strict=True))
    assert 0 < moved < 0.08 * 4_000
    assert not any(one == 1 and other == 0 for one, other in zip(before, after, strict=True))


def test_version_without_weight_gets_no_calls() -> None:
    assert {choose(f"caller {n}", [("a", 0), ("b", 1)]) for n in range(200)} == {1}


def test_mirror_gets_its_share_evenly() -> None:
    mirrored = [is_mirrored(count, 0.25) for count in range(400)]
    assert sum(mirrored) == 100 and sum(mirrored[:40]) == 10
    assert not any(is_mirrored(count, 0.0) for count in range(100))
    assert all(is_mirrored(count, 1.0) for count in range(100))
