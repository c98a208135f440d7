"""A training job's end is told to its contacts, once, whatever dies in between (S0.8, S3.11)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from modelyard.client.aio import Client
from modelyard.v1 import job_pb2
from tests.support.processes import Processes
from tests.support.receiver import Receiver, receiver
from tests.support.wait import wait_until, wait_until_sync
from tests.support.yard import Yard, new_yard

pytestmark = pytest.mark.asyncio
ENVIRON = {"YARD_SCHEDULER_NOTIFY_ALLOW": "127.0.0.0/8", "YARD_SCHEDULER_NOTIFY_BACKOFF_S": "0.2"}
JOB = """kind: Job
framework: plain
name: digits
argv: [sh, -c, "{}"]
resources: {{cpu: 0.1}}
progress: {{log: "step (?P<step>[0-9]+)/(?P<total>[0-9]+) loss=(?P<loss>[0-9.]+)"}}
roles:
  worker: {{count: 1, restart: {{max: 0}}}}
"""
SWEEP = """kind: Sweep
name: few
space: {loss: [2, 1]}
search: grid
metric: loss
job:
  framework: plain
  argv: [sh, -c, "echo step 3/3 loss=${sweep.loss}"]
  resources: {cpu: 0.1}
  progress: {log: "step (?P<step>[0-9]+)/(?P<total>[0-9]+) loss=(?P<loss>[0-9.]+)"}
"""
GOOD = JOB.format("echo step 3/3 loss=0.25")
BAD = JOB.format("echo it is broken; exit 3")


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: services live longer than one."""


@pytest.fixture(scope="module")
def processes() -> Iterator[tuple[Yard, Processes]]:
    with new_yard(is_up=False, agents=1) as yard:
        made = Processes(yard, ENVIRON, trainer=True)
        yield yard, made
        made.stop()


async def cli(yard: Yard, *words: str, code: int = 0, stdin: str = "") -> Any:
    done = await asyncio.to_thread(lambda: yard.cli(*words, stdin=stdin))
    assert done.code == code, f"{' '.join(words)}: {done.code}\n{done.stdout}{done.stderr}"
    return done


@asynccontextmanager
async def contact(yard: Yard, name: str, *options: str) -> AsyncIterator[Receiver]:
    """A verified webhook, taken away at the end."""
    async with receiver() as hook:
        await cli(yard, "contacts", "add", name, hook.url, *options)
        await cli(yard, "contacts", "test", name)
        yield hook
        await cli(yard, "contacts", "rm", name, "--yes")


def of_jobs(hook: Receiver) -> list[dict[str, Any]]:
    return [message.document for message in hook.received if "job" in message.document]


async def revived(made: Processes, yard: Yard) -> None:
    """The trainer has died as it was asked to, and serves again."""
    await asyncio.to_thread(
        wait_until_sync, lambda: made.ended("trainer") is not None, "the trainer dies", timeout_s=30
    )
    assert made.ended("trainer") == -signal.SIGKILL
    made.start("trainer")
    await asyncio.to_thread(yard.wait_for, "trainer")


async def test_ends_of_jobs_are_told_with_their_figures_to_whom_they_name_and_to_defaults(
    processes: tuple[Yard, Processes],
) -> None:  # S0.8
    yard, _ = processes
    async with contact(yard, "team", "--default", "failure") as team, contact(yard, "own") as own:
        await cli(yard, "train", "run", "-", "--contact", "own", stdin=GOOD)
        said = (await own.wait(2))[1].document
        assert (said["event"], said["job"]["state"]) == ("job.succeeded", "succeeded")
        assert said["job"]["instances"][0]["progress"]["metrics"] == {"loss": 0.25}
        assert "worker-0: step 3 of 3, loss 0.25" in said["text"]
        await cli(yard, "train", "run", "-", stdin=GOOD)
        await cli(yard, "train", "run", "-", "--silent", stdin=BAD, code=1)
        await cli(yard, "train", "run", "-", "--contact", "own", "--notify", "success", stdin=BAD, code=1)
        await cli(yard, "train", "run", "-", stdin=BAD, code=1)
        said = (await team.wait(2))[1].document
        assert (said["event"], said["job"]["failure"]["exit_code"]) == ("job.failed", 3)
        assert "it is broken" in said["job"]["failure"]["last_lines"]
        job = said["job"]["id"]
        listed = await asyncio.to_thread(yard.json, "contacts", "deliveries", "--contact", "team")
        assert [d["subject"] for d in listed["deliveries"] if d.get("subject")] == [job]
        assert (len(team.received), len(own.received)) == (2, 2)
        refused = await cli(yard, "train", "run", "-", "--contact", "nobody", stdin=GOOD, code=3)
        assert "no contact 'nobody'" in refused.stderr


