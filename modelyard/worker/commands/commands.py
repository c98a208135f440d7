"""Commands, one at a time: a process group of its own, its logs, its limits and its end.

Owns the way from a RunCommand to its report and its record on disk. Must not run Python code of a user.

How a process is started, and what limits it, is `spawning`.
"""

import os
import resource
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from modelyard.worker.commands.outcomes import clean_up, read_outcome
from modelyard.worker.commands.records import Records
from modelyard.worker.failures import setup_error
from modelyard.worker.frames import Message
from modelyard.worker.ledger import merged, now_ms
from modelyard.worker.processes.capture import open_log
from modelyard.worker.processes.cgroups import memory_peak_bytes, out_of_memory_count
from modelyard.worker.processes.ending import await_children, end_children
from modelyard.worker.processes.executables import NotExecutable
from modelyard.worker.processes.spawning import Spawner, limit_memory, signal_group, signal_name
from modelyard.worker.rooms import Rooms, give_params, replace_params

_KILLED = float("inf")


class Ending(NamedTuple):
    """How a process ended."""

    status: int
    usage: resource.struct_rusage
    was_cancelled: bool


class Commander:
    def __init__(self, on_spawned: Callable[[int], None]) -> None:
        self._on_spawned = on_spawned
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._cancelled: tuple[str, int, str] = ("", 0, "")
        # Guards what follows: who changes parameters is on another thread.
        self._changing = threading.Lock()
        self._key, self._work, self._leader, self._is_entered = "", Message(), 0, False
        self._rooms = Rooms()
        self._spawner = Spawner()
        self.records = Records()

    def run(self, key: str, work: Message, start_time_ms: int) -> Message:
        """Runs the command to its end, writes its record, and gives its report. When this returns,
        nothing of the command is left."""
        report: Message = {"key": key, "start_time_ms": start_time_ms}
        with self._changing:
            self._key, self._work = key, work
        report.update(self._run(key, work))
        self._let_go()
        report["end_time_ms"] = now_ms()
        if work.get("record_path"):
            self._record(work["record_path"], report)
        self._rooms.leave(work)
        return report

    def modify(self, key: str, params: Message, number: int) -> str | None:
        """Lays parameters over those in the running command's file and sends the signal, if there is one, to its
        group; what is wrong, "" for nothing, None: it does not run here. From another thread."""
        with self._changing:
            work = self._work
            if self._key != key:
                return None
            if self._is_entered and "params_json" not in work:
                return "it was started without parameters and without a modify_signal, so it reads no file of them"
            changed = merged(work.get("params_json"), params)
            try:
                if self._is_entered:
                    replace_params(work, changed)
            except OSError as error:
                return f"its file of parameters cannot be written: {error}"
            give_params(work, changed)
            if number and self._leader:
                signal_group(self._leader, number)
        return ""

    def signal(self, key: str, number: int) -> str | None:
        """Sends a signal, if there is one, to the running command's group; None: it does not run here. From another
        thread."""
        with self._changing:
            if self._key != key:
                return None
            if number and self._leader:
                signal_group(self._leader, number)
        return ""

    def _enter(self, work: Message) -> None:
        with self._changing:
            self._rooms.enter(work)
            self._is_entered = True

    def _lead(self, pid: int) -> None:
        with self._changing:
            self._leader = pid
        self._on_spawned(pid)

    def _let_go(self) -> None:
        """Before the leader is reaped: its number may belong to another process after that."""
        with self._changing:
            self._key, self._work, self._leader, self._is_entered = "", Message(), 0, False

    def _record(self, path: str, report: Message) -> None:
        try:
            self.records.append(path, report)
        except OSError as error:
            # The report is in memory as well, which is enough while this process lives.
            os.write(2, f"{path}: {error}\n".encode())

    def interrupt(self, key: str, grace_ms: int, name: str = "") -> None:
        """Asks the command to end by the signal of this name, SIGTERM unless one is given; from another thread."""
        self._cancelled = (key, grace_ms, name or "SIGTERM")
        os.eventfd_write(self._wake, 1)

    def _run(self, key: str, work: Message) -> Message:
        limits = work.get("limits", {})
        cgroups = limits.get("cgroup_paths", [])
        oom_before = sum(map(out_of_memory_count, cgroups))
        peaks_before = list(map(memory_peak_bytes, cgroups))
        try:
            self._enter(work)
            ending, trouble = self._spawn_and_wait(key, work, cgroups)
        except NotExecutable as error:
            return {"error": setup_error(str(error))}
        except OSError as error:
            return {"error": setup_error(f"cannot start {work['argv'][0]!r}: {error}")}
        ran_out = sum(map(out_of_memory_count, cgroups)) > oom_before
        fields: Message = {
            "cpu_time_s": round(ending.usage.ru_utime + ending.usage.ru_stime, 6),
            "memory_peak_bytes": _peak(ending, cgroups, peaks_before),
            "stdout_bytes": _size(work, "stdout"),
            "stderr_bytes": _size(work, "stderr"),
            "enforcement": _enforcement(limits),
        }
        failure = setup_error(trouble) if trouble else _failure(ending, ran_out, limits)
        if work.get("outcome_path"):
            return self._stood_for(work, fields, ending, failure)
        return {**fields, "error": failure} if failure else fields

    def _stood_for(self, work: Message, fields: Message, ending: Ending, failure: Message | None) -> Message:
        """The end of what the process stood for, which it tells itself unless it was killed."""
        if os.WIFSIGNALED(ending.status):
            clean_up(self._spawner, work)
        told = read_outcome(work["outcome_path"])
        if told is None and not ending.was_cancelled:
            return {**fields, "error": setup_error("what kept its container ended before it; see its stderr")}
        told = told or {}
        error = told.pop("error", None)
        if ending.was_cancelled and failure is not None:
            error = {**(error or failure), "cause": "cancelled"}
        return {**fields, **told, **({"error": error} if error else {})}

    def _spawn_and_wait(self, key: str, work: Message, cgroups: list[str]) -> tuple[Ending, str]:
        trouble_read, trouble_write = os.pipe2(os.O_CLOEXEC) if cgroups else (-1, -1)
        try:
            pid = self._spawn(work, cgroups, trouble_write)
            if trouble_write >= 0:
                os.close(trouble_write)
                trouble_write = -1
            limit_memory(pid, work.get("limits", {}))
            self._lead(pid)
            ending = self._wait(key, pid)
            trouble = os.read(trouble_read, 4096).decode(errors="replace") if cgroups else ""
            return ending, f"cannot enter the cgroup: {trouble.strip()}" if trouble else ""
        finally:
            for fd in (trouble_read, trouble_write):
                if fd >= 0:
                    os.close(fd)

    def _spawn(self, work: Message, cgroups: list[str], trouble_write: int) -> int:
        logs = [open_log(_log_directory(work), name) for name in ("stdout", "stderr")]
        try:
            return self._spawner.spawn(
                work["argv"],
                work.get("env", {}),
                work.get("directory") or "/",
                [self._null, *logs],
                cgroups,
                trouble_write,
            )
        finally:
            for fd in logs:
                os.close(fd)

    def _wait(self, key: str, pid: int) -> Ending:
        pidfd = os.pidfd_open(pid)
        try:
            kill_at = self._watch(key, pid, pidfd)
        finally:
            os.close(pidfd)
        self._let_go()
        _, status, usage = os.wait4(pid, 0)
        if kill_at is not None and kill_at != _KILLED:
            # The grace is for the whole group: a shell that goes at once must not take it from its children.
            await_children(kill_at)
        end_children()
        return Ending(status, usage, kill_at is not None)

    def _watch(self, key: str, pid: int, pidfd: int) -> float | None:
        """Waits for the leader to end, ending its group when asked to; when the rest of it is to be killed."""
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        kill_at: float | None = None
        while True:
            if kill_at is None and self._cancelled[0] == key:
                kill_at = time.monotonic() + self._cancelled[1] / 1000
                signal_group(pid, signal.Signals[self._cancelled[2]])
                signal_group(pid, signal.SIGCONT)
            if kill_at is not None and time.monotonic() >= kill_at:
                signal_group(pid, signal.SIGKILL)
                kill_at = _KILLED
            for fd, _ in poll.poll(_until(kill_at)):
                if fd == pidfd:
                    return kill_at
                os.eventfd_read(self._wake)


