"""Files that are handed in become plans: jobs, sweeps, definitions of frameworks; or why they do not.

Owns which frameworks a file may name, and whose turn it is where judging one takes long. Nothing is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

from modelyard.training import (
    Changes,
    Framework,
    Plan,
    Problem,
    Refused,
    compile_framework,
    plan_job,
    problems_of,
)
from modelyard.training.sweeps import Sweep as SweepFile
from modelyard.training.sweeps import SweepChanges, plan_sweep
from modelyard.v1 import framework_pb2, sweep_pb2
from services.chassis.errors import FailedPrecondition, InvalidArgument
from services.trainer.documents.frameworks import Frameworks
from services.trainer.documents.large_texts import LargeTexts
from services.trainer.model import SweepInvalid
from services.trainer.state.jobs import Job

T = TypeVar("T")


class JobInvalid(FailedPrecondition):
    """The job file has errors; ValidateJob tells all of them."""


class FrameworkInvalid(FailedPrecondition):
    """The definition has errors; ValidateJob tells all of them."""


class ChangesInvalid(InvalidArgument):
    """What is laid over the job file has no meaning."""


class Plans:
    """Of files, with the frameworks that there are."""

    def __init__(self, frameworks: Frameworks) -> None:
        self._frameworks = frameworks
        self.texts = LargeTexts()

    async def job(self, document: framework_pb2.JobDocument) -> Plan:
        """Raises JobInvalid, ChangesInvalid."""
        text, changes = document.text, _changes_of(document)

        def work() -> Plan:
            return plan_job(text, self._frameworks.find, self._frameworks.known(), changes)

        return await self._judged(text, work, JobInvalid, "job.text")

    async def sweep(self, request: sweep_pb2.CreateSweepRequest) -> tuple[SweepFile, Plan]:
        """The file, and the plan of a trial. Raises SweepInvalid."""
        changes = SweepChanges(name=request.name, queue=request.queue, parallel=request.parallel_count)

        def work() -> tuple[SweepFile, Plan]:
            return plan_sweep(request.text, self._frameworks.find, self._frameworks.known(), changes)

        return await self._judged(request.text, work, SweepInvalid, "text")

    async def framework(self, text: str) -> Framework:
        """What a definition says. Raises FrameworkInvalid."""
        return await self._judged(text, lambda: compile_framework(text), FrameworkInvalid, "document")

    async def problems(self, text: str) -> tuple[Problem, ...]:
        """All that is wrong with a file, of whatever kind."""
        return await self.texts.judge(
            text, lambda: problems_of(text, self._frameworks.find, self._frameworks.known())
        )

    def of(self, job: Job) -> Plan:
        """Of a job that was taken: from its document, with the version of its framework. Raises Refused."""
        changes = framework_pb2.JobDocument.FromString(job.changes)

        def find(framework_id: str, version: int = 0) -> Framework | None:
            is_own = framework_id == job.framework and job.framework_version
            return self._frameworks.find(framework_id, job.framework_version if is_own else version)

        return plan_job(job.document, find, self._frameworks.known(), _changes_of(changes))

    async def _judged(
        self, text: str, work: Callable[[], T], kind: type[FailedPrecondition], field: str
    ) -> T:
        """All that is wrong is told, the first of it in words."""
        try:
            return await self.texts.judge(text, work)
        except Refused as error:
            first = error.problems[0]
            more = f", and {len(error.problems) - 1} more" if len(error.problems) > 1 else ""
            raise kind(
                f"{first.path}: {first.message}{more}", field=field,
                next_step=first.next_step or "yard train validate shows all of it",
                metadata={"reasons": ",".join(dict.fromkeys(problem.reason.value for problem in error.problems))},
            ) from error  # fmt: skip


def _changes_of(document: framework_pb2.JobDocument) -> Changes:
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
