"""Restart policies of pods as restarts of the language. Pure."""

from __future__ import annotations

from typing import Any

from modelyard.documents.problems import Reason, shown
from modelyard.documents.section import Section
from modelyard.training.imports.source import changed

FAILURES = ["exit", "signal", "out_of_memory", "node_lost", "preempted", "hang"]
LOSSES = ["signal", "out_of_memory", "node_lost", "preempted", "hang"]
"""What an exit code of 128 or more stands for elsewhere."""


def restart_of(section: Section, policy: str, limit: int | None) -> dict[str, Any]:
    """Of `restartPolicy` and a bound for all of the job; empty: the framework's own way."""
    if policy in ("", "Always", "OnFailure"):
        if limit is None:
            if policy:
                message = "restarts have no bound there; the framework's own bound holds here"
                changed(section, "restartPolicy", message, "roles.<role>.restart: {max: -1}")
            return {}
        return {"when": FAILURES, "max": limit, "per": "job"}
    if policy == "Never":
        return {"when": [], "max": 0}
    if policy == "ExitCode":
        rules = [{"exit": "1-127", "do": "fail"}, {"exit": "128-255", "do": "restart"}]
        found: dict[str, Any] = {"when": LOSSES, "rules": rules}
        return found if limit is None else {**found, "max": limit, "per": "job"}
    section.wrong("restartPolicy", Reason.BAD_VALUE, f"{shown(policy)!r} is no restart policy",
                  "Always, OnFailure, Never or ExitCode")  # fmt: skip
    return {}
