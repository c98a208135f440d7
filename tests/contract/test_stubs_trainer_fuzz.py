"""Every RPC of the trainer with boundary values: never UNKNOWN or INTERNAL, always in words, nothing lost."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from modelyard.v1 import framework_pb2, job_pb2, lineage_pb2, sweep_pb2
from services.trainer.rules import RULES
from tests.support.endings import NEVER, ending_of
from tests.support.mutations import mutate
from tests.support.scheduler_service import refusal
from tests.support.trainer_repeats import FOREIGN
from tests.support.trainer_yard import FRAMEWORK, JOB, SWEEP, trainer_yard

METHODS: list[MethodDescriptor] = [
    method
    for file in (framework_pb2, job_pb2, sweep_pb2, lineage_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if f"/{method.containing_service.full_name}/{method.name}" in RULES
]
"""What is served; the rest of the contract is refused by gRPC's own stubs."""
MUTATIONS = 40
TEXTS = (
    JOB,
    FRAMEWORK,
    FOREIGN,
    "",
    "kind: Job",
    "{}",
    "- 1",
    "kind: [",
    "\0",
    "a: &a [*a]",
    "x" * 100_000,
    "[" * 5_000,
)
LATER = 1 << 62
LogsRequest = job_pb2.StreamJobLogsRequest


def made(method: MethodDescriptor, chance: random.Random, job: str) -> Message:
    """A request; most name a job that is there."""
    request: Any = message_factory.GetMessageClass(method.input_type)()
    mutate(request, chance)
    fields = request.DESCRIPTOR.fields_by_name
    if "job_id" in fields and chance.random() < 0.7:
        request.job_id = job
    if "sweep_id" in fields and chance.random() < 0.7:
        request.sweep_id = "s-1"
    if "text" in fields and chance.random() < 0.8:
        request.text = chance.choice((*TEXTS, SWEEP))
        request.parallel_count = chance.choice((0, 1, 5))
    if "follow" in fields:
        # A job that waits for its places writes nothing.
        request.follow = False
    if "request_id" in fields and chance.random() < 0.8:
        request.request_id = ""
    if "document" in fields and chance.random() < 0.8:
        request.document = chance.choice(TEXTS)
    if "job" in fields and chance.random() < 0.8:
        request.job.text = chance.choice(TEXTS)
        if chance.random() < 0.5:
            request.job.params_json = ""
    return request


@pytest.mark.asyncio
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_rpc_of_the_trainer_with_boundary_values_is_refused_in_words_and_loses_nothing(
    method: MethodDescriptor, tmp_path: Path
) -> None:
    chance = random.Random(method.name)
    async with trainer_yard(tmp_path) as yard:
        job, kept = await yard.admin.create(), await yard.admin.create()
        sweep = await yard.admin.begin()
        other = await yard.user("ada")
        for number in range(MUTATIONS):
            request = made(method, chance, job)
            client = other if number % 4 == 0 else yard.admin
            code, message = await ending_of(client.channel, method, request)
            assert code not in NEVER, f"{code.name} {message} for {str(request)[:2_000]}"
            assert code is grpc.StatusCode.OK or message
        await yard.restart()
        found = (await yard.admin.jobs.GetJob(job_pb2.GetJobRequest(job_id=kept))).job
        assert (found.id, found.state) == (kept, job_pb2.JOB_STATE_RESERVING)
        swept = (await yard.admin.sweeps.GetSweep(sweep_pb2.GetSweepRequest(sweep_id=sweep))).sweep
        assert (swept.id, swept.begun_count) == (sweep, 2)


