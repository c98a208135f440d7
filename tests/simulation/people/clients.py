"""Clients that submit, cancel, hold, release and modify.

A request keeps its request_id and its content for ever.
"""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping

import msgspec

from services.chassis.requests.marks import RequestIdReused
from services.scheduler.model import Spec, TaskState, element_key, task_key
from services.scheduler.refusals import DependencyMoved
from services.scheduler.state import events as ev
from services.scheduler.state.effects import Answer
from tests.simulation.history import History
from tests.simulation.kernel import MS, SECOND, Violation
from tests.simulation.people.caller import Action, Caller
from tests.simulation.people.dependents import Known, draw_dependencies, known_of, look_up
from tests.simulation.workload import ACCOUNTS, draw_gang


class Submission(msgspec.Struct):
    """A request and, once it was acknowledged, its answer."""

    request_id: str
    account: str
    specs: tuple[Spec, ...]
    items: tuple[tuple[int, str], ...]
    first: int = 0

    @property
    def content(self) -> bytes:
        return hashlib.sha256(repr((self.specs, self.items)).encode()).digest()

    def event(self, reply: int, ended: Mapping[int, ev.EndedTask]) -> ev.Event:
        return ev.TasksSubmitted(
            reply, self.account, self.request_id, self.content, self.specs, self.items, ended
        )


class Clients:
    """Everybody who has work to be done."""

    def __init__(
        self,
        caller: Caller,
        history: History,
        menu: frozenset[str],
        spread: int,
        draw: Callable[[], Spec],
    ) -> None:
        self.caller = caller
        self.kernel = caller.kernel
        self.state = lambda: caller.scheduler.state
        self.history = history
        self.submissions: list[Submission] = []
        self.keys: list[int] = []
        self._known: dict[str, list[Known]] = defaultdict(list)
        # On how many nodes the members of a gang may be apart; 0: there are no gangs.
        self._most_spread = spread if "gangs" in menu else 0
        self._has_dependencies = "dependencies" in menu
        self.is_active = True
        self._draw = draw
        self.specs = [draw() for _ in range(self.kernel.random.randint(2, 8))]
        self.actions: list[Action] = [
            (90, self.submit),
            (14, self.cancel),
            (4, self.hold),
            (6, self.release),
        ]

    # Submissions

    def submit(self) -> None:
        rng = self.kernel.random
        if rng.random() < 0.2:
            self.specs.append(self._draw())
        account = rng.choice(ACCOUNTS)
        specs = tuple(
            s for s in rng.sample(self.specs, min(2, len(self.specs))) if s.shape.account == account
        )
        if not specs:
            return
        count = rng.choice((1, 1, 1, 1, 2, 3, 10))
        if any(spec.array_size for spec in specs):
            count = min(count, 3)
        items = tuple((rng.randrange(len(specs)), "{}") for _ in range(count))
        if self._has_dependencies and rng.random() < 0.5:
            for number in range(rng.choice((0, 1)), count):
                dependent = draw_dependencies(
                    rng, specs[items[number][0]], number, self._known[account][-20:]
                )
                specs += (dependent,)
                items = (*items[:number], (len(specs) - 1, "{}"), *items[number + 1 :])
        if self._most_spread and rng.random() < 0.25:
            specs = draw_gang(rng, specs, self._most_spread)
            items = tuple((number, "{}") for number in range(len(specs)))
        request_id = f"r-{len(self.submissions)}" if rng.random() < 0.8 else ""
        self.send(Submission(request_id, account, specs, items))

    def send(self, submission: Submission, on_answer: Callable[[Answer], None] | None = None) -> None:
        """Until it is answered, where it has an id; some come again much later."""
        self.submissions.append(submission)

        def answered(answer: Answer) -> None:
            if isinstance(answer.error, DependencyMoved):
                self.kernel.after(50 * MS, ask)
                return
            self._on_submitted(submission, answer)
            if on_answer is not None:
                on_answer(answer)

        def ask() -> None:
            self.caller.ask(self._event_of(submission), answered, 30 if submission.request_id else 0)

        ask()
        if submission.request_id and self.kernel.chance(0.1):
            self.kernel.after(self.kernel.between(SECOND, 60 * SECOND), self._replay, submission)

    def _event_of(self, submission: Submission) -> Callable[[int], ev.Event]:
        def make(reply: int) -> ev.Event:
            host = self.caller.scheduler
            return submission.event(reply, look_up(host.disk, host.state, submission.specs))

        return make

    def _replay(self, submission: Submission) -> None:
        """The same bytes come again, much later."""
        if self.is_active:
            self.caller.ask(self._event_of(submission), lambda answer: self._on_submitted(submission, answer))

    def _on_submitted(self, submission: Submission, answer: Answer) -> None:
        if answer.error is not None:
            if isinstance(answer.error, RequestIdReused):
                raise Violation(f"{submission.request_id} was refused as reused with other content")
            return
        if answer.count != len(submission.items) or submission.first not in (0, answer.first):
            raise Violation(f"{submission.request_id}: another answer to the same request")
        if submission.first:
            return
        submission.first = answer.first
        self.history.count("submissions acknowledged")
        self._known[submission.account] += known_of(answer.first, submission.specs, submission.items)
        for number, (index, _) in enumerate(submission.items, answer.first):
            key = task_key(number)
            if key not in self.history.tasks:
                raise Violation(f"task {number} was acknowledged before it was on disk", f"t-{number}")
            self.keys.append(key)
            size = submission.specs[index].array_size
            if size:
                self.keys.append(element_key(key, self.kernel.random.randrange(size)))

    def some_keys(self) -> tuple[int, ...]:
        recent = self.keys[-40:]
        return tuple(self.kernel.random.sample(recent, min(len(recent), self.kernel.random.randint(1, 3))))

    def cancel(self) -> None:
        keys = self.some_keys()
        grace_ms = self.kernel.random.choice((0, 500, 5_000))

        def on_answer(answer: Answer) -> None:
            if answer.error is None:
                self.history.on_cancel_acknowledged(keys)

        self.caller.ask(lambda reply: ev.CancelRequested(reply, keys, grace_ms, "no more"), on_answer, 10)

    def hold(self) -> None:
        keys = self.some_keys()
        self.caller.ask(lambda reply: ev.HoldRequested(reply, keys), lambda answer: None, 3)

    def release(self) -> None:
        keys = self.some_keys()
        self.caller.ask(lambda reply: ev.ReleaseRequested(reply, keys), lambda answer: None, 3)

    # The end

    def tidy(self) -> None:
        """Releases what is held."""
        held = tuple(sorted(key for key, task in self.state().tasks.items() if task.state is TaskState.HELD))
        if held:
            self.caller.order(functools.partial(ev.ReleaseRequested, keys=held))
