"""What goes when the caches have become too large, and what stays whatever its size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.agent.config import Places
from services.agent.keeping.caches import Caches
from services.agent.tasks.events import Event, NeedDropped
from services.agent.tasks.model import Pool
from tests.support.agent_machine import Bench, body

KB = 1_000


def fill(places: Places, *entries: tuple[str, str]) -> None:
    """One file of 1 kB in each; the first is the oldest."""
    for age, (kind, name) in enumerate(entries):
        path = places.root / kind / name
        file = path if kind == "inputs" else path / "sub" / "file"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * KB)
        os.utime(path, (1_000 + age, 1_000 + age))


def names(places: Places) -> set[str]:
    directories = (places.bundles, places.inputs, places.environments)
    return {path.name for directory in directories for path in directory.iterdir()}


@pytest.mark.asyncio
async def test_oldest_entries_go_until_the_rest_fits_and_have_to_be_made_again(tmp_path: Path) -> None:
    places = Places.of(tmp_path, "n1")
    fill(places, ("bundles", "b1"), ("inputs", "i1"), ("environments", "e1"), ("inputs", "i2"))
    told: list[Event] = []
    bench = Bench()
    bench.state.ready_needs |= {"bundle:ann:b1", "bundle:bob:b1", "input:ann:i1", "input:ann:i2"}
    caches = Caches(places, bench.state, told.append)
    assert await caches.trim(4 * KB) == 0
    assert await caches.trim(2 * KB) == 2
    assert names(places) == {"e1", "i2"}
    assert {event.need for event in told if isinstance(event, NeedDropped)} == {
        "bundle:ann:b1", "bundle:bob:b1", "input:ann:i1",
    }  # fmt: skip


@pytest.mark.asyncio
async def test_what_tasks_and_workers_count_on_stays(tmp_path: Path) -> None:
    places = Places.of(tmp_path, "n1")
    fill(places, ("bundles", "b1"), ("inputs", "i1"), ("environments", "e1"))
    bench = Bench()
    bench.start("t-1", of=body(needs=("bundle:ann:b1",), pool=Pool("ann")))
    bench.start("t-2", of=body(2, pool=Pool("ann", environment="e1")))
    caches = Caches(places, bench.state, lambda event: None)
    assert await caches.trim(0) == 1
    assert names(places) == {"b1", "e1"}