async def test_end_of_a_sweep_is_told_once_with_its_best_and_its_trials_are_not(
    processes: tuple[Yard, Processes],
) -> None:  # S0.8
    yard, _ = processes
    async with contact(yard, "team", "--default", "failure") as team, contact(yard, "own") as own:
        await cli(yard, "train", "sweep", "run", "-", "--contact", "own", stdin=SWEEP)
        said = (await own.wait(2))[1].document
        assert (said["event"], said["sweep"]["state"]) == ("sweep.succeeded", "succeeded")
        assert [one["values"] for one in said["sweep"]["trials"]] == [{"loss": 1}, {"loss": 2}]
        assert "trial 2: loss 1, loss=1 (j-" in said["text"]
        # What follows is told of after it: nothing of the trials came in between.
        await cli(yard, "train", "run", "-", stdin=BAD, code=1)
        assert (await team.wait(2))[1].document["event"] == "job.failed"
        assert len(own.received) == 2
        refused = await cli(yard, "train", "sweep", "run", "-", "--contact", "nobody", stdin=SWEEP, code=3)
        assert "no contact 'nobody'" in refused.stderr


@pytest.mark.parametrize("point", ["trainer.before_errand", "trainer.after_errand"])
async def test_job_is_told_of_once_though_the_trainer_dies_at(
    point: str, processes: tuple[Yard, Processes]
) -> None:  # S0.8, S3.10
    yard, made = processes
    async with yard.client() as client, contact(yard, "hook") as hook:
        await asyncio.to_thread(made.restart, "trainer", f"{point}:kill@1")
        first = await client.jobs.create(GOOD, contact="hook")
        await revived(made, yard)
        await hook.wait(2)
        # Another job is told of after it: whatever was to come of the first has come.
        other = await client.jobs.create(GOOD, contact="hook")
        await hook.wait(3)
        assert [told["job"]["id"] for told in of_jobs(hook)] == [first.id, other.id]
        assert await state_of(client, first.id) == job_pb2.JOB_STATE_SUCCEEDED


async def test_job_that_ends_while_the_scheduler_is_away_is_told_of_later(
    processes: tuple[Yard, Processes],
) -> None:  # S0.8
    yard, made = processes
    async with yard.client() as client, contact(yard, "hook") as hook:
        job = await client.jobs.create(JOB.format("sleep 600"), contact="hook")

        async def runs() -> bool:
            return await state_of(client, job.id) == job_pb2.JOB_STATE_RUNNING

        await wait_until(runs, "it runs", timeout_s=30)
        await asyncio.to_thread(made.kill, "scheduler")
        with contextlib.suppress(Exception):
            await client.jobs.stop(job.id, "enough")

        async def has_ended() -> bool:
            return await state_of(client, job.id) == job_pb2.JOB_STATE_STOPPED

        await wait_until(has_ended, "it has ended", timeout_s=30)
        await asyncio.to_thread(made.kill, "trainer")
        made.start("trainer")
        made.start("scheduler")
        await asyncio.to_thread(yard.wait_for, "scheduler", "trainer")
        said = (await hook.wait(2, timeout_s=40))[1].document
        assert (said["event"], said["job"]["message"]) == ("job.stopped", "enough")


async def state_of(client: Client, job: str) -> int:
    return (await client.jobs.get(job)).state
