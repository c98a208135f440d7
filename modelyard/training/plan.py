"""A plan: a job with its framework, every role as it will be. What the controller keeps. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from modelyard.documents.problems import Findings, Position, Reason
from modelyard.training.evidence import signs_of
from modelyard.training.expressions import ExpressionError
from modelyard.training.forwards import Forwarded, numbered
from modelyard.training.framework import COUNT_MOST, Framework, ProgressSource, Role
from modelyard.training.job import Job, Placement, Resources, RoleInfo
from modelyard.training.plan_checks import check_plan
from modelyard.training.readiness import Dependency, Readiness, ReadinessKind, line_sign
from modelyard.training.rendering import Launch, RenderError, process_count, telling_stacks, with_surroundings
from modelyard.training.scope import Book, InstanceView, Meter, RoleFacts, RoleView, Surroundings, Table
from modelyard.training.status import condition

PLACES_MOST = COUNT_MOST
"""Instances of a job, all roles together."""


class PlannedRole(msgspec.Struct, frozen=True, kw_only=True):
    """A role as this job has it. `role` answers the function set, with what the job says laid over it."""

    role: Role
    count: int
    least: int
    most: int
    gang_least: int
    """How many must have a place before anybody starts."""
    processes: int
    resources: Resources
    placement: Placement

    @property
    def name(self) -> str:
        """The role's."""
        return self.role.name


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What is only known when a job has been taken."""

    id: str
    account: str = ""
    secret: str = ""
    restarts: int = 0
    checkpoint_dir: str = ""
    resume_from: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that follows from a job file and its framework."""

    job: Job
    framework: Framework
    """With the job's own policies laid over it."""
    params: Mapping[str, Any]
    roles: tuple[PlannedRole, ...]
    """All of the framework's, also those without instances."""

    def role(self, name: str) -> PlannedRole | None:
        """The role of that name."""
        return next((role for role in self.roles if role.name == name), None)

    @property
    def forwarded(self) -> dict[str, Forwarded]:
        """Roles whose instances have local addresses."""
        return numbered(
            (planned.name, tuple(port.name for port in planned.role.address()), planned.most)
            for planned in self.roles
            if planned.role.forwards
        )

    def edges(self, name: str) -> tuple[Dependency, ...]:
        """What instances of a role wait for; roles without instances are not waited for."""
        planned = self.role(name)
        if planned is None:
            return ()
        return tuple(
            self._explicit(edge) for edge in planned.role.depend()
            if (peer := self.role(edge.role)) is not None and peer.count
        )  # fmt: skip

    def _explicit(self, edge: Dependency) -> Dependency:
        """What the other role calls ready, where the edge asks for no more."""
        peer = self.role(edge.role)
        if edge.until.kind is not ReadinessKind.READY or peer is None:
            return edge
        return msgspec.structs.replace(edge, until=peer.role.ready())

    def signs(self, name: str) -> tuple[Readiness, ...]:
        """What has to be watched for at instances of a role: for its own readiness, for edges to it, as evidence, for
        what its rules of restarts say of lines."""
        planned = self.role(name)
        found = {} if planned is None else {planned.role.ready(): None}
        for other in self.roles:
            found.update({edge.until: None for edge in self.edges(other.name) if edge.role == name})
        found.update(dict.fromkeys(signs_of(self.job.evidence, name)))
        rules = planned.role.restarts.rules if planned is not None else ()
        found.update({line_sign(rule.log): None for rule in rules if rule.log})
        return tuple(found)

    def surroundings(
        self, identity: Identity, book: Book, counts: Mapping[str, int] | None = None
    ) -> Surroundings:
        """What expressions see; `counts`: by role, where it was scaled since."""
        now = {role.name: (counts or {}).get(role.name, role.count) for role in self.roles}
        ranked = [role for name in self.framework.ranks if (role := self.role(name)) is not None]
        facts, nodes, size = {}, 0, 0
        for role in self.roles:
            facts[role.name] = _facts(role, now[role.name])
        for role in ranked:
            facts[role.name] = msgspec.structs.replace(
                facts[role.name], first_rank=nodes, first_process_rank=size
            )
            nodes += now[role.name]
            size += now[role.name] * role.processes
        if not ranked:
            nodes = sum(now.values())
            size = sum(now[role.name] * role.processes for role in self.roles)
        job = {**msgspec.structs.asdict(identity), "name": self.job.name}
        return Surroundings(
            job=job,
            params=self.params,
            roles=facts,
            nodes=nodes,
            size=size,
            book=book,
            forwarded=self.forwarded,
        )

    def dressed(self, made: Launch, instance: InstanceView, at: Surroundings) -> Launch:
        """With what every instance of the job gets besides what its role says."""
        launch = with_surroundings(made, instance, at.job)
        return telling_stacks(launch) if self.job.hang.silent_s else launch

    def launch(self, at: Surroundings, name: str, index: int) -> Launch:
        """Processes and files of one instance. Raises `RenderError`."""
        planned = self.role(name)
        facts = at.roles.get(name)
        if planned is None or facts is None or not 0 <= index < facts.count:
            raise RenderError(f"there is no instance {name}[{index}]", "roles")
        own = at.book.get((name, index))
        at = msgspec.structs.replace(at, forward_port=own.forward_port if own is not None else 0)
        view = InstanceView(at, facts, index)
        try:
            return self.dressed(planned.role.create(view), view, at)
        except ExpressionError as error:
            raise RenderError(error.message, "create") from None


def _facts(role: PlannedRole, count: int) -> RoleFacts:
    resources = role.resources
    return RoleFacts(
        name=role.name, count=count, least=role.least, most=role.most, processes=role.processes, cpu=resources.cpu,
        memory_bytes=resources.memory_bytes, gpu=resources.gpu,
    )  # fmt: skip


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
        placement=said.placement or job.everyone.placement or Placement(),
    )  # fmt: skip
    facts = _facts(planned, count)
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
