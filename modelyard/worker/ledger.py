"""What a worker has to do and what it still has to say.

Owns waiting work, the running work, reports until they are acknowledged, and the sending of them. Must not
run work. Every method may be called from any thread; a method that sends may block while the agent does
not read, and a connection that breaks is forgotten: its successor gets the inventory.
"""

import json
import os
import socket
import threading
import time
from queue import SimpleQueue

from modelyard.worker.frames import Message, encode
from modelyard.worker.rooms import give_params
from modelyard.worker.seat_reports import SeatReports


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def merged(text: str | None, params: Message) -> str:
    """A JSON object with parameters laid over it."""
    return json.dumps({**json.loads(text or "{}"), **params})


class Ledger:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Keys in their order; None: look whether the worker should end.
        self.queue: SimpleQueue[str | None] = SimpleQueue()
        self.waiting: dict[str, Message] = {}
        self.running: Message | None = None
        # Whether that is a call, whose output is collected here.
        self.is_call = False
        self.reports: dict[str, Message] = {}
        self.quitting = False
        self.flushed_at = 0.0
        self._connection: socket.socket | None = None
        self._started: Message | None = None
        self._ended: list[Message] = []
        self._progress: dict[str, Message] = {}
        self._modified: list[Message] = []
        self._seats = SeatReports()
        self._said_of_seats: list[Message] = []

    # The agent's side

    def attach(self, connection: socket.socket) -> None:
        """A new connection: it gets the inventory, which holds everything not yet said."""
        with self._lock:
            self._connection = connection
            self._forget_unsent()
            inventory: Message = {"pid": os.getpid()}
            if self.waiting:
                inventory["waiting"] = list(self.waiting)
            if self.running is not None:
                inventory["running"] = [self.running]
            if self.reports:
                inventory["ended"] = list(self.reports.values())
            if seats := self._seats.inventory():
                inventory["seats"] = seats
            self._send({"inventory": inventory})

    def detach(self) -> None:
        with self._lock:
            self._connection = None

    def accept(self, works: list[Message]) -> None:
        """Takes work; what is known by its key already is not taken twice, its report is sent again."""
        with self._lock:
            for work in works:
                key = work["key"]
                if key in self.reports:
                    self._ended.append(self.reports[key])
                elif key not in self.waiting and (self.running is None or self.running["key"] != key):
                    self.waiting[key] = work
                    self.queue.put(key)

    def withdraw(self, key: str) -> bool:
        """Ends waiting work as cancelled; whether there was any."""
        with self._lock:
            if self.waiting.pop(key, None) is None:
                return False
            self._keep({"key": key, "end_time_ms": now_ms(), "error": {"cause": "cancelled"}})
            return True

    def override(self, key: str, params: Message) -> bool:
        """Lays parameters over those of waiting work; whether there was any."""
        with self._lock:
            work = self.waiting.get(key)
            if work is None:
                return False
            if "command" in work:
                command = work["command"]
                give_params(command, merged(command.get("params_json"), params))
            else:
                call = work.setdefault("operator", {})
                call["override_json"] = merged(call.get("override_json"), params)
            return True

    def acknowledge(self, keys: list[str]) -> None:
        with self._lock:
            for key in keys:
                self.reports.pop(key, None)
        if self.quitting:
            self.queue.put(None)

    def acknowledge_seat(self, key: str, number: int) -> None:
        """The trainer has what was said of this seat up to this number."""
        with self._lock:
            self._seats.acknowledge(key, number)

    def quit(self) -> None:
        self.quitting = True
        self.queue.put(None)

    # The work's side

    def begin(self, key: str) -> Message | None:
        """Makes waiting work the running one; None if it was withdrawn. "Started" is said soon; of a
        command only when `lead` has told its process, of a seat when it is `open`."""
        with self._lock:
            work = self.waiting.pop(key, None)
            if work is not None:
                self.running = {"key": key, "start_time_ms": now_ms()}
                self.is_call = "command" not in work and "seat" not in work
                self._started = self.running if self.is_call else None
            return work

    def lead(self, pid: int) -> None:
        """Tells the leader of the running command's process group."""
        with self._lock:
            if self.running is not None:
                self.running = self._started = {**self.running, "pid": pid}

    def progress(self, key: str, ratio: float, message: str) -> None:
        self._progress[key] = {"key": key, "ratio": ratio, "message": message}
        if time.monotonic() - self.flushed_at > 0.05:
            self.flush()

    def modified(
        self, key: str, revision: int, problem: str, *, unknown: bool = False, attached: bool = False
    ) -> None:
        """Answers a change of parameters, or of attachments (``attached``); no problem: it was accepted.
        ``unknown``: that work is not here."""
        answer: Message = {"key": key, "revision": revision, "accepted": not problem}
        if problem:
            answer["message"] = problem
        if unknown:
            answer["unknown"] = True
        if attached:
            answer["has_attachments"] = True
        with self._lock:
            self._modified.append(answer)

    def open(self) -> None:
        """The running seat is open: now it counts as started."""
        with self._lock:
            self._started = self.running
        self.flush()

    def tell_of_seat(self, key: str, event: Message) -> None:
        """Says at once what has become of a seat, and keeps it until it is acknowledged."""
        with self._lock:
            self._said_of_seats.append(self._seats.add(key, event))
        self.flush()

    def end(self, report: Message) -> None:
        """The running work has ended; its report is kept until it is acknowledged."""
        with self._lock:
            self._seats.close()
            self.running = self._started = None
            self._progress.pop(report["key"], None)
            self._keep(report)

    # Both

    @property
    def is_idle(self) -> bool:
        return not self.waiting and self.running is None

    @property
    def has_answers(self) -> bool:
        """Whether a change was asked for and its answer is not sent."""
        return bool(self._modified or self._said_of_seats)

    @property
    def has_unsent(self) -> bool:
        return bool(self._ended or self._started or self._progress or self._modified or self._said_of_seats)

    def flush(self) -> None:
        """Sends what is unsent, in one frame."""
        with self._lock:
            message: Message = {}
            if self._started is not None:
                message["started"] = [self._started]
            if self._progress:
                message["progress"] = list(self._progress.values())
            if self._ended:
                message["ended"] = self._ended
            if self._modified:
                message["modified"] = self._modified
            if self._said_of_seats:
                message["seats"] = self._said_of_seats
            self._forget_unsent()
            self.flushed_at = time.monotonic()
            if message:
                self._send(message)

    def _keep(self, report: Message) -> None:
        self.reports[report["key"]] = report
        self._ended.append(report)

    def _forget_unsent(self) -> None:
        self._started = None
        self._ended = []
        self._modified = []
        self._said_of_seats = []
        self._progress = {}

    def _send(self, message: Message) -> None:
        if self._connection is None:
            return
        try:
            self._connection.sendall(encode(message))
        except OSError:
            # The reader sees the same end; the next connection gets everything by its inventory.
            self._connection = None
