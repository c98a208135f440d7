"""How a plan is made: what a job says is laid over its framework's roles, and all of it is checked. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from modelyard.documents.problems import Findings, Position, Reason
from modelyard.training.frameworks.framework import Framework, ProgressSource, Role
from modelyard.training.jobs.job import Job, Placement, Resources, RoleInfo
from modelyard.training.plans.checks import check_plan
from modelyard.training.plans.plan import Plan, PlannedRole
from modelyard.training.policies.status import condition
from modelyard.training.rendering.launches import RenderError, process_count
from modelyard.training.rendering.scope import Meter, RoleView, Surroundings, Table


def plan_of(job: Job, framework: Framework, findings: Findings) -> Plan | None:
    """None where nothing can be made of it; everything that is wrong is noted."""
    before = len(findings)
    params = dict(job.params)
    roles = tuple(_planned(role, job, params, findings) for role in framework.roles)
    merged = msgspec.structs.replace(
        framework, roles=tuple(planned.role for planned in roles), job_status=_job_policy(job, framework)
    )
    plan = Plan(job=job, framework=merged, params=params, roles=roles)
    check_plan(plan, framework, findings, are_counts_right=len(findings) == before)
    return plan if len(findings) == before else None


def _job_policy(job: Job, framework: Framework) -> Any:
    names, policy = framework.role_names, framework.job_status
    if job.succeeded:
        policy = msgspec.structs.replace(policy, succeeded=condition(job.succeeded, names))
    if job.failed:
        policy = msgspec.structs.replace(policy, failed=condition(job.failed, names))
    return policy


def _planned(role: Role, job: Job, params: dict[str, Any], findings: Findings) -> PlannedRole:
    said = job.role(role.name) or RoleInfo(name=role.name)
    merged = _merged(role, said, job)
    count, least, most = _counted(role, said, findings)
    gang = dict(job.gang.least).get(role.name, min(least, count) if role.count.is_elastic else count)
    at = Position(f"roles.{role.name}")
    if gang > count:
        findings.add(
            Reason.CONTRADICTION, f"{gang} of {count} instances cannot start together", Position("gang.min")
        )
    resources = said.resources or job.everyone.resources or Resources()
    planned = PlannedRole(
        role=merged, count=count, least=least, most=most, gang_least=min(gang, count), processes=1, resources=resources,
        placement=said.placement or job.everyone.placement or Placement(), image=said.image or job.image,
    )  # fmt: skip
    facts = planned.facts(count)
    surroundings = Surroundings(
        job={}, params=params, roles={role.name: facts}, nodes=0, size=0, book={}
    )  # fmt: skip
    names = {"params": Table("params", params), "role": RoleView(surroundings, facts, Meter())}
    try:
        return msgspec.structs.replace(planned, processes=process_count(merged.creation, names))
    except RenderError as error:
        findings.add(Reason.BAD_EXPRESSION, error.message, at.inner(error.path))
        return planned


def _merged(role: Role, said: RoleInfo, job: Job) -> Role:
    creation, everyone = role.creation, job.everyone
    env = {**dict(creation.env), **dict(everyone.env), **dict(said.env)}
    own = {name for name, _ in (*everyone.env, *said.env)}
    # The command of everybody is for roles to which the framework gives none.
    argv = said.argv or creation.argv or everyone.argv
    creation = msgspec.structs.replace(
        creation, argv=argv, env=tuple(env.items()), files=(*creation.files, *everyone.files, *said.files),
        env_json=tuple((name, tree) for name, tree in creation.env_json if name not in own),
        stdin=said.stdin or creation.stdin, imports=said.imports or creation.imports,
    )  # fmt: skip
    source, wanted = role.progress_from, job.progress_from
    changed: dict[str, Any] = {
        "creation": creation, "edges": said.edges, "readiness": said.readiness, "restarts": said.restarts,
        "policy": said.policy, "stopping": said.stopping, "cleaning": said.cleaning, "forwards": said.forward,
        "progress_from": ProgressSource((*wanted.patterns, *source.patterns), wanted.file or source.file),
    }  # fmt: skip
    return msgspec.structs.replace(
        role, **{name: value for name, value in changed.items() if value is not None}
    )


def _counted(role: Role, said: RoleInfo, findings: Findings) -> tuple[int, int, int]:
    """Count, least and most, within the bounds of the framework."""
    bounds, at = role.count, Position(f"roles.{role.name}.count")
    count = bounds.default if said.count is None else said.count
    least = bounds.least if said.least is None else said.least
    most = bounds.most if said.most is None else said.most
    if not bounds.is_elastic and said.least is None:
        least = most = count
    if not bounds.is_elastic and (said.least is not None or said.most is not None):
        message = f"the count of {role.name} cannot change while it runs: {role.name} is not elastic"
        findings.add(Reason.CONTRADICTION, message, at, "give one number")
    elif not bounds.least <= count <= bounds.most:
        message = f"{role.name} has {bounds.least} … {bounds.most} instances, not {count}"
        findings.add(Reason.OUT_OF_RANGE, message, at)
    elif not bounds.least <= least <= count <= most <= bounds.most:
        message = f"{least} … {most} with {count} now does not go into {bounds.least} … {bounds.most}"
        findings.add(Reason.CONTRADICTION, message, at)
    return count, least, most
