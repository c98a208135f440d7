"""The trainer dies by kill -9 at every point of its step, twice; no rank is started twice, no end is lost (S3.10)."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.client.aio import Client
from modelyard.v1 import job_pb2
from services.chassis.failpoints import POINTS
from tests.support.processes import Processes
from tests.support.training_yard import TrainingYard
from tests.support.yard import Yard, new_yard

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


async def ended(client: Client, made: Processes, job: str, wish: str) -> tuple[job_pb2.Job, int]:
    """The job once it has ended, and how often the trainer died meanwhile; it is started again each time."""
    deaths = 0
    async with asyncio.timeout(60):
        while True:
            if made.ended("trainer") is not None:
                deaths += 1
                made.start("trainer", wish if deaths < 2 else "")
            with contextlib.suppress(Exception):
                found = await asyncio.wait_for(client.jobs.get(job), 1)
                if found.state in _ENDED:
                    return found, deaths
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
    wish = f"{point}:kill@{1 if 'errand' in point or 'submit' in point else 3}"
    await asyncio.to_thread(made.restart, "trainer", "")
    async with yard.client() as client:
        job = (await client.jobs.create(training._with_program(RANKS))).id
        # It may have gone on before the death is due: then it dies later.
        await asyncio.to_thread(made.restart, "trainer", wish)
        found, deaths = await ended(client, made, job, wish)
        assert found.state == job_pb2.JOB_STATE_SUCCEEDED, found.message
        if made.ended("trainer") is not None:
            deaths += 1
            made.start("trainer")
        await asyncio.to_thread(yard.wait_for, "trainer")
        assert deaths, f"nobody died at {point}"
        begun = Counter(words[0] for words in training.lines() if words[2] == "begins")
        ends = Counter(words[0] for words in training.lines() if words[2] == "ends")
        names = ("master-0", "worker-0", "worker-1")
        assert begun == dict.fromkeys(names, 2), "a rank was started too often, or not again"
        assert all(ends[name] >= 1 for name in names)
        (budget,) = (await client.jobs.get(job)).budgets
        assert (budget.used, budget.most) == (1, 3)
        await asyncio.to_thread(training.nothing_lives, job)
