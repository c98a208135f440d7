"""A machine: the launcher's workers and what lies on its disk. Survives the agent's process, not a reboot.

Workers keep the order and the promises of `modelyard.worker`: work runs one after the other, reports are kept until
they are acknowledged, a new connection gets the inventory, a command leaves its record on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from services.agent.events import WorkModified
from services.agent.model import Body, Cause, Exit, Pool, Task, TaskError
from services.scheduler.model import Spec
from tests.simulation.history import History
from tests.simulation.kernel import MS, Kernel
from tests.simulation.messages import body_of
from tests.simulation.workload import Job

if TYPE_CHECKING:
    from tests.simulation.agent_host import AgentHost


class Work(msgspec.Struct, frozen=True):
    """One attempt as a worker has it."""

    key: str
    task: str
    attempt: int
    epoch: int
    body: Body
    devices: tuple[str, ...]
    has_hidden_devices: bool


class Frame(msgspec.Struct, frozen=True):
    """What a worker says at once: inventory (with running and waiting), started, progress, ended."""

    inventory: bool = False
    running: tuple[str, int] | None = None
    waiting: tuple[str, ...] = ()
    started: tuple[tuple[str, int], ...] = ()
    progress: tuple[tuple[str, float], ...] = ()
    ended: tuple[tuple[str, Exit, bool], ...] = ()
    modified: tuple[WorkModified, ...] = ()


class WorkerProcess:
    """A warm worker."""

    def __init__(self, computer: Computer, name: str) -> None:
        self.computer = computer
        self.kernel = computer.kernel
        self.name = name
        self.is_alive = True
        self.waiting: dict[str, Work] = {}
        self.running: Work | None = None
        self.start_ms = 0
        self.reports: dict[str, tuple[str, Exit, bool]] = {}
        self.is_quitting = False
        self._agent: tuple[AgentHost, int] | None = None
        self._started: tuple[tuple[str, int], ...] = ()
        self._ended: list[tuple[str, Exit, bool]] = []
        self._flush_us = 0
        self._in_us = 0
        self._out_us = 0
        self._run_number = 0
        self._cancel_asked = False

    # What the agent sends

    def request(self, kind: str, *what: Any) -> None:
        """Put into the socket: it arrives, in order, whether or not the sender lives on."""
        self._in_us = max(self._in_us, self.kernel.now_us + self.kernel.between(20, 400))
        self.kernel.after(self._in_us - self.kernel.now_us, self._on_request, kind, what)

    def _on_request(self, kind: str, what: tuple[Any, ...]) -> None:
        if not self.is_alive:
            return
        if kind == "attach":
            self._attach(*what)
        elif kind == "run":
            self._accept(what[0])
        elif kind == "cancel":
            self._cancel(*what)
        elif kind == "modify":
            self._modify(*what)
        elif kind == "ack":
            for key in what[0]:
                self.reports.pop(key, None)
        else:
            self.is_quitting = True
        self._look()

    def _attach(self, agent: AgentHost, generation: int) -> None:
        self._agent = (agent, generation)
        self._started = ()
        self._ended = []
        running = (self.running.key, self.start_ms) if self.running is not None else None
        self._say(Frame(True, running, tuple(self.waiting), ended=tuple(self.reports.values())))

    def _accept(self, works: tuple[Work, ...]) -> None:
        for work in works:
            if work.key in self.reports:
                self._ended.append(self.reports[work.key])
            elif work.key not in self.waiting and (self.running is None or self.running.key != work.key):
                self.waiting[work.key] = work

    def _cancel(self, key: str, grace_ms: int) -> None:
        if self.waiting.pop(key, None) is not None:
            end = Exit(TaskError(Cause.CANCELLED, "it was cancelled"), end_ms=self.computer.wall_ms())
            self._keep((key, end, True))
            self._flush()
        elif self.running is not None and self.running.key == key and not self._cancel_asked:
            self._cancel_asked = True
            self._interrupt(self.running, grace_ms)

    def _interrupt(self, work: Work, grace_ms: int) -> None:
        is_stubborn = job_of(work.body).is_stubborn
        if is_stubborn and not work.body.is_command:
            return
        delay_us = grace_ms * MS if is_stubborn else self.kernel.between(0, max(grace_ms, 1) * MS)
        end = TaskError(Cause.CANCELLED, "it was cancelled")
        self.kernel.after(delay_us, self._end, self._run_number, end)

    def _modify(self, key: str, revision: int) -> None:
        """New parameters: the code that runs may refuse them."""
        is_running = self.running is not None and self.running.key == key
        is_known = is_running or key in self.waiting
        is_accepted = is_known and not (is_running and self.kernel.chance(0.2))
        message = "" if is_accepted else "it takes no changes"
        said = WorkModified(key, revision, accepted=is_accepted, message=message, unknown=not is_known)
        self._say(Frame(modified=(said,)))

    # What runs

    def _look(self) -> None:
        if self.running is None and self.waiting:
            self._begin(self.waiting.pop(next(iter(self.waiting))))
        elif self.is_quitting and self.running is None and not self.waiting and not self.reports:
            self.computer.end_worker(self, 0)

    def _begin(self, work: Work) -> None:
        self.running = work
        self.start_ms = self.computer.wall_ms()
        self._started = ((work.key, self.start_ms),)
        self._run_number += 1
        self._cancel_asked = False
        self.computer.on_begin(work)
        job, rng = job_of(work.body), self.kernel.random
        run_us = rng.randint(*job.run_us)
        if rng.random() < job.crash_share:
            self.kernel.after(run_us // 2, self._crash, self._run_number)
            return
        failure = None
        if rng.random() < job.error_share:
            failure = TaskError(Cause.EXIT if work.body.is_command else Cause.ERROR, "it failed")
        self.kernel.after(run_us, self._end, self._run_number, failure)
        self.kernel.after(MS, self._flush_late, self._run_number)
        if job.tells_progress:
            self.kernel.after(run_us // 2, self._tell_progress, self._run_number)

    def _crash(self, number: int) -> None:
        if self.is_alive and number == self._run_number and self.running is not None:
            self.computer.end_worker(self, 9)

    def _tell_progress(self, number: int) -> None:
        if self.is_alive and number == self._run_number and self.running is not None:
            self._flush()
            self._say(Frame(progress=((self.running.key, 0.5),)))

    def _flush_late(self, number: int) -> None:
        if self.is_alive and number == self._run_number and self.running is not None:
            self._flush()

    def _end(self, number: int, failure: TaskError | None) -> None:
        work = self.running
        if not self.is_alive or number != self._run_number or work is None:
            return
        self.running = None
        end = Exit(
            failure, "" if failure else f"{work.task}/{work.attempt}/{work.epoch}@{self.computer.node}",
            start_ms=self.start_ms, end_ms=self.computer.wall_ms(),
        )  # fmt: skip
        self._started = ()
        self._keep((work.key, end, False))
        self.computer.on_end(work, end)
        if not self.waiting or self.kernel.now_us - self._flush_us > MS:
            self._flush()
        self._look()

    # What is said

    def _keep(self, report: tuple[str, Exit, bool]) -> None:
        self.reports[report[0]] = report
        self._ended.append(report)

    def _flush(self) -> None:
        if self._started or self._ended:
            self._say(Frame(started=self._started, ended=tuple(self._ended)))
        self._started, self._ended = (), []
        self._flush_us = self.kernel.now_us

    def unsaid(self) -> list[str]:
        """Keys of works that began and that nobody was told of."""
        return [key for key, _ in self._started] + [key for key, _, _ in self._ended]

    def _say(self, frame: Frame) -> None:
        self._tell("frame", frame)

    def tell_end(self, signal: int) -> None:
        """The launcher tells the agent, after everything that the worker said."""
        self._tell("ended", signal)

    def _tell(self, kind: str, what: Any) -> None:
        teller = self.computer.agent if kind == "ended" else self._agent
        if teller is not None:
            agent, generation = teller
            self._out_us = max(self._out_us, self.kernel.now_us + self.kernel.between(20, 500))
            self.kernel.after(
                self._out_us - self.kernel.now_us, agent.on_worker, generation, self.name, kind, what
            )


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

    def on_begin(self, work: Work) -> None:
        self.kernel.trace(self.node, "begins", work.key, *work.devices)
        running = [w.running for w in self.workers.values() if w.running is not None]
        self.history.on_execution_begin(self.node, work, running, self.capacity)

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


def job_of(body: Body) -> Job:
    """What the task does."""
    job = _JOBS.get(body.params_json)
    if job is None:
        job = _JOBS[body.params_json] = msgspec.json.decode(body.params_json, type=Job)
    return job


_JOBS: dict[str, Job] = {}
