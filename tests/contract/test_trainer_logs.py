"""How many logs may be read at a time, and that who goes away leaves nothing behind (S3.10, issue 5.7)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc.aio
import pytest

from modelyard.v1 import job_pb2
from services.trainer.logs import streams as log_streams
from tests.support.scheduler_service import refusal
from tests.support.trainer_yard import JOB, TrainerYard, trainer_yard
from tests.support.wait import wait_until

Follow = job_pb2.StreamJobLogsRequest


def reading() -> set[str]:
    """What the trainer does to read logs; it runs in this process."""
    return {task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith(("logs-j-",))}


async def all_gone(yard: TrainerYard) -> None:
    # A stream that may begin shows that the others have ended.
    await wait_until(lambda: not reading(), "no log is read", timeout_s=20, state=reading)


@pytest.mark.asyncio
@pytest.mark.parametrize("merge", [True, False])
async def test_streams_of_an_account_are_bounded_and_given_back(
    tmp_path: Path, merge: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_streams, "STREAMS_OF_ACCOUNT_MOST", 3)
    async with trainer_yard(tmp_path) as yard:
        job = await yard.admin.create()
        request = Follow(job_id=job, follow=True, merge=merge)
        calls = [yard.admin.jobs.StreamJobLogs(request) for _ in range(3)]
        firsts = [asyncio.ensure_future(call.read()) for call in calls]

        async def is_full() -> bool:
            call = yard.admin.jobs.StreamJobLogs(Follow(job_id=job))
            try:
                while await call.read() is not grpc.aio.EOF:
                    pass
            except grpc.aio.AioRpcError:
                return True
            return False

        async def has_room() -> bool:
            return not await is_full()

        await wait_until(is_full, "all are open", timeout_s=20)
        assert (await refusal(yard.admin.jobs.StreamJobLogs(request))).reason == "LOG_STREAMS_BUSY"
        ada = await yard.user("ada")
        assert (await refusal(ada.jobs.StreamJobLogs(request))).reason == "JOB_NOT_FOUND"
        for call in calls:
            call.cancel()
        await asyncio.gather(*firsts, return_exceptions=True)
        await wait_until(has_room, "all are given back", timeout_s=20)
        await all_gone(yard)


@pytest.mark.asyncio
async def test_more_instances_than_can_be_followed_are_refused_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_streams, "MERGED_MOST", 1)
    async with trainer_yard(tmp_path) as yard:
        job = await yard.admin.create(JOB)
        found = await refusal(yard.admin.jobs.StreamJobLogs(Follow(job_id=job, follow=True, merge=True)))
        assert found.reason == "TOO_MANY_INSTANCES" and "ROLE-INDEX" in found.next_step
        alone = Follow(job_id=job, role="worker", index=1, follow=True, merge=True)
        call = yard.admin.jobs.StreamJobLogs(alone)
        await yard.admin.jobs.StopJob(job_pb2.StopJobRequest(job_id=job))
        assert await call.read() is grpc.aio.EOF, "the job has ended without a word"


@pytest.mark.asyncio
async def test_instances_that_are_read_at_a_time_are_bounded_over_all_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler takes so many calls on a connection; what is beyond would wait without a word."""
    monkeypatch.setattr(log_streams, "READERS_MOST", 3)
    async with trainer_yard(tmp_path) as yard:
        request = Follow(job_id=await yard.admin.create(JOB), follow=True, merge=True)
        first = yard.admin.jobs.StreamJobLogs(request)
        reading_first = asyncio.ensure_future(first.read())
        await wait_until(lambda: len(reading()) == 3, "one feeds, two read", timeout_s=20, state=reading)
        assert (await refusal(yard.admin.jobs.StreamJobLogs(request))).reason == "LOG_STREAMS_BUSY"
        first.cancel()
        await asyncio.gather(reading_first, return_exceptions=True)
        await all_gone(yard)
        second = asyncio.ensure_future(yard.admin.jobs.StreamJobLogs(request).read())
        await wait_until(lambda: len(reading()) == 3, "there is room again", timeout_s=20, state=reading)
        second.cancel()


@pytest.mark.asyncio
async def test_log_of_a_job_that_waits_ends_with_its_job(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        job = await yard.admin.create()
        calls = [
            yard.admin.jobs.StreamJobLogs(Follow(job_id=job, follow=True, merge=merge))
            for merge in (True, False)
        ]
        reads = [asyncio.ensure_future(call.read()) for call in calls]
        await yard.admin.jobs.StopJob(job_pb2.StopJobRequest(job_id=job))
        assert await asyncio.wait_for(asyncio.gather(*reads), 30) == [grpc.aio.EOF] * 2
        await all_gone(yard)
