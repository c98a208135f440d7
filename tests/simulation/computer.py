"""A machine: the launcher's workers and what lies on its disk. Survives the agent's process, not a reboot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from services.agent.tasks.model import Body, Exit, Pool, Task
from services.scheduler.model import Spec
from tests.simulation.history import History
from tests.simulation.kernel import Kernel
from tests.simulation.messages import body_of
from tests.simulation.worker import Work, WorkerProcess

if TYPE_CHECKING:
    from tests.simulation.agent_host import AgentHost


class Computer:
    """What outlives the agent: workers, and the state directory."""

    def __init__(self, kernel: Kernel, history: History, node: str, capacity: Mapping[str, int]) -> None:
        self.kernel = kernel
        self.history = history
        self.node = node
        self.capacity = dict(capacity)
        self.boot = 1
        self.wall_skew_ms = kernel.random.randint(-2_000, 2_000)
        self.workers: dict[str, WorkerProcess] = {}
        # Whom the launcher tells of the ends of workers.
        self.agent: tuple[AgentHost, int] | None = None
        # On disk.
        self.incarnation = 0
        self.epoch = 0
        self.pools: dict[str, Pool] = {}
        self.bodies: dict[tuple[str, bytes], Body] = {}
        self.records: dict[str, tuple[str, Exit]] = {}
        # By task: what it holds instead of what its body says.
        self.holdings: dict[str, tuple[tuple[str, int], ...]] = {}
        # By task: since when it is stopped, 0 if it goes on, and how long it was before.
        self.suspensions: dict[str, tuple[int, int]] = {}

    def wall_ms(self) -> int:
        return self.history.wall_ms() + self.wall_skew_ms

    def learn(self, spec: Spec) -> Body:
        """The body of a specification, numbered on this machine for good."""
        known = self.bodies.get((spec.shape.account, spec.body))
        if known is None:
            known = body_of(spec, len(self.bodies) + 1)
            self.bodies[(spec.shape.account, spec.body)] = known
        return known

    def body(self, number: int) -> Body:
        return list(self.bodies.values())[number - 1]

    def work_of(self, task: Task) -> Work:
        return Work(
            task.work_key, task.task_id, task.attempt, task.epoch, task.body, task.gpu_devices, task.prefill
        )

    def spawn(self, name: str) -> None:
        self.workers[name] = WorkerProcess(self, name)

    def kill_worker(self, name: str) -> None:
        worker = self.workers.get(name)
        if worker is not None:
            self.end_worker(worker, 9)

    def end_worker(self, worker: WorkerProcess, signal: int) -> None:
        """The process is gone; a command that it ran is gone with it."""
        self.kernel.trace(self.node, "worker ended", worker.name, signal)
        worker.is_alive = False
        self.history.on_unsaid(worker.unsaid())
        self._drop_running(worker)
        if self.workers.get(worker.name) is worker:
            del self.workers[worker.name]
        worker.tell_end(signal)

    def _drop_running(self, worker: WorkerProcess) -> None:
        # The record of a command is found by the next agent process; this one takes the worker's word or its death.
        recorded = {key for key, _ in self.records.values()}.difference(worker.unsaid())
        self.history.on_reports_lost(key for key in worker.reports if key not in recorded)
        if worker.running is not None:
            self.history.on_execution_end(self.node, worker.running)
            worker.running = None

    def halt(self, task: Task) -> None:
        """Stops a task; it is on disk before that."""
        self.suspensions[task.key] = (self.wall_ms(), task.paused_ms)
        self.halt_again(task)

    def halt_again(self, task: Task) -> None:
        self.kernel.trace(self.node, "halts", task.key)
        worker = self.workers.get(task.worker)
        if worker is not None:
            worker.halt(task.work_key, is_whole=not task.body.is_command)

    def proceed(self, task: Task) -> None:
        self.kernel.trace(self.node, "lets go on", task.key)
        worker = self.workers.get(task.worker)
        if worker is not None:
            worker.proceed()
        self.suspensions[task.key] = (0, task.paused_ms)

    def suspended_for_ms(self, key: str) -> tuple[int, int]:
        """For how long by now, −1: not at all; and for how long before."""
        since_ms, paused_ms = self.suspensions.get(key, (0, 0))
        return (max(0, self.wall_ms() - since_ms) if since_ms else -1), paused_ms

    def on_begin(self, work: Work) -> None:
        self.kernel.trace(self.node, "begins", work.key, *work.devices)
        running = [w.running for w in self.workers.values() if w.running is not None]
        held = [(one, self.holdings.get(f"{one.task}/{one.attempt}", one.body.resources)) for one in running]
        self.history.on_execution_begin(self.node, work, held, self.capacity)

    def on_halted(self, work: Work, *, is_halted: bool) -> None:
        self.history.on_execution_halted(self.node, work, is_halted=is_halted)

    def on_end(self, work: Work, end: Exit) -> None:
        self.kernel.trace(self.node, "ends", work.key, str(end.error and end.error.cause))
        self.history.on_execution_end(self.node, work, is_success=end.error is None)
        if work.body.is_command:
            self.records[f"{work.task}/{work.attempt}"] = (work.key, end)

    def reboot(self) -> None:
        """Everything that ran is gone; what was written is there."""
        self.kernel.trace(self.node, "rebooted")
        self.boot += 1
        for worker in list(self.workers.values()):
            worker.is_alive = False
            self._drop_running(worker)
        self.workers.clear()
        self.pools.clear()
        self.history.on_reboot(self.node)
