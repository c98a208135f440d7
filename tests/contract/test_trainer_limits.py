"""What a job file asks for and the trainer does not do is refused when the job is created, never ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.v1 import framework_pb2, job_pb2, task_pb2
from tests.support.scheduler_service import refusal
from tests.support.trainer_yard import JOB, trainer_yard


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("more", "field"),
    [
        ("success: {artifacts: [model.pt]}\n", "success.artifacts"),
        ("success: {log: {regex: done}}\n", "success.log"),
        ("checkpoints: {dir: ckpt}\n", "checkpoints"),
        ("preemptible: true\n", "preemptible"),
    ],
)
async def test_wish_of_a_job_file_that_would_be_ignored_is_refused(
    tmp_path: Path, more: str, field: str
) -> None:
    async with trainer_yard(tmp_path) as yard:
        document = framework_pb2.JobDocument(text=JOB + more)
        refused = await refusal(yard.admin.jobs.CreateJob(job_pb2.CreateJobRequest(job=document)))
        assert (refused.code, refused.reason, refused.field) == ("UNIMPLEMENTED", "JOB_WISH_UNMET", field)
        assert not (await yard.admin.jobs.ListJobs(job_pb2.ListJobsRequest())).jobs


@pytest.mark.asyncio
async def test_contact_that_would_be_told_nothing_is_refused(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        request = job_pb2.CreateJobRequest(
            job=framework_pb2.JobDocument(text=JOB), notification=task_pb2.Notification(contact="me")
        )
        refused = await refusal(yard.admin.jobs.CreateJob(request))
        assert (refused.reason, refused.field) == ("JOB_WISH_UNMET", "notification")
