"""A warm worker of a machine, with the order and the promises of `modelyard.worker`.

Work runs one after the other, reports are kept until they are acknowledged, a new connection gets the inventory, a
command leaves its record on disk. What is stopped (SIGSTOP) goes on later where it was, and hears nothing meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from services.agent.tasks.events import WorkModified
from services.agent.tasks.model import Body, Cause, Exit, TaskError
from tests.simulation.kernel import MS
from tests.simulation.workload import Job

if TYPE_CHECKING:
    from tests.simulation.agent_host import AgentHost
    from tests.simulation.computer import Computer


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
        # The whole process, or only the command that it runs, is stopped.
        self.is_halted = False
        self.is_whole_halted = False
        self._unheard: list[tuple[str, tuple[Any, ...]]] = []
        # What the running work comes to by itself: when, and what then.
        self._due_us = 0
        self._fate: Callable[[], None] | None = None
        self._fate_number = 0
        # By key: until when it may run without news of its agent, and with what grace it then ends.
        self._fences: dict[str, tuple[int, int]] = {}

    # What the agent sends

    def request(self, kind: str, *what: Any) -> None:
        """Put into the socket: it arrives, in order, whether or not the sender lives on."""
        self._in_us = max(self._in_us, self.kernel.now_us + self.kernel.between(20, 400))
        self.kernel.after(self._in_us - self.kernel.now_us, self._on_request, kind, what)

    def _on_request(self, kind: str, what: tuple[Any, ...]) -> None:
        if not self.is_alive:
            return
        if self.is_whole_halted and kind != "attach":
            self._unheard.append((kind, what))
            return
        if kind == "attach":
            self._attach(*what)
        elif kind == "run":
            self._accept(what[0])
        elif kind == "cancel":
            self._cancel(*what)
        elif kind == "fence":
            self._fence(*what)
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

    def _cancel(self, key: str, grace_ms: int, if_waiting: bool) -> None:
        if self.waiting.pop(key, None) is not None:
            end = Exit(TaskError(Cause.CANCELLED, "it was cancelled"), end_ms=self.computer.wall_ms())
            self._keep((key, end, True))
            self._flush()
        elif if_waiting:
            return
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

    # Deadlines that its agent puts off

    def _fence(self, key: str, after_ms: int, grace_ms: int) -> None:
        """A new deadline for work that runs, or waits."""
        self._fences[key] = (self.kernel.now_us + after_ms * MS, grace_ms)
        self._watch_fence(key)

    def _watch_fence(self, key: str) -> None:
        due_us = self._fences[key][0]
        self.kernel.after(max(0, due_us - self.kernel.now_us) + 100 * MS, self._look_at_fence, key, due_us)

    def _look_at_fence(self, key: str, due_us: int) -> None:
        """Interrupts it; a call that does not heed that takes the worker along."""
        fence = self._fences.get(key)
        running = self.running
        if not self.is_alive or self.is_whole_halted or fence is None or fence[0] != due_us:
            return
        if running is not None and running.key == key:
            self.kernel.trace(self.computer.node, "fences", key)
            self._interrupt(running, fence[1])
            if not running.body.is_command:
                self.kernel.after(fence[1] * MS, self._crash, self._run_number)

    # Signals

    def halt(self, key: str, *, is_whole: bool) -> None:
        """SIGSTOP to the command that is run for this work, or to all of the worker."""
        is_running = self.running is not None and self.running.key == key
        if not self.is_alive or self.is_halted or not (is_whole or is_running):
            return
        self.is_halted = True
        self.is_whole_halted = is_whole
        self._fate_number += 1
        self._due_us -= self.kernel.now_us
        if self.running is not None:
            self.computer.on_halted(self.running, is_halted=True)

    def proceed(self) -> None:
        """SIGCONT."""
        if not self.is_alive or not self.is_halted:
            return
        self.is_halted = self.is_whole_halted = False
        if self.running is not None and self._fate is not None:
            self._await_fate(max(0, self._due_us), self._fate)
            self.computer.on_halted(self.running, is_halted=False)
            if self.running.key in self._fences:
                self._watch_fence(self.running.key)
        unheard, self._unheard = self._unheard, []
        for kind, what in unheard:
            self._on_request(kind, what)

    def _await_fate(self, delay_us: int, fate: Callable[[], None]) -> None:
        self._due_us, self._fate = self.kernel.now_us + delay_us, fate
        self._fate_number += 1
        self.kernel.after(delay_us, self._meet_fate, self._fate_number)

    def _meet_fate(self, number: int) -> None:
        if number == self._fate_number and self._fate is not None:
            self._fate()

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
        if self.is_whole_halted:
            return
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
        if work.key in self._fences:
            self._watch_fence(work.key)
        job, rng = job_of(work.body), self.kernel.random
        run_us = rng.randint(*job.run_us)
        if rng.random() < job.crash_share:
            self._await_fate(run_us // 2, partial(self._crash, self._run_number))
            return
        failure = None
        if rng.random() < job.error_share:
            failure = TaskError(Cause.EXIT if work.body.is_command else Cause.ERROR, "it failed")
        self._await_fate(run_us, partial(self._end, self._run_number, failure))
        self.kernel.after(MS, self._flush_late, self._run_number)
        if job.tells_progress:
            self.kernel.after(run_us // 2, self._tell_progress, self._run_number)

    def _crash(self, number: int) -> None:
        if self.is_alive and number == self._run_number and self.running is not None:
            self.computer.end_worker(self, 9)

    def _tell_progress(self, number: int) -> None:
        is_it = self.is_alive and number == self._run_number and self.running is not None
        if is_it and not self.is_halted:
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
        self._fate = None
        self._fences.pop(work.key, None)
        self.is_halted &= self.is_whole_halted
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


def job_of(body: Body) -> Job:
    """What the task does."""
    job = _JOBS.get(body.params_json)
    if job is None:
        job = _JOBS[body.params_json] = msgspec.json.decode(body.params_json, type=Job)
    return job


_JOBS: dict[str, Job] = {}
