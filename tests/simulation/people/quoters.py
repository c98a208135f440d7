"""Clients that have capacity held before they submit: quotes are asked for, renewed, used, given back, forgotten."""

from __future__ import annotations

import msgspec

from services.scheduler.model import Spec
from services.scheduler.refusals import NoRoom, QuotaInUse, QuoteExpired, QuoteNotFound, QuoteTooSmall
from services.scheduler.state import events as ev
from services.scheduler.state.effects import Answer, QuoteView
from tests.simulation.kernel import MS, SECOND, Violation
from tests.simulation.people.caller import Action, Caller
from tests.simulation.people.clients import Clients, Submission
from tests.simulation.workload import restate


class Held(msgspec.Struct):
    """A quote as its owner knows it; ``until_ms`` is the scheduler's wall clock."""

    view: QuoteView
    spec: Spec
    count: int
    until_ms: int
    life: int
    is_given_back: bool = False


class Quoters:
    """What they are promised holds: a submission is placed at once, or refused for a reason that they can see."""

    def __init__(self, caller: Caller, clients: Clients) -> None:
        self.caller = caller
        self.kernel = caller.kernel
        self.clients = clients
        self._made = 0
        self.actions: list[Action] = [(16, self.ask)]

    def ask(self) -> None:
        rng = self.kernel.random
        spec = rng.choice(self.clients.specs)
        if spec.hold or spec.array_size:
            return
        count, is_distinct = rng.choice((1, 1, 2, 3)), self.kernel.chance(0.2)
        ttl_ms = rng.choice((1_000, 5_000, 30_000))
        wishes = (ev.QuoteWish(spec.shape, count, is_distinct),)

        def make(reply: int) -> ev.Event:
            # Each arrival is a quote of its own.
            self._made += 1
            return ev.QuoteRequested(reply, spec.shape.account, f"q-{self._made}", wishes, ttl_ms)

        self.caller.ask(make, lambda answer: self._on_quoted(answer, spec, count))

    def _on_quoted(self, answer: Answer, spec: Spec, count: int) -> None:
        if answer.error is not None or answer.quote is None:
            if not isinstance(answer.error, NoRoom) and not self._is_low_disk(answer):
                raise Violation(f"a quote was refused: {answer.error!r}")
            return
        view = answer.quote
        if len(view.rooms) != count:
            raise Violation(f"{view.id} has {len(view.rooms)} rooms of {count}")
        self.clients.history.count("quotes")
        held = Held(view, spec, count, view.expire_ms, self.caller.scheduler.lives)
        self._plan(held)

    def _is_low_disk(self, answer: Answer) -> bool:
        return type(answer.error).__name__ == "LowDisk"

    def _plan(self, held: Held) -> None:
        act = self.kernel.random.choices(
            (self._use, self._renew, self._give_back, self._leave), (7, 2, 1, 2)
        )[0]
        self.kernel.after(self.kernel.between(MS, 4 * SECOND), act, held)

    def _leave(self, held: Held) -> None:
        """It ends by itself."""

    def _renew(self, held: Held) -> None:
        def make(reply: int) -> ev.Event:
            return ev.QuoteRenewed(reply, held.view.account, held.view.id, 10_000)

        def on_answer(answer: Answer) -> None:
            if answer.error is not None:
                self._check_refusal(held, answer)
            elif answer.quote is not None:
                held.until_ms = answer.quote.expire_ms
                self._plan(held)

        if self.clients.is_active:
            self.caller.ask(make, on_answer)

    def _give_back(self, held: Held) -> None:
        held.is_given_back = True
        self.caller.order(lambda reply: ev.QuoteDeleted(reply, held.view.account, held.view.id))

    def _use(self, held: Held) -> None:
        if not self.clients.is_active:
            return
        shape = msgspec.structs.replace(held.spec.shape, node="", labels=(), is_distinct=False)
        spec = restate(held.spec, quote=held.view.id, shape=shape)
        count = held.count if self.kernel.chance(0.7) else 1
        if count > 1 and self.kernel.chance(0.3):
            spec, items = restate(spec, array_size=count), ((0, "{}"),)
        else:
            items = ((0, "{}"),) * count
        submission = Submission(f"rq-{held.view.id}", spec.shape.account, (spec,), items)

        def on_answer(answer: Answer) -> None:
            if answer.error is not None:
                self._check_refusal(held, answer)

        self.clients.send(submission, on_answer)

    def _check_refusal(self, held: Held, answer: Answer) -> None:
        """Refused for a reason that is true: expired, forgotten by a restart, or lost with a node."""
        if self._is_low_disk(answer):
            return
        name, error, host = held.view.id, answer.error, self.caller.scheduler
        if isinstance(error, QuoteNotFound) and held.life == host.lives:
            raise Violation(f"{name} was forgotten without a restart")
        if isinstance(error, QuoteExpired) and host.now().wall_ms < held.until_ms and not held.is_given_back:
            raise Violation(f"{name} ended {held.until_ms - host.now().wall_ms} ms early")
        if not isinstance(error, QuoteNotFound | QuoteExpired | QuoteTooSmall | QuotaInUse):
            raise Violation(f"{name} was refused: {error!r}")
