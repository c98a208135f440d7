"""The agent's process: the production machine, with what `services.agent.engine` does around it.

Owns what dies with the process. The stream is `agent_link`'s, the workers and the disk are the computer's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from services.agent.engine import FENCE_LATER_MS
from services.agent.tasks import effects as do
from services.agent.tasks import fences
from services.agent.tasks.events import (
    BeatAcknowledged,
    ClockTicked,
    DrainBegan,
    Event,
    HoldingChanged,
    NeedFailed,
    NeedReady,
    OutcomeRestored,
    OutputsStored,
    StartAsked,
    TaskRestored,
    WorkBegun,
    WorkDone,
    WorkerLost,
    WorkerReady,
    WorkerRestored,
    WorkMoved,
    WorkReported,
)
from services.agent.tasks.machine import apply, wake_ms
from services.agent.tasks.state import Settings, State, check_invariants
from tests.simulation.agent_link import AgentLink
from tests.simulation.computer import Computer
from tests.simulation.kernel import MS, SECOND, Kernel, Process
from tests.simulation.network import Network
from tests.simulation.scheduler_host import SchedulerHost
from tests.simulation.worker import Frame

_TICK_US = SECOND


class AgentHost(Process):
    """One agent. `start` is a new process; `kill` its end at any instant."""

    def __init__(
        self, kernel: Kernel, computer: Computer, network: Network, scheduler: SchedulerHost
    ) -> None:
        super().__init__(kernel, computer.node)
        self.computer = computer
        self.settings = Settings(
            warm_workers=kernel.random.randint(0, 2), workers_most=kernel.random.choice((3, 6, 64)),
            idle_worker_ms=kernel.random.choice((1_000, 60_000)),
        )  # fmt: skip
        self.labels: dict[str, str] = {}
        self.state = self._fresh()
        self.link = AgentLink(self, network, scheduler)
        self.is_leaving = False
        # It beats, and takes no commands.
        self.is_deaf = False
        self._inventories: dict[str, Frame | None] = {}
        self._held_back: list[tuple[str, str, Any]] = []
        self._is_restored = False
        self._undelivered: dict[str, set[str]] = {}
        self._timer_ms = -1
        self._perform: dict[type, Callable[[Any], None]] = {
            do.SpawnWorker: self._on_spawn_worker,
            do.ApplyLimits: lambda effect: None,
            do.RunTasks: self._on_run_tasks,
            do.CancelTask: self._on_cancel_task,
            do.ChangeParams: lambda effect: self._send(
                effect.worker, "modify", effect.task.work_key, effect.revision
            ),
            do.FenceWork: self._on_fence_work,
            do.ChangeHolding: self._on_change_holding,
            do.SuspendWork: lambda effect: self.computer.halt(effect.task),
            do.ResumeWork: lambda effect: self.computer.proceed(effect.task),
            do.KillWorker: lambda effect: self.after(200, self.computer.kill_worker, effect.worker),
            do.QuitWorker: lambda effect: self._send(effect.worker, "quit"),
            do.AckWork: lambda effect: self._send(effect.worker, "ack", effect.work_keys),
            do.Prepare: self._on_prepare,
            do.StoreOutputs: self._on_store_outputs,
            do.ForgetTasks: self._on_forget_tasks,
        }

    def _fresh(self) -> State:
        offset_ms = self.computer.wall_ms() - self.now_ms()
        return State(self.computer.capacity, self.settings, offset_ms)

    def now_ms(self) -> int:
        """The monotonic clock of this machine: it begins with the boot."""
        return self.kernel.now_ms + 1_000 * self.computer.boot

    # Birth and death

    def start(self) -> None:
        """Takes over what an earlier process has left, then dials."""
        self.begin()
        self.computer.incarnation += 1
        self.state = self._fresh()
        self._timer_ms = -1
        self.is_leaving = False
        self._is_restored = False
        self._held_back = []
        self._undelivered.clear()
        self.computer.agent = (self, self.generation)
        self._inventories = dict.fromkeys(sorted(self.computer.workers))
        for name in self._inventories:
            self.computer.workers[name].request("attach", self, self.generation)
        self.after(self.kernel.between(5 * MS, 300 * MS), self._restore)

    def kill(self) -> None:
        super().kill()
        self.link.die()

    def _restore(self) -> None:
        for name, inventory in self._inventories.items():
            if inventory is not None:
                self._restore_worker(name, inventory)
        for work_key, end in list(self.computer.records.values()):
            self.dispatch(OutcomeRestored(self._start_of(work_key), end))
        for task in self.state.tasks.values():
            if task.is_suspended:
                self.computer.halt_again(task)
        suspensions = self.computer.suspensions
        holdings = self.computer.holdings
        self.computer.holdings = {key: holdings[key] for key in self.state.tasks if key in holdings}
        self.computer.suspensions = {key: suspensions[key] for key in self.state.tasks if key in suspensions}
        self._is_restored = True
        held_back, self._held_back = self._held_back, []
        for name, kind, what in held_back:
            self._take(name, kind, what)
        self.after(_TICK_US, self._tick)
        self.link.dial()

    def _restore_worker(self, name: str, inventory: Frame) -> None:
        tasks = []
        if inventory.running is not None:
            key, start_ms = inventory.running
            start = self._start_of(key)
            stopped = self.computer.suspended_for_ms(f"{start.task_id}/{start.attempt}")
            tasks.append(TaskRestored(start, True, start_ms, *stopped))
        tasks.extend(TaskRestored(self._start_of(key)) for key in inventory.waiting)
        ended = tuple(TaskRestored(self._start_of(key)) for key, _, _ in inventory.ended)
        self.dispatch(WorkerRestored(name, self.computer.pools.get(name), tuple(tasks), ended))
        if inventory.ended:
            self.dispatch(_report(name, inventory))

    def _start_of(self, work_key: str) -> StartAsked:
        task_id, attempt, epoch, number = work_key.rsplit("/", 3)
        body = self.computer.body(int(number))
        if (resources := self.computer.holdings.get(f"{task_id}/{attempt}")) is not None:
            body = msgspec.structs.replace(body, resources=resources)
        return StartAsked(task_id, int(attempt), int(epoch), body)

    def listen(self) -> None:
        """It is deaf no longer."""
        self.is_deaf = False
        if self.is_up:
            self._run(self.generation, self.link.listen, ())

    def leave(self, deadline_ms: int) -> None:
        """SIGTERM: what runs may go on for a while, then the agent says goodbye."""
        if self.is_up and not self.is_paused and self._is_restored and not self.is_leaving:
            self.is_leaving = True
            self.dispatch(DrainBegan(self.now_ms() + deadline_ms, "the agent stops"))
            self.link.say("draining")
            self._await_rest(self.now_ms() + deadline_ms + 10_000)

    def _await_rest(self, until_ms: int) -> None:
        if (self.state.tasks or self.state.outbox) and self.now_ms() < until_ms:
            self.after(100 * MS, self._await_rest, until_ms)
            return
        self.link.say("bye")
        self.kernel.trace(self.name, "left")
        for name in list(self.computer.workers):
            self.computer.kill_worker(name)
        self.kill()

    # Events in, effects out

    def dispatch(self, event: Event) -> None:
        now_ms = self.now_ms()
        effects = apply(self.state, event, now_ms)
        if effects or not isinstance(event, (ClockTicked, BeatAcknowledged)):
            # What had ended in a worker that is found again is settled by the report that follows.
            if not (isinstance(event, WorkerRestored) and event.ended):
                check_invariants(self.state)
            self.kernel.trace(self.name, type(event).__name__, len(effects), len(self.state.tasks))
        for effect in effects:
            self._perform[type(effect)](effect)
        if self.state.outbox:
            self.link.notify(is_urgent=self.state.outbox.urgent)
        self._arm(now_ms)

    def _arm(self, now_ms: int) -> None:
        due_ms = wake_ms(self.state, now_ms)
        if due_ms is not None and not 0 <= self._timer_ms <= due_ms:
            self._timer_ms = due_ms
            self.after(max(0, due_ms - now_ms) * MS, self._on_timer, due_ms)

    def _on_timer(self, due_ms: int) -> None:
        if due_ms == self._timer_ms:
            self._timer_ms = -1
            self.dispatch(ClockTicked())

    def _tick(self) -> None:
        self.dispatch(ClockTicked())
        self.after(_TICK_US, self._tick)

    def on_worker(self, generation: int, name: str, kind: str, what: Any) -> None:
        """Something from a worker's socket, or from the launcher about it."""
        self._run(generation, self._take, (name, kind, what))

    def _take(self, name: str, kind: str, what: Any) -> None:
        if kind == "frame" and what.inventory and not self._is_restored:
            self._inventories[name] = what
        elif not self._is_restored:
            self._held_back.append((name, kind, what))
        elif kind == "ended":
            self.computer.pools.pop(name, None)
            undelivered = frozenset(self._undelivered.pop(name, ()))
            self.dispatch(WorkerLost(name, signal=what, undelivered=undelivered))
        elif what.inventory:
            self.dispatch(WorkerReady(name))
        else:
            self.dispatch(_report(name, what))

    def _send(self, name: str, kind: str, *what: Any) -> None:
        worker = self.computer.workers.get(name)
        if worker is not None:
            worker.request(kind, *what)

    def _on_spawn_worker(self, effect: do.SpawnWorker) -> None:
        if effect.pool is not None:
            self.computer.pools[effect.worker] = effect.pool
        if self.kernel.chance(0.02):
            self.after(self.kernel.between(MS, SECOND), self._on_spawn_failed, effect.worker)
            return
        self.computer.spawn(effect.worker)
        slow = 2 * SECOND if self.kernel.chance(0.05) else 20 * MS
        self.after(self.kernel.between(MS, slow), self._send, effect.worker, "attach", self, self.generation)

    def _on_spawn_failed(self, name: str) -> None:
        self.computer.pools.pop(name, None)
        self.dispatch(WorkerLost(name, error="no more processes"))

    def _on_run_tasks(self, effect: do.RunTasks) -> None:
        self.computer.pools.setdefault(effect.worker, effect.tasks[0].pool)
        if effect.worker not in self.computer.workers:
            self._undelivered.setdefault(effect.worker, set()).update(task.work_key for task in effect.tasks)
        self._send(effect.worker, "run", tuple(self.computer.work_of(task) for task in effect.tasks))
        if self.state.fenced:
            self._on_fence_work(do.FenceWork(effect.tasks))

    def _on_fence_work(self, effect: do.FenceWork) -> None:
        for task in effect.tasks:
            if task.body.silent_most_ms is not None:
                left_ms = fences.left_ms(self.state, task, self.now_ms()) + FENCE_LATER_MS
                self._send(task.worker, "fence", task.work_key, left_ms, self.settings.stop_grace_ms)

    def _on_change_holding(self, effect: do.ChangeHolding) -> None:
        is_refused = self.kernel.chance(0.1)
        if not is_refused:
            self.computer.holdings[effect.task.key] = effect.holding.resources
        message = "it is not possible here" if is_refused else ""
        changed = HoldingChanged(effect.task.key, effect.revision, effect.holding, is_refused, message)
        self.after(0, self.dispatch, changed)

    def _on_cancel_task(self, effect: do.CancelTask) -> None:
        self._send(effect.worker, "cancel", effect.task.work_key, effect.grace_ms, effect.if_waiting)

    def _on_prepare(self, effect: do.Prepare) -> None:
        event = NeedFailed(effect.need, "not there") if self.kernel.chance(0.03) else NeedReady(effect.need)
        self.after(self.kernel.between(MS, 3 * SECOND), self.dispatch, event)

    def _on_store_outputs(self, effect: do.StoreOutputs) -> None:
        stored = OutputsStored(effect.task.key, effect.exit)
        self.after(self.kernel.between(MS, SECOND), self.dispatch, stored)

    def _on_forget_tasks(self, effect: do.ForgetTasks) -> None:
        keys = [task.key for task in effect.tasks]
        for key in keys:
            self.computer.suspensions.pop(key, None)
            self.computer.holdings.pop(key, None)
        self.after(self.kernel.between(MS, SECOND), self._remove_records, keys)

    def _remove_records(self, keys: list[str]) -> None:
        for key in keys:
            self.computer.records.pop(key, None)


def _report(name: str, frame: Frame) -> WorkReported:
    return WorkReported(
        name,
        tuple(WorkBegun(key, start_ms) for key, start_ms in frame.started),
        tuple(WorkMoved(key, ratio) for key, ratio in frame.progress),
        tuple(WorkDone(key, end, not_started) for key, end, not_started in frame.ended),
        frame.modified,
    )
