"""A plan: a job with its framework, every role as it will be. What the controller keeps. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from modelyard.training.expressions.grammar import ExpressionError
from modelyard.training.frameworks.framework import Framework, Role
from modelyard.training.jobs.evidence import signs_of
from modelyard.training.jobs.job import Job, Placement, Resources
from modelyard.training.policies.readiness import Dependency, Readiness, ReadinessKind, line_sign
from modelyard.training.rendering.forwards import Forwarded, numbered
from modelyard.training.rendering.launches import Launch, RenderError, telling_stacks, with_surroundings
from modelyard.training.rendering.scope import Book, InstanceView, RoleFacts, Surroundings


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
    image: str = ""
    """Of containers in which its processes run; empty: without."""

    @property
    def name(self) -> str:
        """The role's."""
        return self.role.name

    def facts(self, count: int) -> RoleFacts:
        """What templates may ask of it, with so many instances."""
        resources = self.resources
        return RoleFacts(
            name=self.name, count=count, least=self.least, most=self.most, processes=self.processes,
            cpu=resources.cpu, memory_bytes=resources.memory_bytes, gpu=resources.gpu,
        )  # fmt: skip


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
            facts[role.name] = role.facts(now[role.name])
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
