"""A framework: roles with their function sets, parameters, and how the job's status follows (S3.2).

These frozen values are the one interface. YAML is compiled to them (`definition`); a plug-in makes them itself, and may
subclass `Role` to answer a function by code. A role's function set are its methods create, address, depend, ready,
restart, status, progress, stop and clean; each answers from the role's data unless it is overridden. All are pure, are
called with a time limit, and get views that they cannot change. Pure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.training.expressions.patterns import groups
from modelyard.training.policies.conduct import Clean, Progress, Stop
from modelyard.training.policies.readiness import Dependency, Probe, Readiness, ReadinessKind
from modelyard.training.policies.restarts import Ending, Purse, Restart, Verdict, decide
from modelyard.training.policies.status import (
    Condition,
    Counts,
    JobPolicy,
    Outcome,
    RolePolicy,
    RoleState,
    job_state,
    role_state,
)  # fmt: skip
from modelyard.training.rendering.creation import Create
from modelyard.training.rendering.launches import Launch, made

if TYPE_CHECKING:
    from modelyard.training.rendering.scope import InstanceView

COUNT_MOST = 10_000
"""Instances of a job."""


class ParamType(Enum):
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DURATION = "duration"


class Param(msgspec.Struct, frozen=True):
    """What a job may set. Durations are numbers of seconds."""

    name: str
    type: ParamType = ParamType.STRING
    default: Any = None
    is_required: bool = False
    summary: str = ""
    choices: tuple[Any, ...] = ()
    least: float | None = None
    most: float | None = None


class Port(msgspec.Struct, frozen=True):
    """A port of every instance: leased by its agent, any free one, or one of `low` … `high`."""

    name: str
    low: int = 0
    high: int = 0


class Count(msgspec.Struct, frozen=True):
    """How many instances a role has; `is_elastic`: it may change while the job runs."""

    default: int = 1
    least: int = 0
    most: int = COUNT_MOST
    is_elastic: bool = False


class ProgressSource(msgspec.Struct, frozen=True):
    """Where progress is read without a call: lines that match, or a file of JSON lines.

    Groups of a pattern are named step, total, epoch, ratio, or as the metric.
    """

    patterns: tuple[str, ...] = ()
    file: str = ""


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """Instances that are alike, and their function set."""

    name: str
    summary: str = ""
    count: Count = Count()
    ports: tuple[Port, ...] = ()
    forwards: bool = False
    """Its instances have local addresses at all others, which follow them (`forwards`)."""
    creation: Create = Create()
    edges: tuple[Dependency, ...] = ()
    readiness: Readiness = Readiness(kind=ReadinessKind.STARTED)
    restarts: Restart = Restart()
    policy: RolePolicy = RolePolicy()
    progress_from: ProgressSource = ProgressSource()
    stopping: Stop = Stop()
    cleaning: Clean = Clean()
    coded: frozenset[str] = frozenset()
    """Functions that a package answers where its code runs: see `coded`."""

    @property
    def has_command(self) -> bool:
        """Whether instances know what to run: by a command, or by code."""
        return bool(self.creation.argv) or "create" in self.coded or type(self).create is not Role.create

    def address(self) -> tuple[Port, ...]:
        """The communication service of each instance (S3.7)."""
        return self.ports

    def depend(self) -> tuple[Dependency, ...]:
        """What must be true of other roles before an instance starts (S3.5)."""
        return self.edges

    def create(self, instance: InstanceView) -> Launch:
        """Processes and files of one instance (S3.3); ranks count `creation.processes`. Raises `RenderError`."""
        return made(self.creation, instance)

    def ready(self) -> Readiness:
        """What makes an instance ready for dependents that ask for no more."""
        return self.readiness

    def check(self, function: str, instance: InstanceView, probe: Probe) -> bool | Awaitable[bool]:
        """Readiness by code, for signs of the kind `function`: asked about every second until it says yes. May be
        `async`; `probe` looks at the instance from where the code runs."""
        raise LookupError(f"the role {self.name} has no function {function}")

    def restart(self, ending: Ending, purse: Purse) -> Verdict:
        """What follows an end (S3.8)."""
        return decide(self.restarts, ending, purse)

    def status(self, counts: Counts) -> RoleState:
        """The first policy (S3.9)."""
        return role_state(self.policy, counts)

    def progress(self, line: str) -> Progress | None:
        """What a line of output says; None: nothing."""
        for pattern in self.progress_from.patterns:
            if found := groups(pattern, line):
                return Progress.of(found)
        return None

    def stop(self) -> Stop:
        """How an instance is asked to end."""
        return self.stopping

    def clean(self) -> Clean:
        """What becomes of instances when the job's outcome is decided, and what is kept (S3.10)."""
        return self.cleaning


class Framework(msgspec.Struct, frozen=True, kw_only=True):
    """What a training controller has to know."""

    id: str
    roles: tuple[Role, ...]
    version: int = 0
    summary: str = ""
    params: tuple[Param, ...] = ()
    ranks: tuple[str, ...] = ()
    """Roles in the order of the ranks of their processes; the others have none."""
    job_status: JobPolicy = JobPolicy()
    ttl_s: float = 86_400.0
    source: str = ""
    """The definition's text; empty: made by code."""
    coded: frozenset[str] = frozenset()
    """"status": the second policy is a package's code; see `coded`."""

    def __post_init__(self) -> None:
        """Where it is not said, all roles that may end must succeed, and any may fail the job."""
        status, ends = self.job_status, [role.name for role in self.roles if not role.policy.is_endless]
        if not status.succeeded.parts and not status.succeeded.role:
            status = msgspec.structs.replace(status, succeeded=Condition.over("all", ends))
        if not status.failed.parts and not status.failed.role:
            status = msgspec.structs.replace(status, failed=Condition.over("any", self.role_names))
        msgspec.structs.force_setattr(self, "job_status", status)

    def role(self, name: str) -> Role | None:
        """The role of that name."""
        return next((role for role in self.roles if role.name == name), None)

    @property
    def role_names(self) -> tuple[str, ...]:
        """In the order of the definition."""
        return tuple(role.name for role in self.roles)

    def status(self, roles: Mapping[str, RoleState]) -> Outcome | None:
        """The second policy (S3.9): the job's outcome; None: not decided."""
        return job_state(self.job_status, roles)
