"""A job whose framework is not there any more: enough of a plan to end it properly. Pure."""

from __future__ import annotations

from modelyard.training import Framework, Plan, PlannedRole, Role
from modelyard.training.jobs.job import Job as JobFile
from modelyard.training.jobs.job import Placement, Resources
from services.trainer.state.jobs import Job

REASON = "FRAMEWORK_LOST"


def plan_without_framework(job: Job) -> Plan:
    """With the roles that it has; nothing of them can be started."""
    roles = tuple(
        PlannedRole(
            role=Role(name=name), count=count, least=0, most=count, gang_least=0, processes=1, resources=Resources(),
            placement=Placement(),
        )
        for name, count in job.counts.items()
    )  # fmt: skip
    file = JobFile(framework=job.framework, name=job.name, queue=job.queue, priority=job.priority)
    framework = Framework(id=job.framework, roles=tuple(one.role for one in roles))
    return Plan(job=file, framework=framework, params={}, roles=roles)
