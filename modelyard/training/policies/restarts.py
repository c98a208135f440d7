"""What follows when an instance ends: rules, scope, budget, back-off (S3.8). Pure."""

from __future__ import annotations

from enum import Enum

import msgspec


class Cause(Enum):
    """The same words as the contract's ExitCause."""

    SUCCESS = "success"
    EXIT = "exit"
    SIGNAL = "signal"
    OUT_OF_MEMORY = "out_of_memory"
    NODE_LOST = "node_lost"
    PREEMPTED = "preempted"
    HANG = "hang"
    SETUP = "setup"
    NOT_READY = "not_ready"
    NO_EVIDENCE = "no_evidence"
    STOPPED = "stopped"


class ScopeKind(Enum):
    INSTANCE = "instance"
    ROLE = "role"
    ROLES = "roles"
    JOB = "job"


class RestartScope(msgspec.Struct, frozen=True):
    """Who is stopped and started again."""

    kind: ScopeKind = ScopeKind.JOB
    roles: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ",".join(self.roles) if self.kind is ScopeKind.ROLES else self.kind.value


class Per(Enum):
    """Whose purse pays."""

    INSTANCE = "instance"
    ROLE = "role"
    JOB = "job"


class Action(Enum):
    RESTART = "restart"
    FAIL = "fail"
    SUCCEED = "succeed"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """The first rule that matches decides. What it leaves empty matches everything."""

    causes: frozenset[Cause] = frozenset()
    exit_codes: tuple[tuple[int, int], ...] = ()
    """Ranges, both ends included."""
    signals: frozenset[int] = frozenset()
    log: str = ""
    action: Action = Action.RESTART
    scope: RestartScope | None = None
    is_counted: bool = True
    avoid_node: bool = False

    def matches(self, ending: Ending) -> bool:
        """Whether it is about such an end."""
        if self.causes and ending.cause not in self.causes:
            return False
        if self.exit_codes and not (
            ending.cause is Cause.EXIT
            and any(low <= ending.exit_code <= high for low, high in self.exit_codes)
        ):
            return False
        if self.signals and ending.signal not in self.signals:
            return False
        return not self.log or self.log in ending.matched


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """A role's way with failures."""

    when: frozenset[Cause] = frozenset({Cause.NODE_LOST, Cause.PREEMPTED})
    scope: RestartScope = RestartScope()
    most: int = 0
    """Counted restarts of one purse; −1: without bound."""
    per: Per = Per.JOB
    backoff_s: float = 1.0
    backoff_most_s: float = 30.0
    uncounted: frozenset[Cause] = frozenset({Cause.NODE_LOST, Cause.PREEMPTED})
    reset_after_s: float = 0.0
    """A purse is full again when nothing was taken from it for so long; 0: never."""
    rules: tuple[Rule, ...] = ()
    may_move: bool = True
    """Whether a restarted instance may come back at another address; if not, a lost one restarts the whole job."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How an instance ended."""

    cause: Cause
    exit_code: int = 0
    signal: int = 0
    matched: frozenset[str] = frozenset()
    """Patterns of rules that a line of its output has matched."""


class Purse(msgspec.Struct, frozen=True, kw_only=True):
    """What has been spent on restarts."""

    used: int = 0
    in_a_row: int = 0
    """Restarts, counted or not, since it was last reset: the back-off grows with it."""
    since_last_s: float = 0.0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done. `purse` is what is left in the budget afterwards; written before anything is done (I3)."""

    action: Action
    reason: str
    scope: RestartScope = RestartScope(ScopeKind.INSTANCE)
    delay_s: float = 0.0
    is_counted: bool = False
    avoid_node: bool = False
    purse: Purse = Purse()


def decide(policy: Restart, ending: Ending, purse: Purse) -> Verdict:
    """What follows an end. The same end with the same purse gives the same verdict."""
    rule = next((rule for rule in policy.rules if rule.matches(ending)), None)
    if ending.cause is Cause.SUCCESS and rule is None:
        return Verdict(action=Action.SUCCEED, reason="SUCCESS", purse=purse)
    action = rule.action if rule else Action.RESTART if ending.cause in policy.when else Action.FAIL
    avoids = rule is not None and rule.avoid_node
    if action is not Action.RESTART:
        reason = "RULE" if rule else ending.cause.value.upper()
        return Verdict(action=action, reason=reason, avoid_node=avoids, purse=purse)
    if policy.reset_after_s and purse.since_last_s >= policy.reset_after_s:
        purse = Purse()
    is_counted = ending.cause not in policy.uncounted and (rule is None or rule.is_counted)
    if is_counted and 0 <= policy.most <= purse.used:
        return Verdict(action=Action.FAIL, reason="RESTART_BUDGET", avoid_node=avoids, purse=purse)
    scope = (rule.scope if rule else None) or policy.scope
    if ending.cause is Cause.NODE_LOST and not policy.may_move:
        scope = RestartScope(ScopeKind.JOB)
    # 2**30 s is beyond every bound; the exponent must not grow for ever.
    delay_s = min(policy.backoff_s * 2 ** min(purse.in_a_row, 30), policy.backoff_most_s)
    spent = Purse(used=purse.used + is_counted, in_a_row=purse.in_a_row + 1)
    return Verdict(
        action=Action.RESTART, reason="RULE" if rule else ending.cause.value.upper(), scope=scope, delay_s=delay_s,
        is_counted=is_counted, avoid_node=avoids, purse=spent,
    )  # fmt: skip
