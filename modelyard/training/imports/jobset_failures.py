"""When a JobSet's failures are restarted: pods by their job's back-off, then all of it, by rules. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec

from modelyard.documents.problems import Reason, shown, suggestion
from modelyard.documents.section import Section
from modelyard.training.imports.failures import FAILURES
from modelyard.training.imports.source import changed, dropped, inner, listed, rest

_RESTARTS = {
    "RestartJobSet": ("job", True), "RestartJobSetAndIgnoreMaxRestarts": ("job", False),
    "RestartJob": ("one", True), "RestartJobAndIgnoreMaxRestarts": ("one", False),
}  # fmt: skip
"""Whose restart an action is, and whether it is counted."""
_PODS = ("BackoffLimitExceeded", "PodFailurePolicy")
"""Reasons for which a job fails that are failures of its pods."""
BACKOFF_LIMIT = 6
"""Of jobs that say nothing else."""


class Failures(msgspec.Struct, kw_only=True):
    """What is said of a whole JobSet."""

    most: int = 0
    actions: dict[tuple[str, str], str] = {}
    """By replicated job and reason, where a rule says so."""

    def action(self, name: str, reason: str) -> str:
        """What follows when one of its jobs has failed for such a reason."""
        return self.actions.get((name, reason), "RestartJobSet")


def failures(spec: Section, names: list[str]) -> Failures:
    """Of `failurePolicy`."""
    policy = inner(spec, "failurePolicy")
    found = Failures(most=policy.integer("maxRestarts", 0, 0, 100_000))
    for section in listed(policy, "rules", 50):
        action = section.word("action")
        if action != "FailJobSet" and action not in _RESTARTS:
            section.wrong(
                "action",
                Reason.BAD_VALUE,
                f"{shown(action)!r} is no action",
                suggestion(action, [*_RESTARTS, "FailJobSet"]),
            )
        reasons = section.texts("onJobFailureReasons")
        targets = section.texts("targetReplicatedJobs") or tuple(names)
        for name in targets:
            if name not in names:
                section.wrong(
                    "targetReplicatedJobs",
                    Reason.UNKNOWN_ROLE,
                    f"there is no {shown(name)!r}",
                    suggestion(name, names),
                )
        if reasons and not set(reasons) & set(_PODS):
            dropped(
                section,
                "onJobFailureReasons",
                f"there is no such failure of an instance: {shown(', '.join(reasons))}",
            )
        else:
            for name in targets:
                for reason in _PODS:
                    if not reasons or reason in reasons:
                        found.actions.setdefault((name, reason), action)
        section.node_of("name")
        rest(section, {"onJobFailureMessagePatterns": "roles.<role>.restart: {rules: [{log: …, do: fail}]}"})
    # How pods are made anew does not matter here: a restart is a stop and a launch in the same place.
    policy.node_of("restartStrategy")
    rest(policy)
    return found


def restart(job: Section, name: str, parallel: int, policy: Failures) -> dict[str, Any]:
    """Of one role."""
    backoff = job.integer("backoffLimit", BACKOFF_LIMIT, 0, 100_000)
    rules = _rules(job, _then(policy, name, "PodFailurePolicy", parallel))
    then = _then(policy, name, "BackoffLimitExceeded", parallel)
    if then:
        if backoff and "backoffLimit" in job:
            message = "a pod that fails is not restarted by itself first: what the rules say happens at once"
            changed(job, "backoffLimit", message, "roles.<role>.restart: {scope: instance}")
        found: dict[str, Any] = {"when": FAILURES, **then, "per": "job"}
    elif backoff:
        found = {"when": FAILURES, "scope": "instance", "max": backoff, "per": "role"}
    else:
        found = {"when": [], "max": 0}
    return {**found, "rules": rules} if rules else found


def _then(policy: Failures, name: str, reason: str, parallel: int) -> dict[str, Any]:
    """Scope and bound of the restart that follows; empty: the job fails."""
    whose, is_counted = _RESTARTS.get(policy.action(name, reason), ("", True))
    most = policy.most if is_counted else -1
    if not whose or not most:
        return {}
    return {"scope": "job" if whose == "job" else "instance" if parallel == 1 else "role", "max": most}


def _rules(job: Section, then: dict[str, Any]) -> list[dict[str, Any]]:
    """Of `podFailurePolicy`; `then`: what follows where it fails a job."""
    fails = {"do": "restart", "scope": then["scope"]} if then else {"do": "fail"}
    actions: dict[str, dict[str, Any]] = {"FailJob": fails, "FailIndex": {"do": "fail"}, "Count": {"do": "restart"},
               "Ignore": {"do": "restart", "counted": False}}  # fmt: skip
    found: list[dict[str, Any]] = []
    policy = inner(job, "podFailurePolicy")
    for section in listed(policy, "rules", 50):
        action = section.word("action")
        if action not in actions:
            section.wrong(
                "action", Reason.BAD_VALUE, f"{shown(action)!r} is no action", suggestion(action, actions)
            )
        elif "onExitCodes" in section:
            codes = _codes(inner(section, "onExitCodes"))
            if codes:
                found.append({"exit": codes, **actions[action]})
        else:
            if action != "Ignore":
                dropped(
                    section,
                    "onPodConditions",
                    "lost nodes and preemption are restarted, uncounted",
                    "roles.<role>.restart.uncounted",
                )
            section.node_of("onPodConditions")
        rest(section)
    rest(policy)
    return found


def _codes(section: Section) -> list[str]:
    """As rules of restarts write them."""
    values = sorted(
        {int(word) for word in section.texts("values", 255) if word.isdecimal() and int(word[:4]) <= 255}
    )
    operator = section.word("operator", "In")
    section.node_of("containerName")
    rest(section)
    if operator == "In":
        return [str(value) for value in values if value]
    edges = [0, *values, 256]
    spans = [(low + 1, high - 1) for low, high in pairwise(edges) if low + 1 <= high - 1]
    return [f"{low}-{high}" if low < high else str(low) for low, high in spans]
