"""What would be found out, and which configuration would be made; nothing of it is kept."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import grpc.aio

from modelyard.errors import from_rpc_error
from modelyard.model_messages import described
from modelyard.models import Inspection, determine, facts_in
from modelyard.models.values import Provenance
from modelyard.v1 import model_pb2 as pb
from modelyard.v1 import task_pb2, task_pb2_grpc
from services.chassis.errors import FailedPrecondition, InvalidArgument, Unavailable
from services.chassis.peers.passing import passed_on
from services.chassis.peers.sessions import on_behalf_of
from services.models.catalogue import component, tasks, wording
from services.models.catalogue import effects as e
from services.models.catalogue import events as ev
from services.models.catalogue.model import VersionState, WorkKind
from services.models.catalogue.state import File, Live, Revision, Version, Work
from services.models.catalogue.supplies import Supplies
from services.models.catalogue.ways import LIBRARIES, LIBRARY_MISSING, merged

WAIT_S = 25


class ComponentUnreadable(InvalidArgument):
    """Nothing can be made of the files."""


class InspectionFailed(FailedPrecondition):
    """The task that looked at the files has failed."""


class InspectionLasts(Unavailable):
    """The look at the files is not over yet: no agent has had the time."""


class Describing:
    """Looks at components by tasks of its own."""

    def __init__(self, supplies: Supplies, scheduler: grpc.aio.Channel) -> None:
        self._supplies = supplies
        self._tasks = task_pb2_grpc.TaskServiceStub(scheduler)

    async def describe(
        self, account: str, files: tuple[File, ...], config: str
    ) -> pb.DescribeComponentResponse:
        """Raises ConfigInvalid, ComponentUnreadable, InspectionFailed, InspectionLasts, or as the scheduler does."""
        declared = wording.check_config(config)
        inspection = await self._inspected(account, files, config)
        size = sum(size for _, _, size in files)
        response = described(determine(declared, inspection, name="component", size_bytes=size), inspection)
        response.component.digest, response.component.size_bytes = component.tree_digest(files), size
        for path, digest, size_bytes in files:
            response.component.files.add(path=path, digest=digest, size_bytes=size_bytes)
        return response

    def preview(self, live: Live, document: str, inspection: Inspection | None) -> pb.ModelConfigRevision:
        """What an edited configuration would be."""
        version, latest = live.version, live.latest
        assert latest is not None
        message = pb.ModelConfigRevision(revision=latest.revision + 1, document=document)
        message.state = pb.MODEL_VERSION_STATE_INSPECTING
        if inspection is None:
            return message
        before = facts_in(latest.facts)
        declared = merged(wording.check_config(document, version.model, "document"), before)
        probed = {path: fact for path, fact in before.items() if fact.provenance is Provenance.PROBED}
        found = determine(
            declared, inspection, name=version.model, size_bytes=version.size_bytes, probed=probed
        )
        described_ = described(found, inspection)
        described_.config.revision = latest.revision + 1
        described_.config.questions.extend(described_.questions)
        return described_.config

    async def _inspected(self, account: str, files: tuple[File, ...], config: str) -> Inspection:
        await self._supplies.supply(account)
        found = await self._look(account, files, config, ())
        if isinstance(found, ev.WorkRefused) and found.code == LIBRARY_MISSING:
            needed = [
                libraries
                for path, _, _ in files
                for end, libraries in LIBRARIES.items()
                if path.endswith((end, "/"))
            ]
            found = await self._look(account, files, config, needed[0] if needed else ())
        if isinstance(found, ev.Inspected):
            return found.inspection
        if isinstance(found, ev.WorkRefused):
            raise ComponentUnreadable(found.message, field="files")
        assert isinstance(found, ev.WorkFailed)
        raise InspectionFailed(found.message, field="files")

    async def _look(
        self, account: str, files: tuple[File, ...], config: str, libraries: Sequence[str]
    ) -> ev.WorkEvent:
        work = Work(number=0, kind=WorkKind.INSPECT, revision=0, libraries=tuple(libraries))
        version = Version(
            model="component", version=0, account=account, files=files, digest="", create_ms=0,
            size_bytes=sum(size for _, _, size in files), work=work,
        )  # fmt: skip
        revision = Revision(
            revision=0, declared=config, account=account, create_ms=0, state=VersionState.INSPECTING
        )
        begin = e.Begin(version, revision, work, False)
        request = task_pb2.SubmitTasksRequest.FromString(
            tasks.submitted(begin, self._supplies.digest).content
        )
        request.request_id = str(uuid.uuid4())
        behalf = on_behalf_of(account)
        try:
            [task] = (await self._tasks.SubmitTasks(request, metadata=behalf)).task_ids
            waited = task_pb2.WaitTaskRequest(task_id=task)
            waited.wait_timeout.seconds = WAIT_S
            ended = (await self._tasks.WaitTask(waited, metadata=behalf)).task
            if not ended.HasField("end_time"):
                await self._tasks.CancelTasks(task_pb2.CancelTasksRequest(task_ids=[task]), metadata=behalf)
                raise InspectionLasts(f"after {WAIT_S} s {task} has not ended", next_step="yard nodes ls")
        except grpc.aio.AioRpcError as error:
            raise passed_on(from_rpc_error(error)) from error
        outcome = task_pb2.TaskOutcome(task_id=task, state=ended.state, attempt=ended.attempt)
        outcome.result.CopyFrom(ended.result)
        outcome.error.CopyFrom(ended.error)
        return await self._supplies.read(version, outcome)
