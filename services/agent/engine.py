"""The agent's engine: feeds the machine and performs its effects.

The only place where events, machine and the world meet; the only owner of background tasks. Effects
on sockets are performed at once and in order; slow ones run beside and come back as events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from services.agent.config import Places, task_directory_name
from services.agent.host.limits import Limiter
from services.agent.keeping.holdings import Holdings
from services.agent.keeping.outputs import OutputKeeper
from services.agent.keeping.shims import ShimFiles
from services.agent.keeping.suspensions import Suspensions
from services.agent.keeping.sweep import Cleaner
from services.agent.link.logs import LogPusher
from services.agent.messages import orders
from services.agent.messages.convert import done_of, operator_work, report_of
from services.agent.messages.specifications import Specifications
from services.agent.preparation.commands import CommandSetup
from services.agent.preparation.preparation import Preparer
from services.agent.seats.seats import Seats
from services.agent.tasks import effects as do
from services.agent.tasks import fences
from services.agent.tasks.events import (
    AttachmentsPlaced,
    ClockTicked,
    Event,
    HoldingChanged,
    NeedDropped,
    OutcomeRestored,
    OutputsStored,
    SeatsReported,
    StartAsked,
    TaskRestored,
    WorkerLost,
    WorkerReady,
    WorkerRestored,
    WorkReported,
)
from services.agent.tasks.lifecycle import run_end_ms, run_limit_ms
from services.agent.tasks.machine import State, apply, wake_ms
from services.agent.tasks.model import Phase, Pool, Task, key_of_work
from services.agent.workers.traces import private_directory
from services.agent.workers.workers import Message, Workers
from services.chassis.clock import Clock
from services.chassis.failpoints import failpoint
from services.chassis.logs import get_logger

_log = get_logger("agent.engine")
FENCE_LATER_MS = 1_500


class Engine:
    """One per agent. `dispatch` is the only way in."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        places: Places,
        specifications: Specifications,
        limiter: Limiter,
        logs: LogPusher,
        commands: CommandSetup,
        cleaner: Cleaner,
        shims: ShimFiles,
        suspensions: Suspensions,
        holdings: Holdings,
        notify: Callable[[bool], None],
    ) -> None:
        self.state = state
        self._clock = clock
        self._tasks = str(places.tasks)
        self._specifications = specifications
        self._limiter = limiter
        self._logs = logs
        self._commands = commands
        self._cleaner = cleaner
        self._shims = shims
        self._suspensions = suspensions
        self._holdings = holdings
        self._notify = notify
        self._workers: Workers
        self._preparer: Preparer
        self._outputs: OutputKeeper
        self._seats: Seats
        self._lease_path = str(private_directory() / "ports")
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        self._background: set[asyncio.Task[None]] = set()
        self._perform: dict[type, Callable[[Any], None]] = {
            do.SpawnWorker: self._on_spawn_worker,
            do.ApplyLimits: self._on_apply_limits,
            do.RunTasks: self._on_run_tasks,
            do.CancelTask: self._on_cancel_task,
            do.ChangeParams: self._on_change_params,
            do.PlaceAttachments: self._on_place_attachments,
            do.TellAttachments: self._on_tell_attachments,
            do.ChangeHolding: self._on_change_holding,
            do.FenceWork: self._on_fence_work,
            do.LimitSeat: self._on_limit_seat,
            do.SuspendWork: self._on_suspend_work,
            do.ResumeWork: self._on_resume_work,
            do.KillWorker: self._on_kill_worker,
            do.QuitWorker: self._on_quit_worker,
            do.AckWork: self._on_ack_work,
            do.Prepare: self._on_prepare,
            do.StoreOutputs: self._on_store_outputs,
            do.ForgetTasks: self._on_forget_tasks,
        }

    def connect(self, workers: Workers, preparer: Preparer, outputs: OutputKeeper, seats: Seats) -> None:
        """The parts that report to this engine; once, before the first event."""
        self._workers, self._preparer, self._outputs, self._seats = workers, preparer, outputs, seats

    def dispatch(self, event: Event) -> None:
        """Steps the machine and performs what it wants. Never blocks."""
        now_ms = self._clock.monotonic_ms()
        for effect in apply(self.state, event, now_ms):
            self._perform[type(effect)](effect)
        outbox = self.state.outbox
        if outbox:
            self._notify(outbox.urgent)
        self._arm(now_ms)

    def tell_of_worker(self, event: Event | SeatsReported) -> None:
        """What workers say; logs are followed on the way."""
        if isinstance(event, SeatsReported):
            self._seats.on_reports(event.worker, event.reports)
            return
        if isinstance(event, WorkReported):
            self._logs.on_report(event)
        elif isinstance(event, WorkerReady):
            self._limiter.attach(event.worker, self._workers.pid(event.worker))
        elif isinstance(event, WorkerLost):
            self._logs.on_lost(self._running_in(event.worker))
            event = self._limiter.explain(event)
            self._seats.on_lost(event)
            self._limiter.remove(event.worker)
            self._shims.keep(event.worker, self._unsafe_in(event.worker))
            for key in self._running_in(event.worker):
                if self.state.tasks[key].body.image:
                    self.run_beside(
                        f"container of {key}", asyncio.to_thread(self._commands.contained.end, key)
                    )
        if isinstance(event, WorkReported) and event.done:
            self._drop_spoilt(event)
        self.dispatch(event)
        failpoint("agent.after_report")

    def _drop_spoilt(self, event: WorkReported) -> None:
        """A call gets the cached file itself. What it has written to, against the rules, nobody else is to get."""
        for done in event.done:
            task = self.state.tasks.get(key_of_work(done.key))
            if task is None or task.body.is_command or not task.body.inputs:
                continue
            for digest in self._preparer.spoilt(task.body):
                _log.warning("input_spoilt", task=task.key, digest=digest)
                for need in [need for need in self.state.ready_needs if need.endswith(f":{digest}")]:
                    self.dispatch(NeedDropped(need))

    def run_beside(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Starts slow work that tells its end by an event. A crash of it is logged with its reason."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._on_beside_done)

    async def restore(self) -> None:
        """Takes over what an earlier agent process has left running, and what has ended since."""
        self._suspensions.let_speak()
        for name, pool, inventory in await self._workers.open():
            self._restore_worker(name, pool, inventory)
        for task in self.state.tasks.values():
            if task.is_suspended:
                self._suspensions.halt_again(task, self._workers.pid(task.worker))
        self._suspensions.keep(self.state.tasks)
        self._holdings.keep(self.state.tasks)
        self._restore_outcomes()
        self._logs.follow_left(self.state.tasks.values())
        if self.state.tasks:
            _log.info("tasks_restored", count=len(self.state.tasks))

    def tick(self) -> None:
        """The regular look at the clock, about once a second."""
        self.dispatch(ClockTicked())

    async def close(self) -> None:
        """Cancels what runs beside."""
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def _running_in(self, name: str) -> list[str]:
        worker = self.state.workers.get(name)
        return list(worker.queue)[:1] if worker is not None else []

    def _unsafe_in(self, name: str) -> list[str]:
        """Tasks that have ended in a worker and whose outcomes the scheduler does not have yet."""
        worker = self.state.workers.get(name)
        if worker is None or not worker.unacked:
            return []
        ended = (Phase.STORING, Phase.ENDED)
        return [t.key for t in self.state.tasks.values() if t.worker == name and t.phase in ended]

    # --- restoring

    def _restore_outcomes(self) -> None:
        gone: dict[str, list[str]] = {}
        for worker, record in self._shims.outcomes(self.state.workers):
            start = self._start_of(record["key"])
            keys = gone.setdefault(worker, [])
            if start is not None:
                keys.append(f"{start.task_id}/{start.attempt}")
                self.dispatch(OutcomeRestored(start, done_of(record).exit, worker))
        for worker, keys in gone.items():
            self._shims.keep(worker, [key for key in keys if key in self.state.tasks])

    def _restore_worker(self, name: str, pool: Pool | None, inventory: Message) -> None:
        running = [(item, True) for item in inventory.get("running", ())]
        waiting = [({"key": key}, False) for key in inventory.get("waiting", ())]
        tasks = [self._restored(item, is_running) for item, is_running in (*running, *waiting)]
        ended = [self._restored(item, False) for item in inventory.get("ended", ())]
        self.dispatch(WorkerRestored(name, pool, tuple(filter(None, tasks)), tuple(filter(None, ended))))
        limits = self.state.workers[name].limits
        if limits is not None:
            self._limiter.apply(name, self._workers.pid(name), limits)
        self._seats.on_reports(name, inventory.get("seats", ()))
        if inventory.get("ended"):
            self.dispatch(report_of(name, {"ended": inventory["ended"]}))

    def _restored(self, item: Message, is_running: bool) -> TaskRestored | None:
        start = self._start_of(item["key"])
        if start is None:
            return None
        for_ms, paused_ms = self._suspensions.of(f"{start.task_id}/{start.attempt}")
        return TaskRestored(start, is_running, item.get("start_time_ms", 0), for_ms, paused_ms)

    def _start_of(self, work_key: str) -> StartAsked | None:
        """What was asked for, by the key that the worker knows; None if it cannot be told any more."""
        try:
            task_id, attempt, epoch, number = work_key.rsplit("/", 3)
            body = self._specifications.body(int(number))
            body = self._holdings.laid_over(f"{task_id}/{attempt}", body)
            return StartAsked(task_id, int(attempt), int(epoch), body)
        except (ValueError, KeyError):
            _log.warning("task_not_restored", key=work_key)
            return None

    # --- effects

    def _on_spawn_worker(self, effect: do.SpawnWorker) -> None:
        failpoint("agent.before_spawn")
        python, paths = self._preparer.interpreter(effect.pool) if effect.pool else ("", ())
        self._workers.spawn(effect.worker, effect.pool, python, paths)

    def _on_apply_limits(self, effect: do.ApplyLimits) -> None:
        self._limiter.apply(effect.worker, self._workers.pid(effect.worker), effect.limits)

    def _on_run_tasks(self, effect: do.RunTasks) -> None:
        failpoint("agent.before_run")
        self._workers.claim(effect.worker, effect.tasks[0].pool)
        self._workers.send(effect.worker, run=tuple([self._work(effect.worker, t) for t in effect.tasks]))
        if self.state.fenced:
            self._on_fence_work(do.FenceWork(effect.tasks))

    def _work(self, worker: str, task: Task) -> Message:
        directory = f"{self._tasks}/{task_directory_name(task.key)}"
        if not task.body.is_command:
            work = operator_work(task, directory, self._preparer.input_paths(task.body))
            work["operator"].update(self._commands.reach.of_operator(task))
            return work
        limits = self._limiter.frame(worker, task.body.limits)
        if task.body.seat is not None:
            seat = self._commands.seat(task, worker, directory, limits, self._lease_path)
            if run_limit_ms(task):
                seat["run_timeout_ms"] = run_limit_ms(task) + FENCE_LATER_MS
                seat["grace_ms"] = self.state.settings.stop_grace_ms
            return {"key": task.work_key, "seat": seat}
        return {"key": task.work_key, "command": self._commands.work(task, worker, directory, limits)}

    def _on_cancel_task(self, effect: do.CancelTask) -> None:
        self._workers.send(effect.worker, cancel=(orders.cancel(effect),))

    def _on_change_params(self, effect: do.ChangeParams) -> None:
        self._workers.send(effect.worker, modify=(orders.params(effect),))

    def _on_place_attachments(self, effect: do.PlaceAttachments) -> None:
        self.run_beside(f"attachments {effect.task.key}", self._place_attachments(effect))

    async def _place_attachments(self, effect: do.PlaceAttachments) -> None:
        work = Path(self._tasks) / task_directory_name(effect.task.key) / "work"
        problem = await self._preparer.attach(effect.task.body, effect.attachments, work)
        self.dispatch(AttachmentsPlaced(effect.task.key, effect.revision, effect.attachments, problem))

    def _on_tell_attachments(self, effect: do.TellAttachments) -> None:
        work = f"{self._tasks}/{task_directory_name(effect.task.key)}/work"
        self._workers.send(effect.worker, modify=(orders.attachments(effect, work),))

    def _on_change_holding(self, effect: do.ChangeHolding) -> None:
        pid = self._workers.pid(effect.worker)
        if effect.task.body.image:
            refused, message = False, "as a reservation only: the limits of its container stay"
        else:
            refused, message = self._limiter.change(effect.worker, pid, effect.holding.limits)
        if not refused:
            self._holdings.note(effect.task, effect.holding)
        changed = HoldingChanged(effect.task.key, effect.revision, effect.holding, refused, message)
        # Not from within the step that asked for it.
        asyncio.get_running_loop().call_soon(self.dispatch, changed)

    def _on_fence_work(self, effect: do.FenceWork) -> None:
        """A little later than the machine itself would end them, so that it is the machine that says why."""
        now_ms = self._clock.monotonic_ms()
        for task in effect.tasks:
            if task.body.silent_most_ms is not None:
                after_ms = fences.left_ms(self.state, task, now_ms) + FENCE_LATER_MS
                fence = orders.fence(task, after_ms, self.state.settings.stop_grace_ms)
                self._workers.send(task.worker, fence=(fence,))

    def _on_limit_seat(self, effect: do.LimitSeat) -> None:
        task, now_ms = effect.task, self._clock.monotonic_ms()
        has_limit = run_limit_ms(task) > 0 and not task.is_suspended
        after_ms = run_end_ms(self.state, task, now_ms) - now_ms + FENCE_LATER_MS if has_limit else -1
        self._workers.send(task.worker, seats=(orders.seat_limit(task, after_ms),))

    def _on_suspend_work(self, effect: do.SuspendWork) -> None:
        self._suspensions.begin(effect.task, self._workers.pid(effect.worker))

    def _on_resume_work(self, effect: do.ResumeWork) -> None:
        self._suspensions.end(effect.task, self._workers.pid(effect.worker))

    def _on_kill_worker(self, effect: do.KillWorker) -> None:
        self._workers.kill(effect.worker)

    def _on_quit_worker(self, effect: do.QuitWorker) -> None:
        self._workers.send(effect.worker, quit=True)

    def _on_ack_work(self, effect: do.AckWork) -> None:
        failpoint("agent.before_worker_ack")
        self._workers.send(effect.worker, ack=effect.work_keys)

    def _on_prepare(self, effect: do.Prepare) -> None:
        self._seats.expect(effect.task)
        self.run_beside(effect.need, self._preparer.prepare(effect.need, effect.task))

    def _on_store_outputs(self, effect: do.StoreOutputs) -> None:
        self.run_beside(f"outputs {effect.task.key}", self._store_outputs(effect))

    async def _store_outputs(self, effect: do.StoreOutputs) -> None:
        end = await self._outputs.keep(effect.task, effect.exit)
        self.dispatch(OutputsStored(effect.task.key, end))

    def _on_forget_tasks(self, effect: do.ForgetTasks) -> None:
        self._cleaner.forget(effect.tasks)
        self._shims.forget(effect.tasks)
        self._suspensions.forget(effect.tasks)
        self._holdings.forget(effect.tasks)

    # --- time

    def _arm(self, now_ms: int) -> None:
        due_ms = wake_ms(self.state, now_ms)
        if due_ms is None or (self._timer is not None and self._timer_ms <= due_ms):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ms = due_ms
        delay_s = max(0.0, (due_ms - now_ms) / 1000)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.dispatch(ClockTicked())

    def _on_beside_done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background_crashed", work=task.get_name(), reason=str(error), exc_info=error)
