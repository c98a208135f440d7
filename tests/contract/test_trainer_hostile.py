"""Definitions and job files that were written to hurt, through every RPC that reads one: refused in words, and the
service goes on. What the language refuses offline is in tests/unit/training/test_training_hostile.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from modelyard.v1 import framework_pb2, job_pb2
from tests.support.scheduler_service import refusal
from tests.support.trainer_yard import JOB, TrainerClient, trainer_yard

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(12)
)
CYCLE = """kind: Framework
id: mine
roles:
  a: {functions: {create: {argv: [x]}, depend: [{role: b, until: started}]}}
  b: {functions: {create: {argv: [x]}, depend: [{role: a, until: started}]}}
"""
ROLE = "kind: Framework\nid: mine\nroles: {a: {functions: {create: {argv: [x], %s}}}}\n"
UNKNOWN = ROLE % "env: {A: '${roles.b[0].host}'}"
ENDLESS = ROLE % "env: {A: '${1**999999999}'}"
CLIMBING = ROLE % "files: [{path: ../../x, content: hi}]"
BACKTRACKING = ROLE.replace("create:", "ready: {until: log, pattern: '(a+)+\\1'}, create:") % "env: {}"
FRAMEWORKS = {
    "cycle": CYCLE, "unknown-role": UNKNOWN, "endless": ENDLESS, "climbing": CLIMBING, "backtracking": BACKTRACKING,
    "laughs": LAUGHS, "deep": "[" * 400_000, "deep-lists": "- " * 200_000,
    "many-fields": "".join(f"k{i}: 1\n" for i in range(60_000)),
    "not-text": "\x00\x01", "contains-itself": "a: &a [*a]", "long": "a: " + "x" * 2_000_000,
}  # fmt: skip
JOBS = {
    "million": JOB.replace("count: 2", "count: 1000000"),
    "huge-number": JOB.replace("count: 2", "count: 99999999999999999999"),
    "nan": JOB.replace("count: 2", "count: .nan"),
    "nan-deadline": f"{JOB}limits: {{active_deadline: .nan}}\n",
    "infinite-deadline": f"{JOB}limits: {{active_deadline: .inf}}\n",
    "climbing-name": JOB.replace("name: one", "name: ../../one"),
    "climbing-artefact": f"{JOB}success: {{artifacts: [../../etc/passwd]}}\n",
    "climbing-checkpoints": f"{JOB}checkpoints: {{dir: ../../x}}\n",
    "unknown-role": JOB.replace("worker:", "nobody:"),
    "waits-for-itself": JOB.replace("argv:", "depend: [{role: worker, until: started}], argv:"),
    "long-pattern": f"{JOB}progress: {{log: ['{'x' * 400}']}}\n",
    "backtracking": f"{JOB}progress: {{log: ['(a+)+\\1']}}\n",
    "unknown-framework": JOB.replace("plain", "../plain"),
    "laughs": JOB + LAUGHS,
    "deep": JOB + "x: " + "[" * 400_000,
}
NEVER = ("UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED", "CANCELLED")


async def refused(call: Any) -> Any:
    found = await refusal(call)
    assert found.code not in NEVER, found
    assert found.message and found.reason, found
    return found


async def all_refuse(client: TrainerClient, text: str) -> None:
    """ValidateJob tells the problems; what would act refuses."""
    document = framework_pb2.JobDocument(text=text)
    told = await client.frameworks.ValidateJob(framework_pb2.ValidateJobRequest(job=document))
    assert told.problems and all(problem.message for problem in told.problems)
    await refused(client.frameworks.RenderJob(framework_pb2.RenderJobRequest(job=document)))
    await refused(client.jobs.CreateJob(job_pb2.CreateJobRequest(job=document)))
    await refused(client.jobs.CreateJob(job_pb2.CreateJobRequest(job=document, validate_only=True)))


async def goes_on(client: TrainerClient) -> None:
    """The service is there, and nothing has come of it all."""
    assert not (await client.jobs.ListJobs(job_pb2.ListJobsRequest())).jobs
    assert await client.create()


@pytest.mark.asyncio
async def test_hostile_frameworks_are_refused_in_words_and_the_service_goes_on(tmp_path: Path) -> None:
    """# S3.2 S3.12"""
    async with trainer_yard(tmp_path) as yard:
        client = yard.admin
        for text in FRAMEWORKS.values():
            request = framework_pb2.RegisterFrameworkRequest(document=text)
            await refused(client.frameworks.RegisterFramework(request))
            await all_refuse(client, f"{text}\n---\n{{kind: Job, framework: mine}}\n")
        await goes_on(client)


@pytest.mark.asyncio
async def test_hostile_job_files_are_refused_in_words_and_the_service_goes_on(tmp_path: Path) -> None:
    """# S3.1 S3.3"""
    async with trainer_yard(tmp_path) as yard:
        for text in JOBS.values():
            await all_refuse(yard.admin, text)
        await goes_on(yard.admin)


@pytest.mark.asyncio
async def test_what_is_larger_than_a_message_may_be_is_refused_by_its_size(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        request = framework_pb2.RegisterFrameworkRequest(document="a: " + "x" * 10_000_000)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await yard.admin.frameworks.RegisterFramework(request)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await goes_on(yard.admin)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "changes",
    [
        {"params_json": "[1]"}, {"params_json": '{"a": NaN}'}, {"params_json": "[" * 100_000},
        {"counts": {"worker": -1}},
        {"counts": {"worker": 1_000_000}}, {"counts": {"../x": 1}}, {"name": "../../x"}, {"name": "x" * 100_000},
    ],
)  # fmt: skip
async def test_changes_laid_over_a_job_file_are_no_way_around_its_checks(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    async with trainer_yard(tmp_path) as yard:
        document = framework_pb2.JobDocument(text=JOB, **changes)
        await refused(yard.admin.jobs.CreateJob(job_pb2.CreateJobRequest(job=document)))
        await goes_on(yard.admin)
