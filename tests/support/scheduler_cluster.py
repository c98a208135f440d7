"""The scheduler's pure machine in one line: ``cluster = MachineCluster(nodes=3)``, then events, one step each.

Plays perfect agents that do what they are told; tests tell them what to report. Invariants and transitions are
checked after every step.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from services.scheduler import machine
from services.scheduler.model import (
    TERMINAL,
    Cause,
    Disconnect,
    Now,
    Policy,
    Retry,
    Shape,
    Spec,
    TaskState,
    task_key,
)
from services.scheduler.resources import GPU, amounts
from services.scheduler.state import events as ev
from services.scheduler.state.effects import (
    Answer,
    Effects,
    InsertTask,
    QuoteView,
    RecordChange,
    RetractTask,
    StartTask,
    StopTask,
    Verdict,
)
from services.scheduler.state.state import State
from services.scheduler.state.task import Task

START_MS = 1_700_000_000_000
MEMORY_BYTES = 1 << 30


def make_shape(
    *,
    account: str = "ada",
    node: str = "",
    labels: Mapping[str, str] | None = None,
    policy: Policy = Policy.LEAST_LOADED,
    operator: str = "",
    priority: int = 0,
    pool: str = "",
    queue: str = "default",
    caps: tuple[tuple[str, int], ...] = (),
    gang: str = "",
    is_distinct: bool = False,
    **resources: float,
) -> Shape:
    """A shape; ``cpu`` is 1 unless it is given, other resources by name."""
    asked = amounts({"cpu": 1.0, **resources})
    pairs = tuple(sorted((labels or {}).items()))
    return Shape(
        account, asked, node, pairs, policy, operator, priority, pool, queue, caps, gang, is_distinct
    )


def make_spec(
    body: bytes = b"spec",
    *,
    retry: Retry | None = None,
    queue_timeout_ms: int = 0,
    array_size: int = 0,
    hold: bool = False,
    quote: str = "",
    disconnect: Disconnect | None = None,
    gang_min: int = 0,
    preemptible: bool = False,
    preempts: bool = False,
    signal: str = "",
    **shape: Any,
) -> Spec:
    """A specification as the edge hands it to the machine: without a number."""
    made = make_shape(**shape)
    # Other content, other specification: as its serialised form would be.
    content = (
        body
        + repr(
            (
                made,
                retry,
                queue_timeout_ms,
                array_size,
                hold,
                quote,
                gang_min,
                preemptible,
                preempts,
                disconnect,
            )
        ).encode()
    )
    return Spec(
        0, content, made, "", retry or Retry(), queue_timeout_ms, array_size, hold, quote=quote,
        gang_min=gang_min, is_preemptible=preemptible, preempts=preempts,
        preemption_grace_ms=30_000 if preemptible else 0, checkpoint_signal=signal,
        disconnect=disconnect or Disconnect(),
    )  # fmt: skip


class MachineCluster:
    """A state, its clock, and everything that its steps wanted."""

    def __init__(
        self, nodes: int = 1, *, epoch: int = 1, state: State | None = None, **capacity: Any
    ) -> None:
        self.state = state or State(epoch, 1, 0)
        self.wall_ms = START_MS
        self.monotonic_ms = 1_000_000
        self.rows: list[Any] = []
        self.states: dict[int, TaskState] = {}
        self.answers: dict[int, Answer] = {}
        self.effects = Effects()
        self._replies = itertools.count(1)
        self._sessions = itertools.count(1)
        self.sessions: dict[str, int] = {}
        self._events: dict[str, int] = {}
        self._beats = itertools.count(1)
        self._quotes = 0
        for number in range(nodes):
            self.connect(f"n{number}", **capacity)

    # --- steps

    @property
    def now(self) -> Now:
        return Now(self.wall_ms, self.monotonic_ms)

    def turn(self, milliseconds: int) -> None:
        """Moves both clocks; nothing happens by it."""
        self.wall_ms += milliseconds
        self.monotonic_ms += milliseconds

    def step(self, *events: ev.Event) -> Effects:
        """One step of the machine, with every check there is."""
        self.effects = effects = machine.step(self.state, events, self.now)
        machine.check_invariants(self.state)
        self._check_rows(effects)
        self.rows += effects.rows
        self.answers.update((answer.reply, answer) for answer in effects.answers)
        return effects

    def _check_rows(self, effects: Effects) -> None:
        """Every recorded change must be one that the table of transitions allows (or say the same state again)."""
        for row in effects.rows:
            if isinstance(row, InsertTask):
                assert row.key not in self.states, f"task {row.key} was made twice"
                self.states[row.key] = TaskState.QUEUED
            elif isinstance(row, RecordChange):
                before = self.states[row.task]
                assert before not in TERMINAL, f"{row.task} had ended: {before.name} → {row.state.name}"
                allowed = row.state is before or row.state in machine.TRANSITIONS[before]
                assert allowed, f"{row.task}: {before.name} → {row.state.name}"
                self.states[row.task] = row.state

    def tick(self, milliseconds: int = 500) -> Effects:
        """Lets time pass and says so."""
        self.turn(milliseconds)
        return self.step(ev.Ticked())

    def pass_time(self, milliseconds: int, *, beating: Iterable[str] = ()) -> None:
        """Half seconds with a tick each; the named nodes beat every two seconds."""
        for passed in range(0, milliseconds, 500):
            if passed % 2_000 == 0:
                for node in beating:
                    self.beat(node)
            self.tick()

    # --- clients

    def submit(
        self,
        spec: Spec | None = None,
        count: int = 1,
        *,
        request_id: str = "",
        content: bytes = b"",
        params: str = "",
        account: str = "ada",
    ) -> list[int]:
        """Submits ``count`` tasks of one spec in one request; their keys."""
        reply = next(self._replies)
        specs = (spec or make_spec(account=account),)
        items = ((0, params),) * count
        self.step(ev.TasksSubmitted(reply, account, request_id, content, specs, items))
        answer = self.answers[reply]
        if answer.error is not None:
            raise answer.error
        return [task_key(number) for number in range(answer.first, answer.first + answer.count)]

    def submit_all(self, *specs: Spec, account: str = "ada") -> list[int]:
        """Submits one task of each in one request; their keys."""
        reply = next(self._replies)
        items = tuple((index, "") for index in range(len(specs)))
        self.step(ev.TasksSubmitted(reply, account, "", b"", specs, items))
        answer = self.answers[reply]
        if answer.error is not None:
            raise answer.error
        return [task_key(number) for number in range(answer.first, answer.first + answer.count)]

    def quote(
        self,
        *wishes: ev.QuoteWish,
        account: str = "ada",
        ttl_ms: int = 30_000,
        **shape: Any,
    ) -> QuoteView:
        """Asks for room: for these wishes, or for one task of a shape."""
        self._quotes += 1
        asked = wishes or (ev.QuoteWish(make_shape(account=account, **shape), 1),)
        quote_id = f"q-{self._quotes}"
        reply = next(self._replies)
        self.step(ev.QuoteRequested(reply, account, quote_id, asked, ttl_ms))
        answer = self.answers[reply]
        if answer.error is not None:
            raise answer.error
        assert answer.quote is not None
        return answer.quote

    def ask(self, kind: type[ev.Event], *arguments: Any) -> Effects:
        """A request that wants an answer. Raises its error."""
        reply = next(self._replies)
        effects = self.step(kind(reply, *arguments))
        error = self.answers[reply].error
        if error is not None:
            raise error
        return effects

    def cancel(self, *keys: int, grace_ms: int = 5_000, comment: str = "by ada") -> Effects:
        return self.ask(ev.CancelRequested, keys, grace_ms, comment)

    def hold(self, *keys: int) -> Effects:
        return self.ask(ev.HoldRequested, keys)

    def release(self, *keys: int) -> Effects:
        return self.ask(ev.ReleaseRequested, keys)

    # --- agents

    def hello(
        self,
        node: str,
        *,
        cpu: float = 4,
        memory: int = MEMORY_BYTES,
        gpus: tuple[str, ...] = (),
        custom: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        operators: Iterable[str] = (),
        tasks: tuple[ev.HeldTask, ...] = (),
        incarnation: int = 1,
    ) -> ev.AgentConnected:
        capacity = dict(amounts({"cpu": cpu, "memory": memory, **(custom or {})}))
        self.sessions[node] = session = next(self._sessions)
        self._events[node] = 1
        return ev.AgentConnected(
            node, session, "boot", incarnation, labels or {}, capacity, gpus, frozenset(operators), tasks
        )

    def connect(self, node: str, **hello: Any) -> dict[int, str]:
        """A node says hello; the verdicts on its tasks."""
        effects = self.step(self.hello(node, **hello))
        return {verdict.key: verdict.kind for verdict in verdicts(effects)}

    def disconnect(self, node: str, *, is_final: bool = False) -> Effects:
        return self.step(ev.AgentDisconnected(node, self.sessions[node], is_final))

    def silence(self, *nodes: str, milliseconds: int = 21_000) -> None:
        """Cuts these nodes off for so long, a little longer than their lease; the others beat."""
        for node in nodes:
            self.disconnect(node)
        others = [n.id for n in self.state.cluster.nodes.values() if n.session and n.id not in nodes]
        for _ in range(0, milliseconds, 1_500):
            for node in others:
                self.beat(node)
            self.tick(1_500)

    def report(self, node: str, *reports: ev.TaskReport) -> Effects:
        """The node's next events."""
        first = self._events[node]
        self._events[node] = first + len(reports)
        return self.step(ev.TasksReported(node, self.sessions[node], first, reports))

    def beat(self, node: str, *, as_of: int | None = None, **measured: float) -> Effects:
        """A beat with the same figures in every window; by default it shows every command."""
        windows = {window: dict(amounts(measured)) for window in (1, 10, 60)}
        shown = self.state.cluster.nodes[node].command if as_of is None else as_of
        return self.step(ev.BeatReceived(node, self.sessions[node], next(self._beats), shown, windows))

    def start(self, key: int, start_ms: int = 0) -> Effects:
        task = self.state.tasks[key]
        started = ev.TaskStarted(key, task.attempt, task.epoch, start_ms or self.wall_ms)
        return self.report(task.node, started)

    def exit(
        self, *keys: int, cause: Cause = Cause.NONE, run_ms: int = 1_000, payload: bytes = b""
    ) -> Effects:
        """The agents of the tasks say how they ended; one step."""
        effects = Effects()
        by_node: dict[str, list[ev.TaskReport]] = {}
        for key in keys:
            by_node.setdefault(self.state.tasks[key].node, []).append(
                self.exited(key, cause, run_ms=run_ms, payload=payload)
            )
        for node, reports in by_node.items():
            effects = self.report(node, *reports)
        return effects

    def exited(
        self, key: int, cause: Cause = Cause.NONE, *, run_ms: int = 1_000, payload: bytes = b""
    ) -> ev.TaskExited:
        task = self.state.tasks[key]
        end_ms = self.wall_ms
        return ev.TaskExited(key, task.attempt, task.epoch, cause, payload, end_ms - run_ms, end_ms)

    def held(self, key: int, *, is_running: bool = True, ended: ev.TaskExited | None = None) -> ev.HeldTask:
        """What an agent's hello says of a task that it has in its current attempt."""
        task = self.state.tasks[key]
        return ev.HeldTask(key, task.attempt, task.epoch, is_running, ended)

    # --- looking

    def task(self, key: int) -> Task:
        return self.state.tasks[key]

    def state_of(self, key: int) -> TaskState:
        """As last recorded, ended tasks too."""
        return self.states[key]

    def outcome(self, key: int) -> RecordChange:
        """The one row that ends a task."""
        (row,) = (
            r for r in self.rows if isinstance(r, RecordChange) and r.task == key and r.state in TERMINAL
        )
        return row

    def node_of(self, key: int) -> str:
        return self.state.tasks[key].node

    def counts(self) -> list[int]:
        """Tasks on each node, in the order of the nodes."""
        return [len(node.tasks) for node in self.state.cluster.nodes.values()]


def verdicts(effects: Effects) -> tuple[Verdict, ...]:
    """Those of the welcome in this step."""
    return next((m.verdicts for m in effects.messages if hasattr(m, "verdicts")), ())


def starts(effects: Effects) -> list[StartTask]:
    return [c for _, commands in effects.commands.values() for c in commands if isinstance(c, StartTask)]


def stops(effects: Effects) -> list[StopTask]:
    return [c for _, commands in effects.commands.values() for c in commands if isinstance(c, StopTask)]


def retracts(effects: Effects) -> list[RetractTask]:
    return [c for _, commands in effects.commands.values() for c in commands if isinstance(c, RetractTask)]


__all__ = ["GPU", "MachineCluster", "make_shape", "make_spec", "retracts", "starts", "stops", "verdicts"]
