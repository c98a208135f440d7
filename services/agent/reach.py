"""How tasks reach the models service: with their own token, at the address that the agent knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from services.agent.model import Task

OPERATORS = "model."
"""Operators that are given it begin so."""


class Reach(NamedTuple):
    """Where models are called."""

    models: str
    """host:port."""
    ca_file: Callable[[], str]
    """Of the yard's authority, once the node has joined; empty: it speaks no TLS."""

    def variables(self) -> dict[str, str]:
        """Of commands; their token is YARD_TASK_TOKEN."""
        found = {"YARD_MODELS": self.models}
        ca_file = self.ca_file()
        return {**found, "YARD_CA_FILE": ca_file} if ca_file else found

    def of_operator(self, task: Task) -> dict[str, Any]:
        """A part of RunOperator."""
        if not task.body.label.startswith(OPERATORS):
            return {}
        return {"models": {"endpoint": self.models, "token": task.token, "ca_file": self.ca_file()}}
