"""Whatever happens to the catalogue, in whatever order, and however often it dies: what has to hold holds."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from services.models.catalogue.model import VersionState, WorkKind
from tests.support.catalogue_world import World, whole

ACTS = 120


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 32))
def test_catalogue_keeps_its_promises_whatever_happens(seed: int) -> None:  # S2.1, S0.9
    chance, world = random.Random(seed), World()
    highest: dict[str, int] = {}
    for _ in range(ACTS):
        before = len(world.history)
        world.anything(chance)
        # Histories only grow, numbers only rise; `step` looks at the invariants.
        assert len(world.history) >= before
        for name, model in world.state.models.items():
            assert model.last_number >= highest.get(name, 0)
            highest[name] = model.last_number
        under_way = {live.version.work.number for live in world.state.all() if live.version.work is not None}
        assert under_way == set(world.begun), "work is on disk exactly as long as somebody waits for it"
    # Once everything that is begun ends well, nothing waits for anybody but its owner.
    while world.begun:
        begin = next(iter(world.begun.values()))
        key = begin.version.model, begin.version.version
        if begin.work.kind is WorkKind.INSPECT:
            world.inspected(whole(), *key)
        else:
            world.probed(*key)
    assert all(
        live.version.state in (VersionState.READY, VersionState.NEEDS_ANSWER, VersionState.FAILED)
        for live in world.state.all()
    )
