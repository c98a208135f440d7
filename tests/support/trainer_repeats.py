"""For each RPC of the trainer with a request id: a request that can be carried out, and another one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from modelyard.v1 import framework_pb2, job_pb2, sweep_pb2
from tests.support.trainer_yard import FRAMEWORK, JOB, OTHER, SWEEP, TrainerYard

Pair = tuple[Any, Any]


async def register(yard: TrainerYard) -> Pair:
    texts = (FRAMEWORK, FRAMEWORK.replace("own", "other"))
    made = [framework_pb2.RegisterFrameworkRequest(document=text) for text in texts]
    return made[0], made[1]


async def create(yard: TrainerYard) -> Pair:
    made = [job_pb2.CreateJobRequest(job=framework_pb2.JobDocument(text=text)) for text in (JOB, OTHER)]
    return made[0], made[1]


FOREIGN = """
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: {name: one}
spec: {pytorchReplicaSpecs: {Master: {template: {spec: {containers: [{name: pytorch, command: [true]}]}}}}}
"""


async def imported(yard: TrainerYard) -> Pair:
    texts = (FOREIGN, FOREIGN.replace("one", "other"))
    made = [job_pb2.ImportJobRequest(document=text, submit=True) for text in texts]
    return made[0], made[1]


def of_job(request_type: Callable[..., Any], text: str = JOB, **fields: Any) -> Any:
    """An RPC that moves a job: its own, then another one."""

    async def case(yard: TrainerYard) -> Pair:
        jobs = [await yard.admin.create(text.replace("one", name)) for name in ("one", "other")]
        return request_type(job_id=jobs[0], **fields), request_type(job_id=jobs[1], **fields)

    return case


async def sweep(yard: TrainerYard) -> Pair:
    made = [sweep_pb2.CreateSweepRequest(text=text) for text in (SWEEP, SWEEP.replace("some", "other"))]
    return made[0], made[1]


async def report(yard: TrainerYard) -> Pair:
    job = await yard.admin.create()
    made = [
        job_pb2.ReportProgressRequest(
            job_id=job, role="worker", progress=job_pb2.JobProgress(step=step, metrics={"loss": 1 / step})
        )
        for step in (1, 2)
    ]
    return made[0], made[1]


def of_sweep(request_type: Callable[..., Any], *, is_suspended: bool = False) -> Any:
    """An RPC that moves a sweep: its own, then another one."""

    async def case(yard: TrainerYard) -> Pair:
        sweeps = [await yard.admin.begin() for _ in range(2)]
        for sweep_id in sweeps if is_suspended else ():
            await yard.admin.sweeps.SuspendSweep(sweep_pb2.SuspendSweepRequest(sweep_id=sweep_id))
        return request_type(sweep_id=sweeps[0]), request_type(sweep_id=sweeps[1])

    return case


SUSPENDED = f"{JOB}suspend: true\n"
CASES: dict[str, Callable[[TrainerYard], Awaitable[Pair]]] = {
    "RegisterFramework": register,
    "CreateJob": create,
    "ImportJob": imported,
    "StopJob": of_job(job_pb2.StopJobRequest),
    "SuspendJob": of_job(job_pb2.SuspendJobRequest),
    "ResumeJob": of_job(job_pb2.ResumeJobRequest, SUSPENDED),
    "CreateSweep": sweep,
    "StopSweep": of_sweep(sweep_pb2.StopSweepRequest),
    "SuspendSweep": of_sweep(sweep_pb2.SuspendSweepRequest),
    "ResumeSweep": of_sweep(sweep_pb2.ResumeSweepRequest, is_suspended=True),
    "ReportProgress": report,
    "ScaleRole": of_job(job_pb2.ScaleRoleRequest, SUSPENDED, role="worker", count=3),
}
