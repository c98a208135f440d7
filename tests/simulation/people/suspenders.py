"""Clients that stop tasks where they are, and let them go on."""

from __future__ import annotations

import functools

from services.scheduler.model import TaskState
from services.scheduler.state import events as ev
from tests.simulation.people.caller import Action, Caller
from tests.simulation.people.clients import Clients


class Suspenders:
    """In the end everything goes on."""

    def __init__(self, caller: Caller, clients: Clients) -> None:
        self.caller = caller
        self.clients = clients
        self.actions: list[Action] = [(6, self.suspend), (8, self.resume)]

    def suspend(self) -> None:
        keys = self.clients.some_keys()
        self.caller.ask(lambda reply: ev.SuspendRequested(reply, keys), lambda answer: None, 3)

    def resume(self) -> None:
        keys = self.clients.some_keys()
        self.caller.ask(lambda reply: ev.ResumeRequested(reply, keys), lambda answer: None, 3)

    def tidy(self) -> None:
        tasks = self.caller.scheduler.state.tasks
        stopped = tuple(
            sorted(
                key
                for key, task in tasks.items()
                if task.wants_suspension or task.state is TaskState.SUSPENDED
            )
        )
        if stopped:
            self.caller.order(functools.partial(ev.ResumeRequested, keys=stopped))
