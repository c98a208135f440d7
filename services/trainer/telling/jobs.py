"""Jobs as people see them: live ones from memory, ended ones from the database."""

from __future__ import annotations

from collections import OrderedDict

from modelyard.training import Plan, Refused
from modelyard.v1 import job_pb2
from services.chassis.security import ADMIN, Principal
from services.trainer.convert.job import instance_message, job_message
from services.trainer.convert.kept import checkpoint_messages, output_messages
from services.trainer.documents.plans import Plans
from services.trainer.engine import Engine
from services.trainer.model import JobNotFound
from services.trainer.state.jobs import Instance, Job

PLANS_REMEMBERED = 200


class Jobs:
    """Reads; changes nothing."""

    def __init__(self, engine: Engine, plans: Plans) -> None:
        self._engine = engine
        self._plans = plans
        self._remembered: OrderedDict[int, Plan] = OrderedDict()

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
        found = self._remembered.get(job.number)
        if found is None:
            try:
                found = self._remembered[job.number] = self._plans.of(job)
            except Refused:
                return None
            while len(self._remembered) > PLANS_REMEMBERED:
                self._remembered.popitem(last=False)
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