@pytest.mark.asyncio
async def test_what_has_no_meaning_is_refused_by_its_name(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        job, sweep = await yard.admin.create(), await yard.admin.begin()
        sweeps = yard.admin.sweeps
        jobs, frameworks, none = yard.admin.jobs, yard.admin.frameworks, framework_pb2.JobDocument(text="{}")
        unversioned = framework_pb2.GetFrameworkRequest(framework_id="plain", version=-1)
        huge = framework_pb2.RegisterFrameworkRequest(document="x" * ((1 << 20) + 1))
        cases: list[tuple[Any, str]] = [
            (jobs.ScaleRole(job_pb2.ScaleRoleRequest(job_id=job, role="worker", count=-1)), "ROLE_FIXED"),
            (jobs.ScaleRole(job_pb2.ScaleRoleRequest(job_id=job, role="judge", count=1)), "ROLE_UNKNOWN"),
            (jobs.ScaleRole(job_pb2.ScaleRoleRequest(job_id=job, role="worker", revision=-1)), "REVISION_STALE"),
            (jobs.WatchJob(job_pb2.WatchJobRequest(job_id=job, revision=LATER)), "JOB_REVISION_UNKNOWN"),
            (jobs.WatchJob(job_pb2.WatchJobRequest(job_id=job, revision=-1)), "JOB_REVISION_UNKNOWN"),
            (jobs.WatchAddresses(job_pb2.WatchAddressesRequest(job_id=job, revision=LATER)), "JOB_REVISION_UNKNOWN"),
            (jobs.WatchAddresses(job_pb2.WatchAddressesRequest(job_id=job, revision=-1)), "JOB_REVISION_UNKNOWN"),
            (jobs.WatchAddresses(job_pb2.WatchAddressesRequest(job_id=job, roles=["judge"])), "ROLE_UNKNOWN"),
            (jobs.StreamJobLogs(LogsRequest(job_id=job, role="judge")), "ROLE_UNKNOWN"),
            (jobs.StreamJobLogs(LogsRequest(job_id=job, role="worker", index=2)), "INSTANCE_UNKNOWN"),
            (jobs.StreamJobLogs(LogsRequest(job_id=job, index=0)), "INSTANCE_UNKNOWN"),
            (jobs.StreamJobLogs(LogsRequest(job_id=job, offsets={"worker-0/stdin": 1})), "LOG_OFFSET_INVALID"),
            (jobs.StreamJobLogs(LogsRequest(job_id=job, offsets={"worker-0/stdout": -1})), "LOG_OFFSET_INVALID"),
            (jobs.ReportProgress(job_pb2.ReportProgressRequest(job_id=job, role="judge")), "INSTANCE_UNKNOWN"),
            (jobs.ReportProgress(job_pb2.ReportProgressRequest(role="worker")), "JOB_NOT_FOUND"),
            (jobs.ListJobMetrics(job_pb2.ListJobMetricsRequest(job_id=job, points_most=-1)), "POINTS_INVALID"),
            (jobs.ListJobMetrics(job_pb2.ListJobMetricsRequest(job_id=job, page_token="odd")), "PAGE_TOKEN_INVALID"),
            (jobs.ListJobs(job_pb2.ListJobsRequest(page_token="odd")), "PAGE_TOKEN_INVALID"),
            (jobs.ListJobs(job_pb2.ListJobsRequest(page_size=-1)), "PAGE_SIZE_NEGATIVE"),
            (jobs.ListInstances(job_pb2.ListInstancesRequest(job_id=job, page_token="odd")), "PAGE_TOKEN_INVALID"),
            (jobs.GetJob(job_pb2.GetJobRequest(job_id="j-" + "9" * 30)), "JOB_NOT_FOUND"),
            (jobs.GetJob(job_pb2.GetJobRequest(job_id="j--1")), "JOB_NOT_FOUND"),
            (jobs.CreateJob(job_pb2.CreateJobRequest(job=none)), "JOB_INVALID"),
            (sweeps.CreateSweep(sweep_pb2.CreateSweepRequest(text=JOB)), "SWEEP_INVALID"),
            (sweeps.CreateSweep(sweep_pb2.CreateSweepRequest(text=SWEEP, parallel_count=-1)), "PARALLEL_OUT_OF_RANGE"),
            (sweeps.ResumeSweep(sweep_pb2.ResumeSweepRequest(sweep_id=sweep)), "SWEEP_NOT_SUSPENDED"),
            (sweeps.GetSweep(sweep_pb2.GetSweepRequest(sweep_id="s-" + "9" * 30)), "SWEEP_NOT_FOUND"),
            (sweeps.WatchSweep(sweep_pb2.WatchSweepRequest(sweep_id=sweep, revision=LATER)), "SWEEP_REVISION_UNKNOWN"),
            (sweeps.WatchSweep(sweep_pb2.WatchSweepRequest(sweep_id=sweep, revision=-1)), "SWEEP_REVISION_UNKNOWN"),
            (sweeps.ListTrials(sweep_pb2.ListTrialsRequest(sweep_id=sweep, page_token="odd")), "PAGE_TOKEN_INVALID"),
            (sweeps.ListTrials(sweep_pb2.ListTrialsRequest(sweep_id=sweep, states=[99])), "SWEEP_STATE_UNKNOWN"),
            (jobs.ResumeJob(job_pb2.ResumeJobRequest(job_id=job)), "JOB_NOT_SUSPENDED"),
            (frameworks.GetFramework(unversioned), "FRAMEWORK_NOT_FOUND"),
            (frameworks.RegisterFramework(framework_pb2.RegisterFrameworkRequest(document="{}")), "FRAMEWORK_INVALID"),
            (frameworks.RegisterFramework(huge), "FRAMEWORK_INVALID"),
        ]  # fmt: skip
        for call, reason in cases:
            found = await asyncio.wait_for(refusal(call), 20)
            assert (found.reason, bool(found.message)) == (reason, True), reason
