"""ImportJob: job files of other controllers become ours, and run if asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard.training import Refused
from modelyard.training_messages import problem_messages
from modelyard.v1 import framework_pb2, job_pb2_grpc
from modelyard.v1 import job_pb2 as pb
from services.chassis.errors import FailedPrecondition
from services.chassis.security import account_of, principal
from services.trainer.servicer.creation import Creation

if TYPE_CHECKING:
    from modelyard.training.imports import Imported


class ImportInvalid(FailedPrecondition):
    """The document cannot be imported; everything that is wrong with it is told."""


class ImportServicer(job_pb2_grpc.JobServiceServicer):
    """A part of JobService. Nothing of a document is executed or fetched while it is read."""

    _creation: Creation

    async def ImportJob(self, request: pb.ImportJobRequest, context: Any) -> pb.ImportJobResponse:
        found = await self._creation.texts.judge(request.document, lambda: _converted(request))
        findings = problem_messages(found.findings)
        answer = pb.ImportJobResponse(document=found.document, findings=findings)
        if not request.submit:
            return answer
        wanted = pb.CreateJobRequest(
            job=framework_pb2.JobDocument(text=found.document), bundle_digest=request.bundle_digest
        )
        if request.HasField("environment"):
            wanted.environment.CopyFrom(request.environment)

        def answer_of(job: pb.Job) -> pb.ImportJobResponse:
            return pb.ImportJobResponse(document=found.document, findings=findings, job=job)

        answer.job.CopyFrom(await self._creation.create(account_of(principal()), wanted, answer_of))
        return answer


def _converted(request: pb.ImportJobRequest) -> Imported:
    """Raises ImportInvalid."""
    # Thirty modules that most yards never need.
    from modelyard.training.imports import convert

    try:
        return convert(request.document, request.name)
    except Refused as error:
        first = error.problems[0]
        more = f", and {len(error.problems) - 1} more" if len(error.problems) > 1 else ""
        raise ImportInvalid(
            f"{first}{more}", field="document", next_step=first.next_step or "yard train import shows all of it",
            metadata={"reasons": ",".join(dict.fromkeys(problem.reason.value for problem in error.problems))},
        ) from error  # fmt: skip
