"""The processes of one launch of a seat: their files, their start, how they ended.

Owns the pids from the spawn until they are reaped. Everything here is on the main thread.
"""

import os
import signal
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from modelyard.worker.frames import Message
from modelyard.worker.processes.capture import open_log
from modelyard.worker.processes.cgroups import out_of_memory_count
from modelyard.worker.processes.spawning import Spawner, limit_memory, signal_group, signal_name
from modelyard.worker.seats.contained import Containers
from modelyard.worker.seats.signs import is_below
from modelyard.worker.seats.tails import heading
from modelyard.worker.warm.forker import Forker


class CannotStart(ValueError):
    """What was asked for cannot be made ready."""


class Ended(NamedTuple):
    """How one process ended, by its place in the launch."""

    process: int
    status: int
    cpu_time_s: float
    memory_peak_bytes: int

    @property
    def has_failed(self) -> bool:
        return self.status != 0


class Launch:
    """From the first spawn to the last end."""

    def __init__(self, asked: Message, work: Message, spawner: Spawner, forker: Forker | None = None) -> None:
        self.asked = asked
        self._work = work
        self._spawner = spawner
        self._forker = forker
        self.pids: list[int] = []
        # By descriptor: which process it tells the end of.
        self.pidfds: dict[int, int] = {}
        self.ended: list[Ended] = []
        asked_container = work.get("container")
        self.containers = Containers(asked_container, work["log_directory"]) if asked_container else None
        self._cgroups: list[str] = work.get("limits", {}).get("cgroup_paths", [])
        self._oom_before = self._oom_count()

    def start(self, let_go: Callable[[], None]) -> None:
        """Writes the files, then starts all processes; ``let_go`` is called in the last moment before them. Raises
        CannotStart, NotExecutable, OSError; what has started by then runs."""
        directory = Path(self._work["directory"])
        processes = self.asked.get("processes", [])
        if not processes:
            raise CannotStart("there is no process to start")
        for file in self.asked.get("files", ()):
            write_file(directory, file)
        logs = [open_log(self._work["log_directory"], name) for name in ("stdout", "stderr")]
        try:
            os.write(logs[1], f"{heading(self.asked['epoch'])}\n".encode())
            let_go()
            for process in processes:
                self._start_one(process, logs)
        finally:
            for fd in logs:
                os.close(fd)

    def _start_one(self, process: Message, logs: list[int]) -> None:
        if not process.get("argv"):
            raise CannotStart(f"process {len(self.pids)} has no argv")
        stdin = _stdin(process.get("stdin", ""))
        env = {**self._work.get("env", {}), **process.get("env", {})}
        argv = process["argv"]
        if self.containers is not None:
            argv, env = self.containers.words(argv, env), dict(self.containers.env)
        trouble_read, trouble_write = os.pipe2(os.O_CLOEXEC) if self._cgroups else (-1, -1)
        try:
            pid = self._spawn(argv, env, [stdin, *logs], trouble_write)
        finally:
            for fd in (stdin, trouble_write, trouble_read):
                if fd >= 0:
                    os.close(fd)
        limit_memory(pid, self._work.get("limits", {}))
        self.pidfds[os.pidfd_open(pid)] = len(self.pids)
        self.pids.append(pid)

    def _spawn(self, argv: list[str], env: dict[str, str], fds: list[int], trouble_write: int) -> int:
        directory, forker = self._work["directory"], self._forker
        if forker is not None:
            whole = self._spawner.whole(env)
            if forker.takes(argv, whole, directory, self.asked.get("imports", ())):
                return forker.spawn(argv, whole, directory, fds, self._cgroups)
        return self._spawner.spawn(argv, env, directory, fds, self._cgroups, trouble_write)

    @property
    def is_running(self) -> bool:
        return bool(self.pidfds)

    def reap(self, pidfd: int) -> Ended:
        """Of a process that has ended."""
        process = self.pidfds.pop(pidfd)
        os.close(pidfd)
        _, status, usage = os.wait4(self.pids[process], 0)
        end = Ended(process, status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
        told = self.containers.told(process) if self.containers is not None else None
        if told is not None:
            cpu_time_s, peak = told.get("cpu_time_s", 0.0), told.get("memory_peak_bytes", 0)
            end = end._replace(cpu_time_s=cpu_time_s, memory_peak_bytes=peak)
        self.ended.append(end)
        return end

    @property
    def silent_s(self) -> float:
        """The patience with silence; 0: endless."""
        return int(self.asked.get("silent_ms", 0)) / 1000

    def whose_stacks(self, spared: Collection[int]) -> tuple[Collection[int], Collection[int]]:
        """Who is not asked for stacks, and who is besides children: what stands beside a container would only hand the
        signal on, to a program that may not expect it."""
        return ({*spared, *self.pids} if self.containers is not None else spared), self.outside()

    def outside(self) -> list[int]:
        """Processes of it that are none of this one's: what runs in containers."""
        return [*self.containers.leaders()] if self.containers is not None else []

    def signal(self, number: int) -> None:
        """To the groups of the processes that have not ended, which go on if they were stopped."""
        for process in list(self.pidfds.values()):
            signal_group(self.pids[process], number)
            signal_group(self.pids[process], signal.SIGCONT)

    def sweep(self) -> None:
        """Nothing of it is left beside its processes, which have ended."""
        if self.containers is not None:
            self.containers.clean_up(self._spawner)

    def exit(self, *, was_stopped: bool) -> Message:
        """The end of the instance, as an InstanceExit without its last lines: that of the process that failed first, or
        of the first one."""
        first = next((end for end in self.ended if end.has_failed), None)
        end = first or min(self.ended, key=lambda ended: ended.process)
        number = os.WTERMSIG(end.status) if os.WIFSIGNALED(end.status) else 0
        code = 0 if number else os.WEXITSTATUS(end.status)
        fields: Message = {"process": end.process, "exit_code": code, "signal": number}
        if was_stopped:
            return {**fields, "cause": "EXIT_CAUSE_STOPPED", "message": "it was asked to end"}
        if first is None:
            return {**fields, "cause": "EXIT_CAUSE_SUCCESS"}
        if self.containers is not None:
            return {**fields, **self.containers.exit(end.process, code)}
        if self._oom_count() > self._oom_before:
            message = "it needed more memory than it may have"
            return {**fields, "cause": "EXIT_CAUSE_OUT_OF_MEMORY", "message": message}
        if number:
            message = f"was ended by {signal_name(number)}"
            return {**fields, "cause": "EXIT_CAUSE_SIGNAL", "message": message}
        return {**fields, "cause": "EXIT_CAUSE_EXIT", "message": f"exited with code {code}"}

    def _oom_count(self) -> int:
        return sum(map(out_of_memory_count, self._cgroups))


def write_file(directory: Path, file: Message) -> None:
    """Puts a rendered file below the directory, whole or not at all. Raises CannotStart, OSError."""
    name = file.get("path", "")
    if not is_below(name):
        raise CannotStart(f"the file {name[:200]!r} would not lie in the instance's directory")
    path = directory / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.parent.resolve().is_relative_to(directory.resolve()):
        raise CannotStart(f"the file {name[:200]!r} would lie behind a link")
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(file.get("content", ""), encoding="utf-8")
    draft.chmod(0o700 if file.get("is_executable") else 0o600)
    draft.rename(path)


def _stdin(text: str) -> int:
    """A descriptor that gives the text and then its end."""
    if not text:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    fd = os.memfd_create("stdin", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(text.encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
