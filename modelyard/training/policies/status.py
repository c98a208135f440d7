"""Two policies: a role's state from its instances, the job's outcome from its roles (S3.9). Pure.

Both are functions of the present alone, so the order of events does not matter; that an outcome stays is the
controller's (it is written once).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import Enum

import msgspec

from modelyard.training.policies.quorum import ALL, ANY, Quorum


class RoleState(Enum):
    WAITING = "WAITING"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    RESTARTING = "RESTARTING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


class Outcome(Enum):
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class RolePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The first policy. `is_endless`: instances never succeed by themselves; at the end they are stopped."""

    succeeded: Quorum = ALL
    failed: Quorum = ANY
    running: Quorum = ALL
    is_endless: bool = False


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """A role's instances by what they are; `failed` are those that are not tried again."""

    waiting: int = 0
    starting: int = 0
    running: int = 0
    restarting: int = 0
    """Backing off, or being stopped to start again."""
    stopping: int = 0
    succeeded: int = 0
    failed: int = 0
    stopped: int = 0
    first_running: bool = False
    first_succeeded: bool = False
    first_failed: bool = False

    @property
    def total(self) -> int:
        """All of them."""
        ended = self.succeeded + self.failed + self.stopped
        return self.waiting + self.starting + self.running + self.restarting + self.stopping + ended


def role_state(policy: RolePolicy, counts: Counts) -> RoleState:
    """Success goes first: what the policy calls success stands whatever becomes of the others."""
    total = counts.total
    if not total:
        return RoleState.STOPPED
    if not policy.is_endless and policy.succeeded.is_met(counts.succeeded, total, counts.first_succeeded):
        return RoleState.SUCCEEDED
    if counts.failed and policy.failed.is_met(counts.failed, total, counts.first_failed):
        return RoleState.FAILED
    if counts.restarting:
        return RoleState.RESTARTING
    if counts.stopped == total:
        return RoleState.STOPPED
    up = counts.running + counts.succeeded
    if up and policy.running.is_met(up, total, counts.first_running or counts.first_succeeded):
        return RoleState.RUNNING
    return RoleState.WAITING if counts.waiting == total else RoleState.STARTING


class Condition(msgspec.Struct, frozen=True):
    """`chief`, `all(master, worker)`, `any(chief, all(ps, worker))`."""

    operator: str
    """"role", "all" or "any"."""
    role: str = ""
    parts: tuple[Condition, ...] = ()

    def __str__(self) -> str:
        return self.role if self.operator == "role" else f"{self.operator}({', '.join(map(str, self.parts))})"

    @classmethod
    def over(cls, operator: str, roles: Iterable[str]) -> Condition:
        """All, or any, of these roles."""
        return cls(operator, "", tuple(cls("role", role) for role in roles))

    def roles(self) -> Iterator[str]:
        """Those that it names."""
        if self.role:
            yield self.role
        for part in self.parts:
            yield from part.roles()

    def holds(self, is_true: Callable[[str], bool], present: Collection[str]) -> bool:
        """Roles without instances are left out; where none is left it does not hold."""
        if self.operator == "role":
            return self.role in present and is_true(self.role)
        parts = [part for part in self.parts if any(role in present for role in part.roles())]
        found = [part.holds(is_true, present) for part in parts]
        return bool(found) and (all(found) if self.operator == "all" else any(found))


class JobPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The second policy."""

    succeeded: Condition = Condition("all")
    failed: Condition = Condition("any")


def job_state(policy: JobPolicy, roles: Mapping[str, RoleState]) -> Outcome | None:
    """None: not decided. `roles` holds those that have instances."""
    if policy.succeeded.holds(lambda role: roles[role] is RoleState.SUCCEEDED, roles):
        return Outcome.SUCCEEDED
    if policy.failed.holds(lambda role: roles[role] is RoleState.FAILED, roles):
        return Outcome.FAILED
    return None


def condition(text: str, roles: Collection[str]) -> Condition:
    """Reads one; "all" and "any" alone stand for all of `roles`. Raises ValueError that says what is wrong."""
    if len(text) > 500:
        raise ValueError("it has more than 500 characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"{text[:60]!r} cannot be read; write for example: all(master, worker)") from None
    return _condition(tree, tuple(roles), 0)


def _condition(node: ast.expr, roles: tuple[str, ...], depth: int) -> Condition:
    if depth > 20:
        raise ValueError("it is more than 20 levels deep")
    if isinstance(node, ast.Name) and node.id in ("all", "any") and node.id not in roles:
        return Condition.over(node.id, roles)
    if isinstance(node, ast.Name):
        if node.id not in roles:
            raise LookupError(node.id)
        return Condition("role", node.id)
    is_call = (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords and node.args
    )
    if not is_call or node.func.id not in ("all", "any"):  # type: ignore[attr-defined]
        raise ValueError("it names roles, all(…) and any(…) only")
    assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return Condition(node.func.id, "", tuple(_condition(part, roles, depth + 1) for part in node.args))
