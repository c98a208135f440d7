"""What a job file asks for and the trainer does not do is refused when the job is created, never ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.v1 import framework_pb2, job_pb2, task_pb2
from tests.support.scheduler_service import command, refusal
from tests.support.trainer_yard import JOB, trainer_yard


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("notification", "reason", "field"),
    [
        (task_pb2.Notification(contact="me"), "CONTACT_NOT_FOUND", "notification.contact"),
        (
            task_pb2.Notification(on=[task_pb2.NOTIFICATION_EVENT_FAILED]),
            "CONTACT_NOT_FOUND",
            "notification.on",
        ),
        (
            task_pb2.Notification(on=[task_pb2.NOTIFICATION_EVENT_GATE_WAITING]),
            "NOTICE_INVALID",
            "notification.on",
        ),
    ],
)
async def test_contact_that_cannot_be_told_is_refused_when_the_job_is_created(
    tmp_path: Path, notification: task_pb2.Notification, reason: str, field: str
) -> None:  # S0.8
    async with trainer_yard(tmp_path) as yard:
        for validate_only in (True, False):
            request = job_pb2.CreateJobRequest(
                job=framework_pb2.JobDocument(text=JOB),
                notification=notification,
                validate_only=validate_only,
            )
            refused = await refusal(yard.admin.jobs.CreateJob(request))
            assert (refused.reason, refused.field) == (reason, field)
        assert not (await yard.admin.jobs.ListJobs(job_pb2.ListJobsRequest())).jobs


@pytest.mark.asyncio
async def test_only_services_ask_what_the_end_of_others_would_change(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        (task,) = await yard.scheduler.admin.submit(command())
        asked = task_pb2.ExplainTaskRequest(task_id=task, without=["t-99"])
        refused = await refusal(yard.scheduler.admin.tasks.ExplainTask(asked))
        assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "WITHOUT_FORBIDDEN")
        behalf = (("x-yard-account", "default"),)
        service = yard.scheduler.service_client.tasks
        assert not (await service.ExplainTask(asked, metadata=behalf)).fits_without
        asked.without.append("x")
        assert (await refusal(service.ExplainTask(asked, metadata=behalf))).code == "INVALID_ARGUMENT"
