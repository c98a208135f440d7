"""Frames that share one memory, whatever happens in which order: G5 of S2, and what must always hold.

40 models, memory for 8 of them, callers who never wait in vain: loading on demand and making room are one decision, so
two callers cannot unload each other's model.
"""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.models.frames import events as ev
from services.models.frames.model import FrameState, Settings
from services.models.frames.state import RouteWish, Target
from tests.support.frame_world import MIB, World, shape

MODELS = [f"m{number}" for number in range(40)]
SIZE = 100 * MIB


class Caller(msgspec.Struct):
    """Calls one model after the other."""

    left: int
    model: str = ""
    frame: int = 0
    """In which its call is; 0: it waits for one."""


def go_on(world: World, caller: Caller, random: Random) -> bool:
    """The caller's next act, as the source of frames would have it; whether it could do anything."""
    if caller.frame:
        frame = world.state.frames.get(caller.frame)
        assert frame is not None and frame.is_connected, f"{caller.model} was unloaded under a call"
        active = frame.active - 1
        caller.frame, caller.model, caller.left = 0, "", caller.left - 1
        world.used(frame.number, active)
        return True
    if not caller.left:
        return False
    if not caller.model:
        caller.model = random.choice(MODELS)
        if not world.ready(caller.model):
            world.want(caller.model, memory=SIZE, for_ms=3_600_000)
            return True
    ready = world.ready(caller.model)
    if not ready:
        return False
    frame = min(ready, key=lambda one: one.active)
    caller.frame = frame.number
    world.used(frame.number, frame.active + 1)
    return True


@pytest.mark.parametrize("seed", range(3))
def test_forty_models_share_memory_for_eight_and_no_call_fails(seed: int) -> None:  # S2, G5
    """Four callers, 400 calls: the budget holds in every step, nobody is unloaded under a call, all are answered."""
    world = World(seed, budget=8 * SIZE)
    random = Random(seed)
    callers = [Caller(left=100) for _ in range(4)]
    idle = 0
    while any(caller.left for caller in callers):
        world.now += random.randrange(5)
        happenings = world.happenings()
        acts = list(callers)
        random.shuffle(acts)
        if happenings and random.random() < 0.7:
            world.happen(*random.choice(happenings))
            idle = 0
        elif any(go_on(world, caller, random) for caller in acts):
            idle = 0
        elif happenings:
            world.happen(*random.choice(happenings))
        else:
            world.tick()
            idle += 1
            assert idle < 200, (callers, [msgspec.to_builtins(one) for one in world.frames()])
    assert world.most_held <= 8 * SIZE
    assert not world.refusals
    world.settle()
    # The memory of all that were unloaded is back.
    assert world.really_held() == sum(one.shape.memory_bytes for one in world.frames()) <= 8 * SIZE


def test_two_callers_do_not_unload_each_others_model() -> None:  # S2, G5
    """Memory for one: the second caller's model waits until the first one has been called."""
    world = World(budget=SIZE)
    world.want("a", memory=SIZE)
    world.want("b", memory=SIZE)
    world.settle()
    first = [one for one in world.frames() if one.state is FrameState.READY]
    assert [one.key.model for one in first] == ["a"]
    world.used(first[0].number, 1)
    world.settle()
    assert world.ready("a") and not world.ready("b")
    world.used(first[0].number, 0)
    world.settle()
    assert world.ready("b") and not world.frames("a")


ACTS = st.sampled_from(
    ["want", "want", "call", "return", "happen", "happen", "happen", "tick", "kill", "lose", "die", "deploy", "move",
     "rollback", "undeploy", "unload", "long"]
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(acts=st.lists(ACTS, min_size=20, max_size=160), seed=st.integers(0, 1_000))
def test_whatever_happens_holds_the_invariants_and_comes_to_rest(acts: list[str], seed: int) -> None:
    """Deaths of frames, of seats and of the service, in any order: no seat is anybody's twice, none is nobody's."""
    world = World(seed, budget=4 * SIZE)
    random = Random(seed)
    world.unloadable = {"m7"}
    active: dict[int, int] = {}
    for act in acts:
        _act(world, act, random, active)
    for number in list(active):
        if number in world.state.frames:
            world.used(number, 0)
    for name in list(world.state.deployments):
        world.tell(ev.Undeployed(1, name, "me"))
    world.now += 4_000_000
    world.settle()
    frames = world.frames()
    assert {seat.frame for seat in world.seats.values()} == {one.number for one in frames}
    assert {seat.task for seat in world.seats.values()} == {one.task for one in frames}
    assert all(one.state is FrameState.READY and one.is_connected for one in frames)
    assert world.most_held <= 4 * SIZE


def _act(world: World, act: str, random: Random, active: dict[int, int]) -> None:
    model = random.choice(MODELS[:8])
    running = [task for task, seat in world.seats.items() if seat.runs and not seat.is_over]
    if act == "want":
        world.want(model, memory=SIZE, for_ms=random.choice([100, 60_000]))
    elif act == "call":
        if ready := world.ready(model):
            active[ready[0].number] = active.get(ready[0].number, 0) + 1
            world.used(ready[0].number, ready[0].active + 1)
    elif act == "return":
        for number in list(active):
            frame = world.state.frames.get(number)
            if frame is not None and frame.active:
                world.used(number, frame.active - 1)
            del active[number]
    elif act == "happen":
        if found := world.happenings():
            what = random.choice(found)
            if what[0] == "drained" and (frame := world.state.frames.get(what[1])) and frame.active:  # type: ignore[call-overload]
                world.used(frame.number, 0)
            world.happen(*what)
    elif act == "tick":
        world.tick(random.choice([10, 300, 5_000]))
    elif act == "kill" and running:
        world.kill(random.choice(running))
    elif act == "lose" and world.seats:
        world.close(random.choice(list(world.seats)), "NODE_LOST")
    elif act == "die":
        active.clear()
        world.die()
    elif act == "long":
        world.tick(400_000)
    elif act == "unload":
        numbers = tuple(one.number for one in world.frames(model))
        world.tell(ev.UnloadWanted(1, numbers))
    else:
        _deploy(world, act, random)


def _deploy(world: World, act: str, random: Random) -> None:
    name = random.choice(["p", "q"])
    said = Settings(min_instances=1)
    version = random.choice([1, 2])
    target = (Target(shape(name, version, memory=SIZE, most=2)),)
    routes = (RouteWish(name, str(version), 1),)
    if act == "deploy":
        world.tell(
            ev.Deployed(
                reply=1,
                name=name,
                account="me",
                routes=routes,
                mirror=None,
                sticky="",
                settings=said,
                targets=target,
            )
        )
    elif act == "move" and name in world.state.deployments:
        world.tell(ev.Modified(reply=1, name=name, account="me", revision=0, routes=routes, targets=target))
    elif act == "rollback" and (found := world.state.deployments.get(name)) and found.before is not None:
        back = int(found.before.routes[0].version)
        world.tell(ev.RolledBack(1, name, "me", "", (Target(shape(name, back, memory=SIZE, most=2)),)))
    elif act == "undeploy":
        world.tell(ev.Undeployed(1, name, "me"))