def _until(moment: float | None) -> float | None:
    if moment is None or moment == _KILLED:
        return None
    return max(0.0, (moment - time.monotonic()) * 1000 + 1)


def _peak(ending: Ending, cgroups: list[str], before: list[int]) -> int:
    """A group's peak counts only where this command has raised it: some kernels cannot set it back."""
    peaks = [peak for peak, old in zip(map(memory_peak_bytes, cgroups), before, strict=True) if peak > old]
    return max([ending.usage.ru_maxrss * 1024, *peaks])


def _size(work: Message, name: str) -> int:
    try:
        return os.stat(f"{_log_directory(work)}/{name}").st_size  # noqa: PTH116 - once a command, twice
    except FileNotFoundError:
        return 0


def _log_directory(work: Message) -> str:
    return work.get("log_directory") or work.get("directory") or "/"


def _enforcement(limits: Message) -> str:
    if limits.get("cgroup_paths"):
        return "cgroup"
    return "rlimit" if int(limits.get("memory_bytes", 0)) else "none"


def _failure(ending: Ending, ran_out: bool, limits: Message) -> Message | None:
    number = os.WTERMSIG(ending.status) if os.WIFSIGNALED(ending.status) else 0
    code = 0 if number else os.WEXITSTATUS(ending.status)
    if ending.was_cancelled:
        return {"cause": "cancelled", "exit_code": code, "signal": number}
    if ran_out and (number or code):
        most = int(limits.get("memory_bytes", 0))
        message = f"needed more memory than its limit of {most} bytes" if most else "ran out of memory"
        return {"cause": "out_of_memory", "message": message, "exit_code": code, "signal": number}
    if number:
        return {"cause": "signal", "message": f"was ended by {signal_name(number)}", "signal": number}
    return {"cause": "exit", "message": f"exited with code {code}", "exit_code": code} if code else None
