"""How tasks reach the yard's services: with their own token, at the addresses that the agent knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from modelyard.amounts import CALLS_SERVICES
from modelyard.enclosure.order import IDENTITY
from services.agent.tasks.model import Task


class Reach(NamedTuple):
    """Where services are called."""

    addresses: Mapping[str, str]
    """endpoint (of the scheduler), store, graph, trainer, models."""
    ca_file: Callable[[], str]
    """Of the yard's authority, once the node has joined; empty: it speaks no TLS."""
    identity: Callable[[], str]
    """The node's own key and certificate; empty likewise."""

    def variables(self) -> dict[str, str]:
        """Of commands; their token is YARD_TASK_TOKEN."""
        found = {"YARD_MODELS": self.addresses["models"]}
        ca_file = self.ca_file()
        return {**found, "YARD_CA_FILE": ca_file} if ca_file else found

    def of_seat(self) -> dict[str, str]:
        """Of what may be dialled from other machines."""
        identity = self.identity()
        return {IDENTITY: identity} if identity else {}

    def of_operator(self, task: Task) -> dict[str, Any]:
        """A part of RunOperator."""
        if not task.body.label.startswith(CALLS_SERVICES):
            return {}
        return {"access": {**self.addresses, "token": task.token, "ca_file": self.ca_file()}}
