"""Clients that submit, cancel, hold and release, and people who look after nodes.

Answers and requests are lost, repeated and replayed; a request keeps its request_id and its content for ever.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable

import msgspec

from services.scheduler import events as ev
from services.scheduler.effects import Answer
from services.scheduler.model import RequestIdReused, Spec, TaskState, element_key, task_key
from services.scheduler.modify import PRIORITY
from tests.simulation.history import History
from tests.simulation.kernel import MS, SECOND, Kernel, Violation
from tests.simulation.scheduler_host import SchedulerHost
from tests.simulation.workload import ACCOUNTS, draw_spec


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

    def event(self, reply: int) -> ev.Event:
        return ev.TasksSubmitted(reply, self.account, self.request_id, self.content, self.specs, self.items)


class Clients:
    """Everybody who calls the scheduler."""

    def __init__(
        self, kernel: Kernel, scheduler: SchedulerHost, history: History, nodes: list[str], *, has_gpu: bool
    ) -> None:
        self.kernel = kernel
        self.scheduler = scheduler
        self.history = history
        self.nodes = nodes
        self.has_gpu = has_gpu
        self.loss_share = kernel.random.choice((0.0, 0.02, 0.2))
        self.pace_us = kernel.random.choice((500 * MS, SECOND, 4 * SECOND))
        self.is_active = True
        self.submissions: list[Submission] = []
        self.keys: list[int] = []
        self.open_requests = 0
        self._modifications = 0
        self._specs = [self._draw_spec() for _ in range(kernel.random.randint(2, 8))]
        self._actions: list[tuple[int, Callable[[], None]]] = [
            (60, self.submit),
            (14, self.cancel),
            (4, self.hold),
            (6, self.release),
            (4, self.reprioritise),
            (2, self.cordon),
            (1, self.drain),
            (1, self.label),
        ]

    def _draw_spec(self) -> Spec:
        return draw_spec(self.kernel.random, self.nodes, has_gpu=self.has_gpu)

    def act(self) -> None:
        """Does something, and again a little later, until it is over."""
        if not self.is_active:
            return
        actions = [action for _, action in self._actions]
        self.kernel.random.choices(actions, [weight for weight, _ in self._actions])[0]()
        self.kernel.after(self.kernel.between(MS, 2 * self.pace_us), self.act)

    # Requests

    def _ask(
        self, make: Callable[[int], ev.Event], on_answer: Callable[[Answer], None], tries: int = 1
    ) -> None:
        """Sends until an answer comes; the answer is told once."""
        kernel = self.kernel
        is_done = False

        def answered(answer: Answer) -> None:
            nonlocal is_done
            if not is_done and not kernel.chance(self.loss_share):
                is_done = True
                self.open_requests -= 1
                on_answer(answer)

        def send(left: int) -> None:
            if is_done:
                return
            if not kernel.chance(self.loss_share):
                copies = 2 if kernel.chance(self.loss_share) else 1
                for _ in range(copies):
                    kernel.after(kernel.between(100, 5 * MS), self.scheduler.request, make, arrived)
            if left:
                kernel.after(kernel.between(SECOND, 6 * SECOND), send, left - 1)
            else:
                give_up()

        def give_up() -> None:
            nonlocal is_done
            is_done = True
            self.open_requests -= 1

        def arrived(answer: Answer) -> None:
            kernel.after(kernel.between(100, 5 * MS), answered, answer)

        self.open_requests += 1
        send(tries)

    def submit(self) -> None:
        rng = self.kernel.random
        if rng.random() < 0.2:
            self._specs.append(self._draw_spec())
        account = rng.choice(ACCOUNTS)
        specs = tuple(
            s for s in rng.sample(self._specs, min(2, len(self._specs))) if s.shape.account == account
        )
        if not specs:
            return
        count = rng.choice((1, 1, 1, 1, 2, 3, 10))
        if any(spec.array_size for spec in specs):
            count = min(count, 3)
        items = tuple((rng.randrange(len(specs)), "{}") for _ in range(count))
        request_id = f"r-{len(self.submissions)}" if rng.random() < 0.8 else ""
        submission = Submission(request_id, account, specs, items)
        self.submissions.append(submission)
        tries = 30 if request_id else 0
        self._ask(submission.event, lambda answer: self._on_submitted(submission, answer), tries)
        if request_id and rng.random() < 0.1:
            self.kernel.after(self.kernel.between(SECOND, 60 * SECOND), self._replay, submission)

    def _replay(self, submission: Submission) -> None:
        """The same bytes come again, much later."""
        if self.is_active:
            self._ask(submission.event, lambda answer: self._on_submitted(submission, answer), 0)

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
        for number, (index, _) in enumerate(submission.items, answer.first):
            key = task_key(number)
            if key not in self.history.tasks:
                raise Violation(f"task {number} was acknowledged before it was on disk", f"t-{number}")
            self.keys.append(key)
            size = submission.specs[index].array_size
            if size:
                self.keys.append(element_key(key, self.kernel.random.randrange(size)))

    def _some_keys(self) -> tuple[int, ...]:
        recent = self.keys[-40:]
        return tuple(self.kernel.random.sample(recent, min(len(recent), self.kernel.random.randint(1, 3))))

    def cancel(self) -> None:
        keys = self._some_keys()
        grace_ms = self.kernel.random.choice((0, 500, 5_000))

        def on_answer(answer: Answer) -> None:
            if answer.error is None:
                self.history.on_cancel_acknowledged(keys)

        self._ask(lambda reply: ev.CancelRequested(reply, keys, grace_ms, "no more"), on_answer, 10)

    def hold(self) -> None:
        keys = self._some_keys()
        self._ask(lambda reply: ev.HoldRequested(reply, keys), lambda answer: None, 3)

    def release(self) -> None:
        keys = self._some_keys()
        self._ask(lambda reply: ev.ReleaseRequested(reply, keys), lambda answer: None, 3)

    def reprioritise(self) -> None:
        """A task that waits changes its place; for one on a node it is too late, and says so."""
        if not self.keys:
            return
        key, priority = self.kernel.random.choice(self.keys[-40:]), self.kernel.random.choice((-5, 0, 5))
        task = self.scheduler.state.tasks.get(key)
        if task is None:
            return
        spec = task.spec
        moved = msgspec.structs.replace(
            spec,
            body=spec.body + b" " * (priority + 6),
            shape=msgspec.structs.replace(spec.shape, priority=priority),
        )
        self._modifications += 1
        request_id = f"m-{self._modifications}"
        content = f"{key} {priority}".encode()

        def make(reply: int) -> ev.Event:
            return ev.ModifyRequested(
                reply, task.account, request_id, content, key, 0, (PRIORITY,), "", spec.number, moved, spec
            )

        self._ask(make, lambda answer: None, 5)

    def cordon(self) -> None:
        node, is_cordoned = self.kernel.random.choice(self.nodes), self.kernel.chance(0.6)
        self._ask(lambda reply: ev.NodeCordoned(reply, node, is_cordoned), lambda answer: None)

    def drain(self) -> None:
        node, timeout_ms = self.kernel.random.choice(self.nodes), self.kernel.random.choice((0, 10_000))
        self._ask(lambda reply: ev.NodeDrainRequested(reply, node, timeout_ms), lambda answer: None)

    def label(self) -> None:
        node = self.kernel.random.choice(self.nodes)
        if self.kernel.chance(0.5):
            self._ask(lambda reply: ev.NodeLabelled(reply, node, {"zone": "b"}, ()), lambda answer: None)
        else:
            self._ask(lambda reply: ev.NodeLabelled(reply, node, {}, ("zone",)), lambda answer: None)

    # The end

    def tidy(self) -> None:
        """Takes back what would keep tasks waiting for ever, and again until it is so."""
        state = self.scheduler.state
        held = tuple(sorted(key for key, task in state.tasks.items() if task.state is TaskState.HELD))
        if held:
            self._order(functools.partial(ev.ReleaseRequested, keys=held))
        for node in self.nodes:
            known = state.cluster.nodes.get(node)
            if known is None:
                continue
            if known.is_cordoned:
                self._order(functools.partial(ev.NodeCordoned, node=node, is_cordoned=False))
            if known.label_overrides.get("zone") != "a":
                self._order(
                    functools.partial(ev.NodeLabelled, node=node, set_labels={"zone": "a"}, remove_labels=())
                )
        self.kernel.after(2 * SECOND, self.tidy)

    def _order(self, make: Callable[[int], ev.Event]) -> None:
        self._ask(make, lambda answer: None, 0)
