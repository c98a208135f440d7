"""Seats: a place in which processes are started and ended from outside, until it is closed.

Owns one seat: its leased ports, its launches by epoch, what is told of them. Everything here is on the main thread; how
orders get there is `keeper`. Must not decide when anything starts or ends.

A repeated epoch changes nothing and is answered with the seat as it is, a lower one is refused; so whoever has lost an
answer may say everything again. The seat as it is also stands in `seat.json`, for those who come when this process is
gone.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelyard.worker.frames import Message
from modelyard.worker.processes.ending import end_children, reap_children
from modelyard.worker.processes.executables import NotExecutable
from modelyard.worker.processes.spawning import Spawner
from modelyard.worker.seats import stacks
from modelyard.worker.seats.launches import CannotStart, Launch
from modelyard.worker.seats.mailbox import Mailbox, Refused
from modelyard.worker.seats.peers import Peers
from modelyard.worker.seats.ports import Leases
from modelyard.worker.seats.progress import stamp
from modelyard.worker.seats.reachability import Checks
from modelyard.worker.seats.signs import Signs
from modelyard.worker.seats.tails import Tail, last_lines, size_of
from modelyard.worker.seats.watch import Watch
from modelyard.worker.warm.forker import Forker

OPEN, RUNNING, STOPPING, ENDED, CLOSED = (
    f"SEAT_STATE_{name}" for name in ("OPEN", "RUNNING", "STOPPING", "ENDED", "CLOSED")
)
SEAT_FILE = "seat.json"
_LINGER_TICK_S = 0.02
# For those that are to end with one that has failed.
_TOGETHER_GRACE_MS = 5_000
_KEPT_MOST = 100

Tell = Callable[[str, Message], None]


class Seat:
    """One seat, from its ports to its end."""

    def __init__(
        self, key: str, work: Message, spawner: Spawner, tell: Tell, forker: Forker | None = None
    ) -> None:
        self.key = key
        self._work = work
        self._spawner = spawner
        self._forker = forker
        # Children of this process that are no processes of the seat.
        self._spared = {forker.pid} if forker is not None else set()
        self._tell_of = tell
        self._task_id, attempt, _, _ = key.rsplit("/", 3)
        self._attempt = int(attempt)
        self._mailbox = Mailbox(work["log_directory"], self._on_report)
        self._leases = Leases(work.get("lease_path", ""))
        self._peers = Peers(work, self._leases, self._spared)
        self._checks = Checks(self._task_id)
        self._state = OPEN
        self._epoch = 0
        self._launch: Launch | None = None
        self._signs: Signs | None = None
        self._watch: Watch | None = None
        self._exit: Message | None = None
        self._start_time = ""
        self._logs = [f"{work['log_directory']}/{name}" for name in ("stdout", "stderr")]
        self._offsets = [0, 0]
        # By the monotonic clock: when what runs is killed.
        self._kill_at: float | None = None
        self._was_stopped = False
        # All that was launched has ended, and what it has started has not: its grace is for all of it.
        self._lingers = False
        # How the task is to end; None: it goes on.
        self._closing: Message | None = None
        self._cpu_time_s = 0.0
        self._memory_peak_bytes = 0

    @property
    def is_closed(self) -> bool:
        return self._closing is not None and not self._runs

    @property
    def fds(self) -> tuple[int, ...]:
        """Readable when a process has ended, or tells something, or a check goes on."""
        processes = tuple(self._launch.pidfds) if self._launch is not None else ()
        return (*processes, *self._peers.pidfds, *self._mailbox.fds, *self._checks.fds)

    @property
    def _runs(self) -> bool:
        return self._launch is not None and (self._launch.is_running or self._lingers)

    def open(self) -> None:
        """Leases the ports and says so. Raises OSError."""
        Path(self._work["directory"]).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._leases.lease(self._work.get("ports", []))
        self._peers.open()
        self._say()

    def close(self) -> Message:
        """Ends everything; the fields of the report."""
        self._checks.end()
        end_children(self._spared)
        self._peers.close()
        self._leases.close()
        self._mailbox.close()
        closing = self._closing or {}
        self._state = CLOSED
        self._say()
        fields: Message = {
            "cpu_time_s": round(self._cpu_time_s, 6),
            "memory_peak_bytes": self._memory_peak_bytes,
            "stdout_bytes": size_of(self._logs[0]),
            "stderr_bytes": size_of(self._logs[1]),
        }
        if closing.get("kept"):
            fields["kept"] = closing["kept"]
        return {**fields, "error": closing["error"]} if "error" in closing else fields

    # --- orders

    def obey(self, order: Message) -> None:
        """Does what is wanted, or tells why not."""
        number = int(order.get("number", 0))
        if "launch" in order:
            self._on_launch(order["launch"], number)
        elif "stop" in order:
            self._on_stop(order["stop"], number)
        elif "close" in order:
            self._on_close(order["close"])
        elif "addresses" in order:
            self._on_addresses(order["addresses"], number)
        elif "check" in order:
            # What runs has its ports itself: then it only dials.
            self._checks.begin(order["check"], None if self._runs else self._leases.held())
        elif "dump_stacks" in order:
            is_fatal = bool(order["dump_stacks"].get("is_fatal"))
            spared, outside = self._launch.whose_stacks(self._spared) if self._launch else (self._spared, ())
            self._tell({"stacks": stacks.dump(self._logs[1], spared, outside, is_fatal=is_fatal)})

    def cancel(self, grace_ms: int, number: int) -> None:
        """The task is to end, and the seat with it."""
        if self._closing is None:
            self._closing = {"error": {"cause": "cancelled"}}
        self._end(grace_ms, number)

    def time_is_over(self, grace_ms: int) -> None:
        """It has had as long as it may have; nobody else has ended it."""
        if self._closing is None:
            message = "it ran longer than its run_timeout; its agent was not there to end it"
            self._closing = {"error": {"cause": "timeout", "message": message}}
        self._end(grace_ms, signal.SIGTERM)

    def _on_launch(self, launch: Message, number: int) -> None:
        epoch = int(launch.get("epoch", 0))
        if epoch == self._epoch:
            self._say()
        elif epoch < self._epoch:
            self._refuse(number, "STALE_EPOCH", f"epoch {epoch} is over; {self._epoch} has begun")
        elif self._runs or self._closing is not None:
            what = "is being closed" if self._closing is not None else f"runs epoch {self._epoch}"
            self._refuse(number, "RUNNING", f"the seat {what}")
        else:
            self._start(epoch, launch)

    def _start(self, epoch: int, launch: Message) -> None:
        self._checks.end()
        self._epoch = epoch
        self._exit, self._was_stopped, self._kill_at = None, False, None
        self._offsets = [size_of(path) for path in self._logs]
        self._start_time = stamp()
        work = self._mailbox.with_address(self._work, self._spawner.whole)
        started = self._launch = Launch(launch, work, self._spawner, self._forker)
        tails = [Tail(path, offset) for path, offset in zip(self._logs, self._offsets, strict=True)]
        self._signs = Signs(
            launch, self._work["directory"], self._leases.numbers, tails, self._work.get("ip", ""), self._tell
        )
        try:
            published = {
                "revision": launch.get("address_revision", 0),
                "addresses": launch.get("addresses", []),
            }
            self._peers.follow(published)
            started.start(self._leases.let_go)
        except (CannotStart, NotExecutable, OSError, ValueError) as error:
            self._on_not_started(str(error))
            return
        self._state = RUNNING
        self._watch = Watch(self._signs, self._logs, self._spared, started.silent_s, started.outside)
        self._say()

    def _on_report(self, progress: Message) -> bool:
        """A process tells how far it is; whether it is to save its state and end."""
        if not self._runs:
            raise Refused(409, "nothing runs in this seat")
        self._tell({"progress": progress})
        return self._state == STOPPING or self._closing is not None

    def _on_not_started(self, message: str) -> None:
        """What has started of it ends at once."""
        os.write(2, f"{self.key}: {message}\n".encode())
        end_children(self._spared)
        assert self._launch is not None
        self._launch.sweep()
        for pidfd in list(self._launch.pidfds):
            os.close(pidfd)
        self._launch.pidfds.clear()
        if self._signs is not None:
            self._signs.close()
        self._settle({"cause": "EXIT_CAUSE_SETUP", "message": message})

    def _on_stop(self, stop: Message, number: int) -> None:
        name = stop.get("signal") or "SIGTERM"
        if name not in signal.Signals.__members__:
            self._refuse(number, "SIGNAL", f"{name[:40]!r} is not a signal")
        elif self._runs and int(stop.get("epoch", 0)) >= self._epoch:
            self._was_stopped = True
            self._end(int(stop.get("grace_ms", 0)), signal.Signals[name])
        elif int(stop.get("epoch", 0)) > self._epoch and not self._runs and self._closing is None:
            self._skip(int(stop["epoch"]))
        else:
            self._say()

    def _skip(self, epoch: int) -> None:
        """Nothing of this epoch has begun, and nothing will: a launch of it that is on its way comes too late."""
        self._epoch, self._was_stopped = epoch, True
        self._offsets, self._start_time = [size_of(path) for path in self._logs], stamp()
        self._settle({"cause": "EXIT_CAUSE_STOPPED", "message": "it was stopped before it was started"})

    def _on_close(self, close: Message) -> None:
        if self._closing is not None:
            return
        self._closing = {"kept": list(close.get("outputs", ()))[:_KEPT_MOST]}
        if close.get("is_failure"):
            message = close.get("message") or "its controller has given it up"
            self._closing["error"] = {"cause": "error", "message": message[:4096]}
        self._end(0, signal.SIGKILL)

    def _on_addresses(self, published: Message, number: int) -> None:
        try:
            self._peers.follow(published)
        except OSError as error:
            self._refuse(number, "ADDRESSES", str(error))

    def _end(self, grace_ms: int, number: int) -> None:
        """Asks what runs to end, and has it killed later. Asking again can only make it sooner."""
        if not self._runs:
            return
        assert self._launch is not None
        kill_at = time.monotonic() + grace_ms / 1000
        self._kill_at = kill_at if self._kill_at is None else min(self._kill_at, kill_at)
        self._launch.signal(number)
        if self._state != STOPPING:
            self._state = STOPPING
            self._say()

    # --- what happens

    def on_readable(self, fd: int) -> None:
        """Something has happened there."""
        if not self._mailbox.on_readable(fd):
            self._on_ended(fd)

    def _on_ended(self, pidfd: int) -> None:
        """A process has ended."""
        if pidfd in self._peers.pidfds:
            self._peers.on_ended()
            return
        if pidfd in self._checks.fds:
            self._checks.on_ready(pidfd)
            return
        launch = self._launch
        if launch is None or pidfd not in launch.pidfds:
            return
        end = launch.reap(pidfd)
        self._cpu_time_s += end.cpu_time_s
        self._memory_peak_bytes = max(self._memory_peak_bytes, end.memory_peak_bytes)
        if launch.is_running:
            if end.has_failed and launch.asked.get("ends_together") and self._kill_at is None:
                self._end(_TOGETHER_GRACE_MS, signal.SIGTERM)
            return
        # What has left its parents is this process's by now.
        if self._kill_at is not None and time.monotonic() < self._kill_at and reap_children(self._spared):
            self._lingers = True
        else:
            self._on_all_ended()

    def _on_all_ended(self) -> None:
        assert self._launch is not None
        self._lingers = False
        end_children(self._spared)
        self._launch.sweep()
        if self._signs is not None:
            self._signs.finish()
        self._settle(self._launch.exit(was_stopped=self._was_stopped))

    def _settle(self, fields: Message) -> None:
        """The processes of this epoch have ended."""
        self._exit = {
            "role": self._work.get("role", ""),
            "index": self._work.get("index", 0),
            "epoch": self._epoch,
            **fields,
            "last_lines": last_lines(self._logs, self._offsets, self._epoch),
            "end_time": stamp(),
        }
        self._state, self._kill_at, self._watch = ENDED, None, None
        self._leases.hold_again()
        self._say()

    def left_s(self) -> float | None:
        """Until something has to be looked at; None: for ever."""
        dues = [due for due in (self._checks.tick_s, self._running_left_s()) if due is not None]
        return min(dues, default=None)

    def _running_left_s(self) -> float | None:
        if not self._runs:
            return None
        if self._lingers:
            return _LINGER_TICK_S
        assert self._watch is not None
        due = self._watch.due_at()
        return (due if self._kill_at is None else min(due, self._kill_at)) - time.monotonic()

    def look(self) -> None:
        """Kills what is overdue, and tells what can be seen."""
        self._mailbox.look()
        if checked := self._checks.look():
            self._tell({"checked": checked})
        if not self._runs:
            return
        now = time.monotonic()
        is_overdue = self._kill_at is not None and now >= self._kill_at
        if self._lingers:
            if is_overdue or not reap_children(self._spared):
                self._on_all_ended()
            return
        if is_overdue:
            self._kill()
            return
        if self._watch is not None and (seen := self._watch.look(now)):
            self._tell({"activity": seen})

    def _kill(self) -> None:
        """All that has come from this process, whatever group or session it has gone to."""
        assert self._launch is not None
        self._launch.signal(signal.SIGKILL)
        self._kill_at = time.monotonic() + 1.0

    # --- what is told

    def _refuse(self, number: int, reason: str, message: str) -> None:
        self._tell({"refusal": {"command": number, "reason": reason, "message": message}})

    def _tell(self, event: Message) -> None:
        named: Message = {"task_id": self._task_id, "attempt": self._attempt, "epoch": self._epoch}
        self._tell_of(self.key, {**named, "time": stamp(), **event})

    def _say(self) -> None:
        """Tells the seat as it is, which is on disk before."""
        seat = self._as_it_is()
        path = Path(self._work["log_directory"], SEAT_FILE)
        draft = path.with_name("seat.new")
        try:
            draft.write_text(json.dumps(seat), encoding="utf-8")
            draft.rename(path)
        except OSError as error:
            os.write(2, f"{path}: {error}\n".encode())
        self._tell({"seat": seat})

    def _as_it_is(self) -> Message:
        seat: dict[str, Any] = {
            "task_id": self._task_id,
            "attempt": self._attempt,
            "job_id": self._work.get("job_id", ""),
            "role": self._work.get("role", ""),
            "index": self._work.get("index", 0),
            "state": self._state,
            "epoch": self._epoch,
            "ports": dict(self._leases.numbers),
            "directory": self._work["directory"],
        }
        if self._peers.forward_port:
            seat["forward_port"] = self._peers.forward_port
        if self._launch is not None:
            seat["pids"] = self._launch.pids
            seat["start_time"] = self._start_time
            seat["stdout_offset"], seat["stderr_offset"] = self._offsets
        if self._signs is not None:
            seat["seen_signs"] = self._signs.seen
        if self._exit is not None:
            seat["exit"] = self._exit
        return seat
