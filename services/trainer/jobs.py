"""Jobs as people see them: live ones from memory, ended ones from the database; plans of either."""

from __future__ import annotations

import json
from collections import OrderedDict

from modelyard.training import Changes, Plan, Refused, plan_job
from modelyard.v1 import framework_pb2, job_pb2
from services.chassis.errors import FailedPrecondition, InvalidArgument
from services.chassis.security import ADMIN, Principal
from services.trainer.convert.job import instance_message, job_message
from services.trainer.convert.kept import checkpoint_messages, output_messages
from services.trainer.engine import Engine
from services.trainer.frameworks import Frameworks
from services.trainer.large_texts import LargeTexts
from services.trainer.model import JobNotFound
from services.trainer.state import Instance, Job

PLANS_REMEMBERED = 200


class JobInvalid(FailedPrecondition):
    """The job file has errors; ValidateJob tells all of them."""


class ChangesInvalid(InvalidArgument):
    """What is laid over the job file has no meaning."""


def changes_of(document: framework_pb2.JobDocument) -> Changes:
    """What a caller lays over a job file. Raises ChangesInvalid."""
    try:
        params = json.loads(document.params_json or "{}")
    except (ValueError, RecursionError) as error:
        raise ChangesInvalid(f"params_json: {error}", field="job.params_json") from error
    if not isinstance(params, dict):
        raise ChangesInvalid("params_json is a JSON object", field="job.params_json")
    return Changes(
        params=params,
        counts=dict(document.counts),
        name=document.name,
        queue=document.queue,
        priority=document.priority if document.HasField("priority") else None,
    )


def refused(error: Refused) -> JobInvalid:
    """All that is wrong, the first of it in words."""
    first = error.problems[0]
    more = f", and {len(error.problems) - 1} more" if len(error.problems) > 1 else ""
    return JobInvalid(
        f"{first.path}: {first.message}{more}", field="job.text",
        next_step=first.next_step or "yard train validate shows all of it",
        metadata={"reasons": ",".join(dict.fromkeys(problem.reason.value for problem in error.problems))},
    )  # fmt: skip


class Jobs:
    """Reads; changes nothing."""

    def __init__(self, engine: Engine, frameworks: Frameworks) -> None:
        self._engine = engine
        self._frameworks = frameworks
        self.texts = LargeTexts()
        self._plans: OrderedDict[int, Plan] = OrderedDict()

    async def plan(self, document: framework_pb2.JobDocument) -> Plan:
        """Raises JobInvalid, ChangesInvalid."""
        text, changes = document.text, changes_of(document)

        def work() -> Plan:
            return plan_job(text, self._frameworks.find, self._frameworks.known(), changes)

        try:
            return await self.texts.judge(text, work)
        except Refused as error:
            raise refused(error) from error

    def plan_of(self, job: Job) -> Plan:
        """Of a job that was taken: from its document, with the version of its framework."""
        changes = framework_pb2.JobDocument.FromString(job.changes)

        def find(framework_id: str, version: int = 0) -> object:
            is_own = framework_id == job.framework and job.framework_version
            return self._frameworks.find(framework_id, job.framework_version if is_own else version)

        return plan_job(job.document, find, self._frameworks.known(), changes_of(changes))  # type: ignore[arg-type]

    async def require(self, job_id: str, caller: Principal) -> Job:
        """The job's row, if the caller may see it. Raises JobNotFound."""
        job = await self._engine.store.job(number_of(job_id))
        if job is None or not (caller.role == ADMIN or caller.account == job.account):
            raise JobNotFound(
                f"there is no job {job_id[:40]!r}, or it is not yours to see",
                field="job_id",
                next_step="yard train ls",
            )
        return job

    async def message(self, number: int, *, is_whole: bool = False) -> job_pb2.Job:
        """As it is now."""
        job, plan, instances = await self.state_of(number)
        message = job_message(job, plan, instances, is_whole=is_whole)
        if is_whole:
            message.outputs.extend(output_messages(await self._engine.store.outputs(number)))
            found = await self._engine.store.checkpoints(number)
            message.checkpoints.extend(checkpoint_messages(found, instances))
        return message

    async def state_of(self, number: int) -> tuple[Job, Plan | None, list[Instance]]:
        """The job, its plan, its instances: live, or as they ended."""
        async with self._engine.quiet:
            live = self._engine.state.jobs.get(number)
            if live is not None:
                return live.job, live.plan, [*live.instances.values()]
        job = await self._engine.store.job(number)
        assert job is not None
        return job, self._ended_plan(job), await self._engine.store.instances(number)

    def _ended_plan(self, job: Job) -> Plan | None:
        """None where the framework that it had is not there any more."""
        found = self._plans.get(job.number)
        if found is None:
            try:
                found = self._plans[job.number] = self.plan_of(job)
            except Refused:
                return None
            while len(self._plans) > PLANS_REMEMBERED:
                self._plans.popitem(last=False)
        return found

    async def instances(self, number: int) -> list[job_pb2.Instance]:
        """By role and index."""
        job, plan, instances = await self.state_of(number)
        found = sorted(instances, key=lambda one: one.key)
        return [instance_message(job, plan, one) for one in found]


def number_of(job_id: str) -> int:
    """The number of "j-7"; raises JobNotFound."""
    digits = job_id.removeprefix("j-")
    if job_id.startswith("j-") and digits.isascii() and digits.isdecimal() and len(digits) <= 15:
        return int(digits)
    raise JobNotFound(f"there is no job {job_id[:40]!r}", field="job_id", next_step="yard train ls")
