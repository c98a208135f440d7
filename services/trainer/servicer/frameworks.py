"""FrameworkService: definitions are kept, jobs are judged and rendered without starting anything."""

from __future__ import annotations

from itertools import islice
from typing import Any

from modelyard.training import Plan
from modelyard.training.plans.preview import Preview, previews
from modelyard.training_messages import framework_message, instance_message, problem_messages
from modelyard.v1 import framework_pb2 as pb
from modelyard.v1 import framework_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.errors import FailedPrecondition, NotFound
from services.chassis.requests.paging import decode_token, encode_token, page_size
from services.chassis.security import principal
from services.trainer.documents.frameworks import Frameworks
from services.trainer.documents.plans import Plans
from services.trainer.plugins.host import Plugins
from services.trainer.plugins.process import PluginFailed
from services.trainer.records.store import FrameworkRow


class FrameworkNotFound(NotFound):
    """There is no such framework, or no such version of it."""


class PluginWithoutAnswer(FailedPrecondition):
    """A framework's package failed, or took too long."""


class FrameworkServicer(framework_pb2_grpc.FrameworkServiceServicer):
    """Everybody sees all frameworks; who may create jobs may register one."""

    def __init__(self, frameworks: Frameworks, plans: Plans, plugins: Plugins, clock: Clock) -> None:
        self._plugins = plugins
        self._frameworks = frameworks
        self._plans = plans
        self._clock = clock

    async def RegisterFramework(
        self, request: pb.RegisterFrameworkRequest, context: Any
    ) -> pb.RegisterFrameworkResponse:
        framework = await self._plans.framework(request.document)
        if request.validate_only:
            message = framework_message(framework, pb.FRAMEWORK_ORIGIN_REGISTERED)
            return pb.RegisterFrameworkResponse(framework=message)
        row, is_new = await self._frameworks.register(
            framework.id, request.document, principal().account, self._clock.now_ms()
        )
        return pb.RegisterFrameworkResponse(framework=self._message(row.id, row), is_new=is_new)

    async def GetFramework(self, request: pb.GetFrameworkRequest, context: Any) -> pb.GetFrameworkResponse:
        framework = self._frameworks.find(request.framework_id, request.version)
        if framework is None:
            version = f" of version {request.version}" if request.version else ""
            raise FrameworkNotFound(
                f"there is no framework {request.framework_id[:80]!r}{version}", field="framework_id",
                next_step="yard train frameworks",
            )  # fmt: skip
        row = self._frameworks.row(request.framework_id, request.version)
        message = self._message(request.framework_id, row)
        message.document = framework.source
        return pb.GetFrameworkResponse(framework=message)

    async def ListFrameworks(
        self, request: pb.ListFrameworksRequest, context: Any
    ) -> pb.ListFrameworksResponse:
        if request.framework_id:
            rows = self._frameworks.versions(request.framework_id)
            found = [self._message(row.id, row) for row in rows]
        else:
            found = [self._message(name, self._frameworks.row(name)) for name in self._frameworks.known()]
        size, key = page_size(request.page_size), f"frameworks {request.framework_id}".encode()
        start = int(decode_token(request.page_token, key) or 0)
        token = encode_token(str(start + size), key) if len(found) > start + size else ""
        return pb.ListFrameworksResponse(frameworks=found[start : start + size], next_page_token=token)

    async def ValidateJob(self, request: pb.ValidateJobRequest, context: Any) -> pb.ValidateJobResponse:
        problems = await self._plans.problems(request.job.text)
        return pb.ValidateJobResponse(problems=problem_messages(problems))

    async def RenderJob(self, request: pb.RenderJobRequest, context: Any) -> pb.RenderJobResponse:
        size, key = page_size(request.page_size), request.job.SerializeToString(deterministic=True)
        start = int(decode_token(request.page_token, key) or 0)
        plan = await self._plans.job(request.job)
        found = [instance_message(one) for one in await self._previews(plan, start, size + 1)]
        token = encode_token(str(start + size), key) if len(found) > size else ""
        return pb.RenderJobResponse(instances=found[:size], next_page_token=token)

    async def _previews(self, plan: Plan, start: int, count: int) -> list[Preview]:
        """Raises PluginWithoutAnswer."""
        if not any("create" in planned.role.coded for planned in plan.roles):
            return list(islice(previews(plan), start, start + count))
        try:
            return await self._plugins.previews(plan, start, count)
        except PluginFailed as error:
            raise PluginWithoutAnswer(str(error), next_step="ask who wrote the package") from error

    def _message(self, framework_id: str, row: FrameworkRow | None) -> pb.Framework:
        framework = self._frameworks.find(framework_id, row.version if row else 0)
        assert framework is not None
        message = framework_message(framework, self._frameworks.origin(framework_id))
        if row is not None:
            message.version, message.digest, message.account = row.version, row.digest, row.account
            message.register_time.FromMilliseconds(row.time_ms)
        return message
