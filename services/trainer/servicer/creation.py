"""How a job file becomes a job: judged, then taken with the answer to its request in one transaction."""

from collections.abc import Callable
from typing import Any

from modelyard.v1 import framework_pb2
from modelyard.v1 import job_pb2 as pb
from services.chassis.peers.contacts import Contacts
from services.chassis.requests.answers import Answers
from services.chassis.security import principal
from services.trainer.convert.job import job_message
from services.trainer.documents import attachments, limits
from services.trainer.documents.frameworks import Frameworks
from services.trainer.documents.plans import Plans
from services.trainer.engine import Engine
from services.trainer.state.events import JobCreated
from services.trainer.state.jobs import Job
from services.trainer.telling import notices
from services.trainer.telling.jobs import Jobs


class Creation:
    """Takes jobs for whoever asks: job files, and those that are imported."""

    def __init__(
        self,
        engine: Engine,
        jobs: Jobs,
        plans: Plans,
        frameworks: Frameworks,
        answers: Answers,
        contacts: Contacts,
    ) -> None:
        self._engine = engine
        self._jobs = jobs
        self._plans = plans
        self.texts = plans.texts
        self._frameworks = frameworks
        self._answers = answers
        self._contacts = contacts

    async def create(
        self, account: str, request: pb.CreateJobRequest, answer_of: Callable[[pb.Job], Any]
    ) -> pb.Job:
        """The job, once it is on disk; `answer_of` makes the answer that lies with it.

        Raises JobInvalid, JobWishUnmet, JobAttachmentInvalid.
        """
        plan = await self._plans.job(request.job)
        limits.check(plan)
        attached = attachments.read(request.attachments)
        await notices.check(self._contacts, account, request.notification)
        changes = framework_pb2.JobDocument()
        changes.CopyFrom(request.job)
        changes.ClearField("text")
        framework = plan.framework.id
        job = Job(
            0, account, plan.job.name, framework,
            plan.job.framework_version or self._frameworks.version(framework), request.job.text, plan.job.queue,
            plan.job.priority, 0, changes=changes.SerializeToString(), bundle_digest=request.bundle_digest,
            environment=request.environment.SerializeToString(), notification=request.notification.SerializeToString(),
            labels=dict(plan.job.labels), origin=principal().task_id, attachments=attached,
        )  # fmt: skip
        if request.validate_only:
            job.counts = {role.name: role.count for role in plan.roles if role.count}
            message = job_message(job, plan, [], is_whole=False)
            message.id = ""
            return message

        def first_answer(number: int) -> Any:
            return answer_of(self._begun(number))

        kept = self._answers.keep(first_answer)
        reply, answer = self._engine.new_reply(kept)
        self._engine.post(JobCreated(reply, job, plan))
        return await self._jobs.message(await answer, is_whole=True)

    def _begun(self, number: int) -> pb.Job:
        """While its first transaction is made."""
        live = self._engine.state.jobs.get(number)
        if live is None:
            return pb.Job(id=f"j-{number}")
        return job_message(live.job, live.plan, [*live.instances.values()], is_whole=True)
