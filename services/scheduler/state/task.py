"""An unfinished task, as the machine knows it. Pure data; `tasks.changes` records every change of its state."""

from collections.abc import Sequence

from services.scheduler.model import (
    Dependency,
    Original,
    PendingChange,
    Spec,
    TaskState,
    index_of,
)
from services.scheduler.placement.placement import Entry
from services.scheduler.queues.tenants import ShapeQueue
from services.scheduler.resources import Amounts
from services.scheduler.state.tally import Tally


class Task:
    """An unfinished task. An array's own record has a `Tally`; its elements become tasks when they are placed."""

    __slots__ = (
        "account", "assign_ms", "attempt", "attempts", "awaits", "command", "considered", "counterparts", "devices",
        "epoch",
        "failures", "has_started", "holds_share", "is_prefilled", "key", "limit_revision", "node",
        "not_before_ms", "original", "params", "pending", "progress", "queue", "queued_ms", "reason", "recorded",
        "resource_revision", "revision", "spec", "start_ms", "state", "stop", "submit_ms", "tally", "ticket",
    )  # fmt: skip

    def __init__(
        self,
        key: int,
        spec: Spec,
        queue: ShapeQueue,
        account: str,
        params: str,
        submit_ms: int,
        revision: int,
    ) -> None:
        self.key = key
        self.spec = spec
        self.queue = queue
        self.account = account
        self.params = params
        self.submit_ms = submit_ms
        # From when the queue timeout counts: submission, or the last release.
        self.queued_ms = submit_ms
        # That of its latest change, and of the latest that was recorded: progress is shown only.
        self.revision = self.recorded = revision
        self.state = TaskState.QUEUED
        self.reason = ""
        # (epoch, attempt) is the token of the current attempt.
        self.attempt = 0
        # How many were begun: the number of the next one is a new one, whichever is current.
        self.attempts = 0
        self.original: Original | None = None
        self.epoch = 0
        self.failures = 0
        self.node = ""
        self.devices: tuple[int, ...] = ()
        # Of the present attempt: the node that was chosen and others that fitted, as placement ranked them.
        self.considered: Sequence[Entry] = ()
        self.is_prefilled = False
        # Whether its amounts count as held by those who share the machines.
        self.holds_share = False
        self.assign_ms = 0
        self.start_ms = 0
        # Wall clock before which a retry does not start.
        self.not_before_ms = 0
        # (grace_ms, comment) once somebody asked for its end.
        self.stop: tuple[int, str] | None = None
        self.progress: tuple[float, str] | None = None
        # Its place among the waiting ones, once it had one.
        self.ticket = 0
        # Changes that its agent is yet to take in, oldest first: one at a time is under way.
        self.pending: tuple[PendingChange, ...] = ()
        # The modification that gave the present attempt another run timeout than it started with; 0: none.
        self.limit_revision = 0
        # Number of the command that started the present attempt, while its agent may not have heard it; 0: it has.
        self.command = 0
        # The same of its resources.
        self.resource_revision = 0
        # In an attempt that is over, too.
        self.has_started = False
        # What must happen before it may start, other than element by element: while there is any it is in no queue.
        self.awaits: tuple[Dependency, ...] = ()
        # Of an array: what its elements wait for, each for its own.
        self.counterparts: tuple[Dependency, ...] = ()
        self.tally: Tally | None = None
        if spec.array_size and index_of(key) < 0:
            bits = sum(dependency.is_element_wise for dependency in spec.dependencies)
            self.tally = Tally(spec.array_size, spec.array_indexes, (1 << bits) - 1, spec.max_running)

    @property
    def is_element(self) -> bool:
        return index_of(self.key) >= 0

    @property
    def holding(self) -> Amounts:
        """What its node holds for it: by its specification, and by what its agent has yet to give up."""
        held = self.spec.shape.amounts
        for change in self.pending:
            if change.amounts:
                most = dict(held)
                for name, amount in change.amounts:
                    most[name] = max(most.get(name, 0), amount)
                held = tuple(sorted(most.items()))
        return held

    @property
    def wants_suspension(self) -> bool:
        """Whether somebody wants it stopped where it is, and nobody its end; its rows say so by their reason."""
        return self.reason.startswith("SUSPEND") and self.stop is None
