"""Everybody who calls the scheduler: who does what next, and how all of it comes to an end."""

from __future__ import annotations

import functools

from services.scheduler.model import Spec
from services.scheduler.state import events as ev
from tests.simulation.history import History
from tests.simulation.kernel import MS, SECOND, Kernel
from tests.simulation.people.caller import Action, Caller
from tests.simulation.people.caretakers import Caretakers
from tests.simulation.people.clients import Clients
from tests.simulation.people.modifiers import Modifiers
from tests.simulation.people.quoters import Quoters
from tests.simulation.people.sharers import Sharers
from tests.simulation.people.suspenders import Suspenders
from tests.simulation.scheduler_host import SchedulerHost
from tests.simulation.workload import draw_menu, draw_spec


class Crowd:
    """Acts until it is told to tidy up."""

    def __init__(
        self,
        kernel: Kernel,
        scheduler: SchedulerHost,
        history: History,
        nodes: list[str],
        menu: frozenset[str] | None,
        *,
        has_gpu: bool,
    ) -> None:
        self.kernel = kernel
        drawn = draw_menu(kernel.random)
        self.menu = menu = drawn if menu is None else menu
        self.pooled = nodes[-1] if "pools" in menu and len(nodes) > 1 else ""
        self.pace_us = kernel.random.choice((500 * MS, SECOND, 4 * SECOND))
        self.caller = Caller(kernel, scheduler)

        def draw() -> Spec:
            return draw_spec(kernel.random, nodes, menu, has_gpu=has_gpu)

        self.clients = Clients(self.caller, history, menu, len(nodes) - bool(self.pooled), draw)
        self.caretakers = Caretakers(self.caller, nodes, has_pools=bool(self.pooled))
        self._actions: list[Action] = [*self.clients.actions, *self.caretakers.actions]
        self.sharers = Sharers(self.caller)
        if "queues" in menu:
            self._actions += self.sharers.actions
            kernel.after(SECOND, self.sharers.found)
        self.suspenders = Suspenders(self.caller, self.clients)
        if "suspend" in menu:
            self._actions += self.suspenders.actions
        if "modify" in menu:
            self._actions += Modifiers(self.caller, self.clients).actions
        if "quotes" in menu:
            self._actions += Quoters(self.caller, self.clients).actions

    def act(self) -> None:
        """Does something, and again a little later, until it is over."""
        if not self.clients.is_active:
            return
        actions = [action for _, action in self._actions]
        self.kernel.random.choices(actions, [weight for weight, _ in self._actions])[0]()
        self.kernel.after(self.kernel.between(MS, 2 * self.pace_us), self.act)

    def tidy(self) -> None:
        """Takes back what would keep tasks waiting for ever, and again until it is so."""
        self.clients.is_active = False
        self.clients.tidy()
        self.suspenders.tidy()
        self.sharers.tidy()
        self.caretakers.tidy(self.pooled)
        self._cancel_homeless()
        self.kernel.after(2 * SECOND, self.tidy)

    def _cancel_homeless(self) -> None:
        """Used a quote, is tried again on the node of the quote alone, and that is in another pool now."""
        state = self.caller.scheduler.state
        homeless = []
        for key, task in state.tasks.items():
            node = state.cluster.nodes.get(task.queue.shape.node)
            pinned = task.spec.quote and not task.node
            if pinned and node is not None and node.session and node.pool != task.spec.shape.pool:
                homeless.append(key)
        if homeless:
            self.caller.order(
                functools.partial(
                    ev.CancelRequested, keys=tuple(homeless), grace_ms=0, comment="its node is no more"
                )
            )
