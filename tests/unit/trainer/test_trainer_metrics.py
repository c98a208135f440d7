"""Curves on a real database: what is kept of them, whatever comes (issue 5.7)."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio

from services.chassis.storage.sqlite import Database, load_migrations, load_queries
from services.trainer.records import metrics as module
from services.trainer.records.metrics import Metrics, Point, TooManySeries, thinned
from services.trainer.records.store import JobStore

KEY = ("worker", 0)


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(tmp_path / "trainer.db", load_migrations("services.trainer"))
    yield opened
    await opened.close()


@pytest.fixture
def metrics(database: Database) -> Metrics:
    return Metrics(database, load_queries("services.trainer"))


def loss(step: int | None, value: float, time_ms: int = 0) -> Point:
    return Point("loss", step, value, time_ms)


async def kept(metrics: Metrics, job: int = 1, most: int = 1_000_000) -> list[tuple[int, float]]:
    """Step and value of the one curve."""
    ((series, count),), _ = await metrics.read(job, ["loss"], 0, 10, most, 1_000_000)
    assert count >= len(series.points) and (most < count or count == len(series.points))
    return [(step, value) for step, value, _ in series.points]


@pytest.mark.asyncio
async def test_points_stand_by_step_and_the_same_again_changes_nothing(metrics: Metrics) -> None:
    points = [loss(step, 1 / (step + 1)) for step in range(50)]
    for _ in range(2):
        await metrics.put(1, KEY, points)
    assert await kept(metrics) == [(step, 1 / (step + 1)) for step in range(50)]
    await metrics.put(1, KEY, [loss(7, 9.0)])
    assert (await kept(metrics))[7] == (7, 9.0)


@pytest.mark.asyncio
async def test_points_without_a_step_are_counted_and_told_again_they_are_known(metrics: Metrics) -> None:
    told = [(1, KEY, loss(None, value, time_ms)) for value, time_ms in ((3.0, 10), (2.0, 20), (1.0, 30))]
    assert await metrics.put_heard(told) == 0
    assert await metrics.put_heard(told[1:]) == 0
    assert await kept(metrics) == [(0, 3.0), (1, 2.0), (2, 1.0)]


@pytest.mark.asyncio
async def test_endless_curve_stays_within_its_bound_with_its_first_and_latest_point(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POINTS_OF_SERIES", 100)
    chance, step = random.Random(7), 0
    while step < 20_000:
        count = chance.choice((1, 1, 3, 200))
        await metrics.put(1, KEY, [loss(step + number, step + number) for number in range(count)])
        step += count
        found = await kept(metrics)
        assert len(found) <= 100 and found == sorted(set(found))
        assert found[0] == (0, 0.0) and found[-1] == (step - 1, step - 1)
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(found[:-1])]
    assert max(gaps) <= 4 * min(gaps), "they stand evenly"


@pytest.mark.asyncio
async def test_job_with_many_series_keeps_fewer_points_of_each_and_no_more_series_than_it_may(
    metrics: Metrics, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("POINTS_OF_JOB", 200), ("POINTS_OF_SERIES_LEAST", 10), ("SERIES_OF_JOB", 30)):
        monkeypatch.setattr(module, name, value)
    for number in range(30):
        await metrics.put(1, (f"role{number}", 0), [loss(step, step) for step in range(50)])
    with pytest.raises(TooManySeries):
        await metrics.put(1, KEY, [loss(0, 0.0)])
    assert await metrics.put_heard([(1, KEY, loss(0, 0.0)), (1, ("role0", 0), loss(50, 50.0))]) == 1
    for number in range(30):
        await metrics.put(1, (f"role{number}", 0), [loss(51, 51.0)])
    total = await database.read(lambda c: c.execute("SELECT count(*) FROM point").fetchone()[0])
    assert total <= 30 * 10
    await metrics.put(2, KEY, [loss(0, 0.0)])


@pytest.mark.asyncio
async def test_curves_go_with_their_job_and_with_no_other(metrics: Metrics, database: Database) -> None:
    # S3.10
    for job in (1, 2):
        await metrics.put(job, KEY, [loss(step, step) for step in range(5)])
    await JobStore(database, load_queries("services.trainer")).clear(1, [])
    rows = await database.read(lambda c: c.execute("SELECT count(*) FROM point").fetchone()[0])
    assert rows == 5 and await metrics.read(1, [], 0, 10, 10, 10) == ([], False)
    assert len(await kept(metrics, job=2)) == 5


@pytest.mark.asyncio
async def test_series_are_read_in_pages_that_end_early_with_many_points(metrics: Metrics) -> None:
    for index in range(5):
        await metrics.put(1, ("worker", index), [loss(step, step) for step in range(100)])
    first, has_more = await metrics.read(1, [], 0, 10, 50, 80)
    assert [series.index for series, _ in first] == [0, 1] and has_more
    rest, has_more = await metrics.read(1, [], 2, 10, 50, 1_000)
    assert [series.index for series, _ in rest] == [2, 3, 4] and not has_more
    assert all(len(series.points) == 50 and count == 100 for series, count in rest)
    assert await metrics.read(1, ["accuracy"], 0, 10, 50, 80) == ([], False)


@pytest.mark.parametrize("most", [1, 2, 3, 10, 99, 100, 200])
def test_thinned_curve_keeps_both_ends(most: int) -> None:
    points = [(step, 0.0, 0) for step in range(100)]
    found = thinned(points, most)
    assert len(found) == min(most, 100) and found == sorted(set(found))
    assert found[-1] == points[-1] and (most == 1 or found[0] == points[0])
