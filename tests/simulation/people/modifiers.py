"""Clients that change tasks: while they wait, and while they run (S0.7)."""

from __future__ import annotations

import msgspec

from services.scheduler.model import Spec
from services.scheduler.requests.modification import (
    PARAMS_JSON,
    PRIORITY,
    QUEUE_TIMEOUT,
    RESOURCES,
    RUN_TIMEOUT,
)
from services.scheduler.state import events as ev
from services.scheduler.state.task import Task
from tests.simulation.people.caller import Action, Caller
from tests.simulation.people.clients import Clients
from tests.simulation.workload import restate


class Modifiers:
    """They know what clients submitted, and look at a task before they change it."""

    def __init__(self, caller: Caller, clients: Clients) -> None:
        self.caller = caller
        self.kernel = caller.kernel
        self.clients = clients
        self._made = 0
        self.actions: list[Action] = [(4, self.reprioritise), (3, self.limit), (3, self.reparameterise)]
        self.actions.append((4, self.resize))

    def _draw_task(self) -> Task | None:
        keys = self.clients.keys[-40:]
        return self.caller.scheduler.state.tasks.get(self.kernel.random.choice(keys)) if keys else None

    def _ask(
        self,
        task: Task,
        paths: tuple[str, ...],
        params: str,
        waiting: Spec,
        running: Spec,
        fallbacks: tuple[tuple[tuple[str, ...], Spec], ...] = (),
    ) -> None:
        self._made += 1
        request_id, number, key = f"m-{self._made}", task.spec.number, task.key
        # A change that is based on what was seen is refused where the task has moved on since.
        revision = task.revision if self.kernel.chance(0.3) else 0

        def make(reply: int) -> ev.Event:
            content = repr((key, paths, params)).encode()
            return ev.ModifyRequested(
                reply, task.account, request_id, content, key, revision, paths, params, number, waiting, running,
                fallbacks=fallbacks,
            )  # fmt: skip

        self.caller.ask(make, lambda answer: None, 5)

    def reprioritise(self) -> None:
        """A task that waits changes its place; for one on a node it is too late, and says so."""
        task = self._draw_task()
        if task is not None:
            shape = msgspec.structs.replace(task.spec.shape, priority=self.kernel.random.choice((-5, 0, 5)))
            self._ask(task, (PRIORITY,), "", restate(task.spec, shape=shape), task.spec)

    def limit(self) -> None:
        """Times may be limited, or no longer, at any moment."""
        task = self._draw_task()
        if task is not None:
            run_ms = self.kernel.random.choice((0, 50, 2_000, 60_000))
            running = restate(task.spec, run_timeout_ms=run_ms)
            waiting = restate(running, queue_timeout_ms=self.kernel.random.choice((0, 5_000, 60_000)))
            self._ask(task, (QUEUE_TIMEOUT, RUN_TIMEOUT), "", waiting, running)

    def reparameterise(self) -> None:
        """Whoever runs hears of it, and may refuse."""
        task = self._draw_task()
        if task is not None:
            params = f'{{"rate":{self.kernel.random.randrange(1000)}}}'
            self._ask(task, (PARAMS_JSON,), params, task.spec, task.spec)

    def resize(self) -> None:
        """More room for a task, or less."""
        task = self._draw_task()
        if task is not None and not task.spec.shape.gang:
            amounts = dict(task.spec.shape.amounts)
            amounts["cpu"] = self.kernel.random.choice((5_000, 10_000, 20_000))
            shape = msgspec.structs.replace(task.spec.shape, amounts=tuple(sorted(amounts.items())))
            changed = restate(task.spec, shape=shape)
            self._ask(task, (RESOURCES,), "", changed, changed, (((RESOURCES,), task.spec),))
