"""Where a version says that it comes from, checked as far as it can be, on the caller's behalf.

Jobs and runs are other services': they are checked where these can be asked.
"""

from __future__ import annotations

import grpc.aio

from modelyard.errors import YardError, from_rpc_error
from modelyard.v1 import job_pb2, job_pb2_grpc, run_pb2, run_pb2_grpc, task_pb2, task_pb2_grpc
from modelyard.v1 import model_pb2 as pb
from services.chassis.errors import FailedPrecondition
from services.chassis.logs import get_logger
from services.chassis.peers.sessions import on_behalf_of
from services.models.catalogue import wording

CALL_S = 10.0
_log = get_logger("models.origins")


class OriginUnknown(FailedPrecondition):
    """There is no such job, run or task of this account."""


class Origins:
    """Asks the services whose they are. A channel that is None is not asked."""

    def __init__(
        self, scheduler: grpc.aio.Channel, graph: grpc.aio.Channel | None, trainer: grpc.aio.Channel | None
    ) -> None:
        self._scheduler = scheduler
        self._graph = graph
        self._trainer = trainer

    async def check(self, account: str, lineage: pb.Lineage) -> None:
        """Raises LineageInvalid, OriginUnknown. A service that does not answer is believed."""
        ids = {"job_id": lineage.job_id, "run_id": lineage.run_id, "task_id": lineage.task_id}
        wording.check_lineage(ids, lineage.part, lineage.parent)
        for field, text in ids.items():
            if text:
                await self._known(account, field, text)

    async def _known(self, account: str, field: str, text: str) -> None:
        metadata = on_behalf_of(account)
        try:
            if field == "task_id":
                tasks = task_pb2_grpc.TaskServiceStub(self._scheduler)
                await tasks.GetTask(task_pb2.GetTaskRequest(task_id=text), metadata=metadata, timeout=CALL_S)
            elif field == "job_id" and self._trainer is not None:
                jobs = job_pb2_grpc.JobServiceStub(self._trainer)
                await jobs.GetJob(job_pb2.GetJobRequest(job_id=text), metadata=metadata, timeout=CALL_S)
            elif field == "run_id" and self._graph is not None:
                runs = run_pb2_grpc.RunServiceStub(self._graph)
                await runs.GetRun(run_pb2.GetRunRequest(run_id=text), metadata=metadata, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            self._judge(from_rpc_error(error), field, text)

    def _judge(self, error: YardError, field: str, text: str) -> None:
        if error.code == "NOT_FOUND":
            raise OriginUnknown(f"there is no {text} of yours", field=f"lineage.{field}") from error
        _log.warning("origin_not_checked", field=field, id=text, reason=error.reason)
