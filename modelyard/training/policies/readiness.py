"""What must be true of an instance before others go on, and when an edge between roles is met (S3.5, S3.6). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Protocol

import msgspec

from modelyard.training.policies.quorum import ALL, Quorum


class ReadinessKind(Enum):
    READY = "ready"
    """What the role itself calls ready; never of an edge of a plan."""
    ADDRESS = "address"
    STARTED = "started"
    LISTENING = "listening"
    HTTP = "http"
    LOG = "log"
    FILE = "file"
    METRIC = "metric"
    SUCCEEDED = "succeeded"
    FUNCTION = "function"


WATCHED = frozenset({ReadinessKind.LISTENING, ReadinessKind.HTTP, ReadinessKind.LOG, ReadinessKind.FILE})
"""Kinds for which the instance's agent watches."""


class Readiness(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sign. Which fields count depends on the kind."""

    kind: ReadinessKind
    port: str = ""
    path: str = ""
    is_filled: bool = False
    """Of a file: it is a regular one that is not empty, once the processes have ended."""
    pattern: str = ""
    metric: str = ""
    comparison: str = ""
    """One of "<", "<=", ">", ">=" or "=="."""
    value: float = 0.0
    function: str = ""

    @property
    def detail(self) -> str:
        """What the kind leaves open, as it was written."""
        if self.kind is ReadinessKind.METRIC:
            return f"{self.metric} {self.comparison} {self.value:g}"
        if self.kind is ReadinessKind.HTTP:
            return f"{self.port}{self.path}"
        return self.port or self.path or self.pattern or self.function


def line_sign(pattern: str) -> Readiness:
    """A line of output that matches."""
    return Readiness(kind=ReadinessKind.LOG, pattern=pattern)


class OnTimeout(Enum):
    FAIL = "fail"
    START_ANYWAY = "start_anyway"


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    """An edge: instances of a role wait until enough instances of another show the sign."""

    role: str
    until: Readiness = Readiness(kind=ReadinessKind.READY)
    quorum: Quorum = ALL
    timeout_s: float = 0.0
    """0: as long as the job lasts."""
    on_timeout: OnTimeout = OnTimeout.FAIL

    @property
    def is_start_edge(self) -> bool:
        """Whether the other role must have started; edges on addresses are met by having a place."""
        return self.until.kind is not ReadinessKind.ADDRESS


class Probe(Protocol):
    """What a function that judges readiness may use, besides its view. Answers within a second each."""

    async def connects(self, host: str, port: int) -> bool:
        """Whether something takes connections there."""
        ...

    async def status(self, host: str, port: int, path: str = "/") -> int:
        """Of GET by HTTP; 0: there was no answer."""
        ...


class Facts(msgspec.Struct, frozen=True):
    """What is known of one instance in its present epoch."""

    is_placed: bool = False
    is_started: bool = False
    is_succeeded: bool = False
    seen: frozenset[Readiness] = frozenset()
    """Signs that its agent, or a plug-in's function, has seen."""
    metrics: Mapping[str, float] = {}


def shows(facts: Facts, sign: Readiness) -> bool:
    """Whether the sign is true of an instance. An instance that has succeeded was started."""
    kind = sign.kind
    if kind is ReadinessKind.ADDRESS:
        return facts.is_placed
    if kind is ReadinessKind.STARTED:
        return facts.is_started or facts.is_succeeded
    if kind is ReadinessKind.SUCCEEDED:
        return facts.is_succeeded
    if kind is ReadinessKind.METRIC:
        return sign.metric in facts.metrics and _compares(facts.metrics[sign.metric], sign)
    return sign in facts.seen


def is_met(edge: Dependency, peers: Sequence[Facts]) -> bool:
    """Whether enough of a role's instances, in the order of their indexes, show the edge's sign."""
    shown = [shows(facts, edge.until) for facts in peers]
    return edge.quorum.is_met(sum(shown), len(shown), bool(shown) and shown[0])


def unmet(edge: Dependency, peers: Sequence[Facts]) -> list[int]:
    """Indexes of the instances that do not show it yet."""
    return [index for index, facts in enumerate(peers) if not shows(facts, edge.until)]


def _compares(value: float, sign: Readiness) -> bool:
    return {
        "<": value < sign.value,
        "<=": value <= sign.value,
        ">": value > sign.value,
        ">=": value >= sign.value,
        "==": value == sign.value,
    }[sign.comparison]


_METRIC = re.compile(
    r"\s*([A-Za-z_][A-Za-z0-9_./-]{0,99})\s*(<=|>=|==|<|>)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*"
)


def metric_sign(text: str) -> Readiness:
    """Of "accuracy >= 0.9". Raises ValueError that says how to write it."""
    found = _METRIC.fullmatch(text)
    try:
        value = float(found[3]) if found else None
    except ValueError:
        value = None
    if found is None or value is None:
        raise ValueError(f"{text[:60]!r} is no condition; write for example: accuracy >= 0.9")
    return Readiness(kind=ReadinessKind.METRIC, metric=found[1], comparison=found[2], value=value)


def cycle(edges: Mapping[str, Iterable[Dependency]]) -> list[str]:
    """Roles that wait for each other to start, in order; none: everybody can start. Edges on addresses are no cycle."""
    starts = {role: [edge.role for edge in each if edge.is_start_edge] for role, each in edges.items()}
    done: set[str] = set()
    for root in starts:
        path: list[str] = []
        stack = [(root, iter(starts[root]))] if root not in done else []
        if stack:
            path.append(root)
        while stack:
            other = next(stack[-1][1], None)
            if other is None:
                stack.pop()
                done.add(path.pop())
            elif other in path:
                return [*path[path.index(other) :], other]
            elif other in starts and other not in done:
                path.append(other)
                stack.append((other, iter(starts[other])))
    return []
