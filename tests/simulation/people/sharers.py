"""Administrators who say how accounts share the machines: queues, weights, quotas, stops; and change their minds."""

from __future__ import annotations

import functools

from services.scheduler.model import MAIN_QUEUE, Quota
from services.scheduler.queues.shares import AccountSettings, QueueSettings
from services.scheduler.state import events as ev
from tests.simulation.people.caller import Action, Caller
from tests.simulation.workload import ACCOUNTS, GIB, OTHER_QUEUE, UNIT

_QUEUE_PATHS = ("priority", "weight", "quota", "ageing_ms", "is_stopped")
_ACCOUNT_PATHS = ("weight", "quota")


class Sharers:
    """In the end nothing is stopped, and a gang is within every quota."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.kernel = caller.kernel
        self.actions: list[Action] = [(4, self.change_queue), (3, self.change_account)]

    def found(self) -> None:
        """The queue beside the main one; without it nothing can be submitted to it."""
        state = self.caller.scheduler.state
        if OTHER_QUEUE not in state.waiting.tenancy.queues:
            self.caller.order(functools.partial(ev.QueueCreated, name=OTHER_QUEUE, settings=QueueSettings()))
        self.kernel.after(500_000, self.found)

    def _draw_quota(self) -> Quota:
        rng = self.kernel.random
        limit = rng.choice(((), (), (("cpu", 3 * UNIT),), (("cpu", 5 * UNIT), ("memory", 2 * GIB))))
        guaranteed = rng.choice(((), (("cpu", 2 * UNIT),)))
        return Quota(limit, guaranteed, rng.choice((0, 0, 1, 4)), rng.choice((0, 0, 0, 60)))

    def change_queue(self) -> None:
        rng = self.kernel.random
        settings = QueueSettings(
            priority=rng.choice((0, 0, 10)),
            weight=rng.choice((1.0, 1.0, 3.0)),
            quota=self._draw_quota(),
            ageing_ms=rng.choice((300_000, 1_000, 0)),
            is_stopped=rng.random() < 0.2,
        )
        paths = tuple(rng.sample(_QUEUE_PATHS, rng.randint(1, len(_QUEUE_PATHS))))
        name = rng.choice((MAIN_QUEUE, OTHER_QUEUE))
        self.caller.ask(lambda reply: ev.QueueChanged(reply, name, paths, settings), lambda answer: None)

    def change_account(self) -> None:
        rng = self.kernel.random
        settings = AccountSettings(rng.choice((1.0, 2.0)), self._draw_quota())
        account = rng.choice(ACCOUNTS)
        self.caller.ask(
            lambda reply: ev.AccountChanged(reply, account, _ACCOUNT_PATHS, settings), lambda answer: None
        )

    def tidy(self) -> None:
        """Limits of amounts stay, so that the end is reached with them."""
        tenancy = self.caller.scheduler.state.waiting.tenancy
        paths = ("is_stopped", "quota.max_running")
        for name, queue in tenancy.queues.items():
            if queue.settings.is_stopped or queue.quota.max_running:
                self.caller.order(
                    functools.partial(ev.QueueChanged, name=name, paths=paths, settings=QueueSettings())
                )
        for name, account in tenancy.accounts.items():
            if account.quota.max_running:
                self.caller.order(
                    functools.partial(
                        ev.AccountChanged, account=name, paths=paths[1:], settings=AccountSettings()
                    )
                )
