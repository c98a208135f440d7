"""Who watches a job is told of its end, whenever it comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.v1 import job_pb2
from services.chassis.clock import SystemClock
from services.chassis.security import ADMIN, Principal, set_principal
from services.trainer.servicer.jobs import JobServicer
from tests.support.trainer_yard import trainer_yard


@pytest.mark.asyncio
async def test_watch_tells_an_end_that_comes_while_an_answer_is_on_its_way(tmp_path: Path) -> None:
    # S3.9
    async with trainer_yard(tmp_path) as yard:
        job_id = await yard.admin.create()
        parts = yard.service
        servicer = JobServicer(parts._engine, parts._jobs, None, None, SystemClock(), None, None)
        set_principal(Principal(role=ADMIN, account="default"))
        answers = aiter(servicer.WatchJob(job_pb2.WatchJobRequest(job_id=job_id), None))
        assert (await anext(answers)).job.state == job_pb2.JOB_STATE_RESERVING
        # The generator stands where it has handed the answer over.
        await yard.admin.jobs.StopJob(job_pb2.StopJobRequest(job_id=job_id))
        told = [answer.job.state async for answer in answers]
        assert told[-1:] == [job_pb2.JOB_STATE_STOPPED]
