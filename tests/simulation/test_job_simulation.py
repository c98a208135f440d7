"""Training jobs under any sky: gangs whole or not at all, nothing doubled, nothing forgotten, every job ends (issue 5).

`python -m tests.simulation.jobs --seeds 1000` tells more stories; tests/simulation/README.md says what is what.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

import pytest
import structlog

from services.chassis.failpoints import POINTS
from tests.simulation.jobs.world import Story, World, failure_of, stories

SEEDS = 40
GROUP = 10


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Sessions that break are no news here."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
def test_jobs_any_seed_keep_every_promise(first: int) -> None:
    """# S3.4 S3.5 S3.8 S3.9 S3.10 S3.11"""
    for seed in range(first, first + GROUP):
        assert not (found := failure_of(stories(seed))), found


def test_fifty_role_graphs_at_once_in_room_for_little_more_than_one_all_end() -> None:
    """# S3.4: no deadlock, no half gang. Room for 1.2 jobs of the largest size."""
    world = World(Story(1, jobs=50, room=7, most=6, is_stormy=False)).tell()
    assert len(world.promises.ended) == 50
    assert not world.deaths


def test_same_seed_is_the_same_story() -> None:
    first, again = World(stories(3)).tell(), World(stories(3)).tell()
    assert first.promises.states == again.promises.states
    assert first.deaths == again.deaths


def test_stories_die_at_every_failpoint_of_the_trainer() -> None:
    deaths: Counter[str] = Counter()
    wanted = {name for name in POINTS if name.startswith("trainer.")}
    for seed in range(100, 130):
        deaths.update(World(stories(seed)).tell().deaths)
        if wanted <= deaths.keys():
            return
    pytest.fail(f"nobody died at {wanted - deaths.keys()}")
