"""People who look after nodes: cordon, drain, label, put into pools, forget."""

from __future__ import annotations

import functools

from services.scheduler.state import events as ev
from tests.simulation.people.caller import Action, Caller


class Caretakers:
    """In the end every node is as it was at the beginning."""

    def __init__(self, caller: Caller, nodes: list[str], *, has_pools: bool) -> None:
        self.caller = caller
        self.kernel = caller.kernel
        self.nodes = nodes
        self.actions: list[Action] = [(2, self.cordon), (1, self.drain), (1, self.label), (1, self.forget)]
        if has_pools:
            self.actions.append((2, self.move))

    def _draw_node(self) -> str:
        return self.kernel.random.choice(self.nodes)

    def cordon(self) -> None:
        node, is_cordoned = self._draw_node(), self.kernel.chance(0.6)
        self.caller.ask(lambda reply: ev.NodeCordoned(reply, node, is_cordoned), lambda answer: None)

    def drain(self) -> None:
        node, timeout_ms = self._draw_node(), self.kernel.random.choice((0, 10_000))
        self.caller.ask(lambda reply: ev.NodeDrainRequested(reply, node, timeout_ms), lambda answer: None)

    def label(self) -> None:
        node = self._draw_node()
        if self.kernel.chance(0.5):
            self.caller.ask(
                lambda reply: ev.NodeLabelled(reply, node, {"zone": "b"}, ()), lambda answer: None
            )
        else:
            self.caller.ask(lambda reply: ev.NodeLabelled(reply, node, {}, ("zone",)), lambda answer: None)

    def move(self) -> None:
        """Into the pool, or out of it; the first node stays outside, so that plain work has a place."""
        node = self.kernel.random.choice(self.nodes[1:])
        if self.kernel.chance(0.6):
            self.caller.ask(
                lambda reply: ev.NodeLabelled(reply, node, {"pool": "p"}, ()), lambda answer: None
            )
        else:
            self.caller.ask(lambda reply: ev.NodeLabelled(reply, node, {}, ("pool",)), lambda answer: None)

    def forget(self) -> None:
        """Refused unless it is lost; an agent of that name that comes again is a new node."""
        node = self._draw_node()
        self.caller.ask(lambda reply: ev.NodeForgotten(reply, node), lambda answer: None)

    def tidy(self, pooled: str) -> None:
        """Uncordons; zone a is everywhere, and the pool is the one node ``pooled``, if there is one."""
        for name in self.nodes:
            node = self.caller.scheduler.state.cluster.nodes.get(name)
            if node is None:
                continue
            if node.is_cordoned:
                self.caller.order(functools.partial(ev.NodeCordoned, node=name, is_cordoned=False))
            wanted = {"zone": "a", "pool": "p" if name == pooled else None}
            if {key: node.label_overrides.get(key) for key in wanted} != wanted:
                labels = {key: value for key, value in wanted.items() if value is not None}
                removed = tuple(key for key, value in wanted.items() if value is None)
                self.caller.order(
                    functools.partial(ev.NodeLabelled, node=name, set_labels=labels, remove_labels=removed)
                )
