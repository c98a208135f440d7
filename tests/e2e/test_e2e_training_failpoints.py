"""The trainer dies by kill -9 at every point of its step, twice; no rank is started twice, no end is lost (S3.10)."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from modelyard.v1 import job_pb2
from services.chassis.failpoints import POINTS
from tests.support.processes import Processes
from tests.support.training_yard import TrainingYard
from tests.support.yard import Yard, new_yard

T = TypeVar("T")
TRAINER_POINTS = sorted(name for name in POINTS if name.startswith("trainer."))
RANKS = """kind: Job
framework: pytorch-ddp
argv: [PROGRAM, fail=1, talk]
resources: {cpu: 0.5}
roles:
  master: {restart: {max: 3, backoff: [100ms, 1s]}}
  worker: {count: 2, restart: {max: 3, backoff: [100ms, 1s]}}
"""
_ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_STOPPED)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: services live longer than one."""


@pytest.fixture(scope="module")
def processes() -> Iterator[tuple[Yard, Processes]]:
    with new_yard(is_up=False, agents=2) as yard:
        made = Processes(yard, trainer=True)
        yield yard, made
        made.stop()


@pytest.fixture
def room() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="yard-room-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Watch:
    """Starts the trainer again whenever it has died; at its second life too it dies at the point."""

    def __init__(self, made: Processes, wish: str) -> None:
        self._made = made
        self._wish = wish
        self.deaths = 0

    def look(self) -> None:
        if self._made.ended("trainer") is not None:
            self.deaths += 1
            self._made.start("trainer", self._wish if self.deaths < 2 else "")

    async def until(self, ask: Callable[[], Awaitable[T | None]]) -> T:
        """Its answer, once there is one; what is asked may be asked again."""
        async with asyncio.timeout(60):
            while True:
                self.look()
                with contextlib.suppress(Exception):
                    found = await asyncio.wait_for(ask(), 1)
                    if found is not None:
                        return found
                await asyncio.sleep(0.05)


@pytest.mark.asyncio
@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", TRAINER_POINTS)
async def test_job_outlives_a_trainer_that_is_killed_at(
    point: str, processes: tuple[Yard, Processes], room: Path
) -> None:
    """I1, I2, I3: one restart is paid for, each rank runs twice and never beside itself."""
    yard, made = processes
    training = TrainingYard(yard, room / "jobs").emptied()
    wish, request_id = f"{point}:kill@{1 if 'errand' in point or 'submit' in point else 3}", str(uuid.uuid4())
    await asyncio.to_thread(made.restart, "trainer", wish)
    watch = Watch(made, wish)
    async with yard.client() as client:
        text = training.with_program(RANKS)
        job = (await watch.until(lambda: client.jobs.create(text, request_id=request_id))).id

        async def ended() -> job_pb2.Job | None:
            found = await client.jobs.get(job)
            return found if found.state in _ENDED else None

        found = await watch.until(ended)
        assert found.state == job_pb2.JOB_STATE_SUCCEEDED, found.message

        async def has_died() -> bool | None:
            """What is owed after the end is owed to the death as well."""
            return bool(watch.deaths) or None

        await watch.until(has_died)
        await asyncio.to_thread(made.restart, "trainer", "")
        begun = Counter(words[0] for words in training.lines() if words[2] == "begins")
        ends = Counter(words[0] for words in training.lines() if words[2] == "ends")
        names = ("master-0", "worker-0", "worker-1")
        # Who is stopped with the one that failed may not have come to its first line.
        assert set(begun) == set(names) and max(begun.values()) == 2, (
            "a rank was started too often, or not again"
        )
        assert {one.epoch for one in await client.jobs.instances(job)} == {2}
        assert all(ends[name] >= 1 for name in names)
        (budget,) = (await client.jobs.get(job)).budgets
        assert (budget.used, budget.most) == (1, 3)
        await asyncio.to_thread(training.nothing_lives, job)
