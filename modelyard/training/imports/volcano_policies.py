"""What a Volcano job does when something happens to a pod or a task. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from modelyard.documents.problems import Reason, shown, suggestion
from modelyard.documents.section import Section
from modelyard.training.imports.source import changed, dropped, listed, rest

_SCOPES = {"RestartJob": "job", "RestartTask": "role", "RestartPod": "instance", "RestartPartition": "role"}
_ENDS = ("AbortJob", "TerminateJob", "CompleteJob")
_FAILED = ("PodFailed", "TaskFailed", "*")
_EVICTED = ("PodEvicted", "*")
_KNOWN = ("*", "PodFailed", "PodEvicted", "PodPending", "PodRunning", "TaskCompleted", "TaskFailed", "Unknown",
          "OutOfSync", "CommandIssued", "JobUpdated")  # fmt: skip
_OF_PODS = ["exit", "signal", "out_of_memory", "hang"]
_OF_NODES = ["node_lost", "preempted"]


class Policy(msgspec.Struct, frozen=True):
    """One of them."""

    action: str
    events: tuple[str, ...] = ()
    exit_code: int = 0


def policies(holder: Section) -> list[Policy]:
    """Of a job or a task; those that mean nothing here are told."""
    found = []
    for section in listed(holder, "policies", 50):
        action = section.word("action")
        events = tuple(filter(None, (section.word("event"), *section.texts("events", 20))))
        code = section.integer("exitCode", 0, 1, 255) if "exitCode" in section else 0
        unknown = [event for event in events if event not in _KNOWN]
        if action not in _SCOPES and action not in _ENDS:
            known = [*_SCOPES, *_ENDS]
            section.wrong(
                "action", Reason.BAD_VALUE, f"{shown(action)!r} is no action", suggestion(action, known)
            )
        elif unknown:
            name = "event" if "event" in section else "events"
            section.wrong(
                name, Reason.BAD_VALUE, f"{shown(unknown[0])!r} is no event", suggestion(unknown[0], _KNOWN)
            )
        else:
            found.append(Policy(action, events, code))
            _tell(section, found[-1])
        rest(section, {"timeout": "gang: {wait: 2m}, or a role's restart: {backoff: [1s, 1m]}"})
    return found


def _tell(section: Section, policy: Policy) -> None:
    """What it does not come to."""
    name = "event" if "event" in section else "events"
    if policy.exit_code and policy.action == "CompleteJob":
        changed(section, "action", "the instance counts as succeeded; the job goes on until its roles have")
    elif policy.events and not policy.exit_code:
        useful = set(policy.events) & {
            *_FAILED,
            *_EVICTED,
            *(["TaskCompleted"] if policy.action == "CompleteJob" else []),
        }
        if not useful and policy.events != ("Unknown",):
            dropped(
                section,
                name,
                f"{policy.action} at {shown(', '.join(policy.events))} is left out",
                "roles.<role>.restart",
            )
    if policy.action == "AbortJob":
        changed(
            section,
            "action",
            "the job fails; it is not resumed",
            "yard train suspend keeps one that goes on later",
        )
    if policy.action == "RestartPartition":
        changed(section, "action", "the whole role is restarted")


def completes(found: list[Policy]) -> bool:
    """Whether the end of a task ends the job well."""
    return any(policy.action == "CompleteJob" and "TaskCompleted" in policy.events for policy in found)


def restart(own: list[Policy], common: list[Policy], pod_policy: str, most: int) -> dict[str, Any]:
    """Of a task: its own policies go before the job's."""
    failed, evicted = _action(own, common, _FAILED), _action(own, common, _EVICTED)
    rules: list[dict[str, Any]] = []
    for policy in (*own, *common):
        if policy.exit_code:
            rules.append({"exit": str(policy.exit_code), **_does(policy.action)})
    if failed in _SCOPES:
        when, scope = list(_OF_PODS), _SCOPES[failed]
        if evicted == failed:
            when += _OF_NODES
        elif evicted in _SCOPES:
            rules.append({"cause": _OF_NODES, **_does(evicted)})
    elif evicted in _SCOPES:
        when, scope = list(_OF_NODES), _SCOPES[evicted]
    elif not failed and pod_policy in ("Always", "OnFailure"):
        when, scope = [*_OF_PODS, *_OF_NODES], "instance"
    else:
        when, scope = [], ""
    found: dict[str, Any] = {"when": when, "max": most if when or rules else 0, "per": "job"}
    if scope:
        found["scope"] = scope
    # Volcano counts every restart.
    if when or rules:
        found["uncounted"] = []
    return {**found, "rules": rules} if rules else found


def _does(action: str) -> dict[str, Any]:
    if action in _SCOPES:
        return {"do": "restart", "scope": _SCOPES[action]}
    return {"do": "succeed" if action == "CompleteJob" else "fail"}


def _action(own: list[Policy], common: list[Policy], events: tuple[str, ...]) -> str:
    """The first that is about one of these events; empty: none is."""
    for policy in (*own, *common):
        if not policy.exit_code and set(policy.events) & set(events):
            return policy.action
    return ""
