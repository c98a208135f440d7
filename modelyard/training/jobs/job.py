"""A job: a framework's id and what is to be known of its roles (S3.1). Frozen values; `jobfile` reads them. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from modelyard.training.expressions.templates import Template
from modelyard.training.frameworks.framework import ProgressSource
from modelyard.training.policies.conduct import Clean, Stop
from modelyard.training.policies.readiness import Dependency, Readiness
from modelyard.training.policies.restarts import Restart
from modelyard.training.policies.status import RolePolicy
from modelyard.training.rendering.creation import File


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What each instance holds."""

    cpu: float = 1.0
    memory_bytes: int = 0
    gpu: float = 0.0
    custom: tuple[tuple[str, float], ...] = ()


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where instances may go."""

    node: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    pool: str = ""
    policy: str = ""
    """"least-loaded", "binpack", "spread"; empty: the scheduler's."""
    distinct_nodes: bool = False


class RoleInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a job says of one role; None: the framework's."""

    name: str
    count: int | None = None
    least: int | None = None
    most: int | None = None
    argv: tuple[Template, ...] = ()
    env: tuple[tuple[str, Template], ...] = ()
    files: tuple[File, ...] = ()
    stdin: Template | None = None
    resources: Resources | None = None
    placement: Placement | None = None
    edges: tuple[Dependency, ...] | None = None
    readiness: Readiness | None = None
    restarts: Restart | None = None
    policy: RolePolicy | None = None
    stopping: Stop | None = None
    cleaning: Clean | None = None
    imports: tuple[str, ...] = ()
    forward: bool | None = None
    """Whether its instances have local addresses."""
    image: str = ""
    """Of containers in which its processes run; empty: the job's, or none."""


class PeerPolicy(Enum):
    """What follows where those who start together cannot reach each other."""

    FAIL = "fail"
    WAIT = "wait"
    WARN = "warn"
    OFF = "off"
    """Nobody tries."""


class Gang(msgspec.Struct, frozen=True, kw_only=True):
    """Who must have a place before anybody starts."""

    least: tuple[tuple[str, int], ...] = ()
    """By role; empty: everybody, of elastic roles their least count."""
    wait_s: float = 0.0
    """After which all are given up and the job goes behind those of its priority; 0: never."""
    check: PeerPolicy = PeerPolicy.FAIL


class LogEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """A line that must have been written; `role` empty: by any instance."""

    pattern: str
    role: str = ""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What must be there besides exit codes."""

    artifacts: tuple[str, ...] = ()
    """Globs below some instance's directory, each with at least one file that is not empty."""
    log: tuple[LogEvidence, ...] = ()
    metrics: tuple[Readiness, ...] = ()


class Hang(msgspec.Struct, frozen=True, kw_only=True):
    """Silent, idle and without progress for so long: stacks are saved, then the cause is `hang`; 0: never."""

    silent_s: float = 0.0
    cpu_below: float = 0.02
    """Cores."""


class Checkpoints(msgspec.Struct, frozen=True, kw_only=True):
    """A directory that outlives restarts; the newest valid one in it is handed on."""

    directory: str = ""
    """Below the instance's own, or absolute: on a file system that every node has."""
    match: str = ""
    """Glob of the names that count; empty: all."""
    marker: str = ""
    """A file of this name within a directory says that it is complete."""
    settle_s: float = 1.0
    """So long unchanged, and closed."""
    keep_last: int = 0
    keep_best: int = 0
    metric: str = ""
    is_lower_better: bool = True

    @property
    def is_shared(self) -> bool:
        """Nothing of it is stored or removed: it is everybody's."""
        return self.directory.startswith("/")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job file."""

    framework: str
    framework_version: int = 0
    """0: the latest."""
    name: str = ""
    queue: str = ""
    priority: int = 0
    params: tuple[tuple[str, Any], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    roles: tuple[RoleInfo, ...] = ()
    everyone: RoleInfo = RoleInfo(name="")
    """What holds for every role that says nothing else: argv, env, resources, placement."""
    requirements: str = ""
    """The Python environment: a requirements file's text; of roles without an image."""
    image: str = ""
    """Of containers in which processes of roles run that name none of their own; empty: without."""
    gang: Gang = Gang()
    deadline_s: float = 0.0
    ttl_s: float | None = None
    suspended: bool = False
    preemptible: bool = False
    evidence: Evidence = Evidence()
    hang: Hang = Hang()
    checkpoints: Checkpoints = Checkpoints()
    progress_from: ProgressSource = ProgressSource()
    """Beside what the framework reads; a file instead of the framework's."""
    succeeded: str = ""
    """The second policy, in words; empty: the framework's."""
    failed: str = ""

    def role(self, name: str) -> RoleInfo | None:
        """What it says of a role."""
        return next((role for role in self.roles if role.name == name), None)
