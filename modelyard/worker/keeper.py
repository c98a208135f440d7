"""The one seat of a worker: its orders from another thread, its waiting, its report.

Owns the way from an OpenSeat to the report of the work, and the time that it may take: also while no agent is there.
What a seat does with an order is in `seats`.
"""

import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable

from modelyard.worker.commands.records import Records
from modelyard.worker.failures import setup_error
from modelyard.worker.frames import Message
from modelyard.worker.ledger import now_ms
from modelyard.worker.processes.spawning import Spawner
from modelyard.worker.seats.seats import Seat, Tell
from modelyard.worker.warm.forker import Forker


class Keeper:
    """Keeps the one seat of a worker."""

    def __init__(
        self, on_open: Callable[[], None], tell: Tell, records: Records, forker: Forker | None = None
    ) -> None:
        """``tell`` gets the work's key and an event as SeatEvent has it."""
        self._forker = forker
        self._on_open = on_open
        self._tell = tell
        self._records = records
        self._spawner = Spawner()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._orders: deque[Message] = deque()
        self._interrupted: deque[tuple[str, int, str]] = deque()
        self._key = ""
        # By the monotonic clock, when the seat's time is over.
        self._until: float | None = None

    # From another thread

    def order(self, order: Message) -> bool:
        """Something is wanted of a seat; False: it is not here."""
        if self._key != order["key"]:
            return False
        self._orders.append(order)
        os.eventfd_write(self._wake, 1)
        return True

    def interrupt(self, key: str, grace_ms: int, name: str = "") -> None:
        """Closes the seat: what runs is asked to end by the signal of this name, SIGTERM unless one is given."""
        self._interrupted.append((key, grace_ms, name or "SIGTERM"))
        os.eventfd_write(self._wake, 1)

    # On the main thread

    def run(self, key: str, work: Message, start_time_ms: int) -> Message:
        """Keeps the seat to its end; its report. When this returns, nothing of it is left."""
        report: Message = {"key": key, "start_time_ms": start_time_ms}
        self._orders.clear()
        self._key = key
        seat = Seat(key, work, self._spawner, self._tell, self._forker)
        try:
            report.update(self._keep(seat, work))
        finally:
            self._key = ""
        report["end_time_ms"] = now_ms()
        if work.get("record_path"):
            try:
                self._records.append(work["record_path"], report)
            except OSError as error:
                os.write(2, f"{work['record_path']}: {error}\n".encode())
        return report

    def _keep(self, seat: Seat, work: Message) -> Message:
        try:
            seat.open()
        except OSError as error:
            seat.close()
            return {"error": setup_error(f"the seat cannot be opened: {error}")}
        self._on_open()
        self._limit(int(work.get("run_timeout_ms", 0)) or -1)
        while not seat.is_closed:
            for fd in self._wait(seat):
                if fd != self._wake:
                    seat.on_readable(fd)
            self._take(seat)
            if self._until is not None and time.monotonic() >= self._until:
                self._until = None
                seat.time_is_over(int(work.get("grace_ms", 0)))
            seat.look()
        return seat.close()

    def _wait(self, seat: Seat) -> list[int]:
        poll = select.poll()
        for fd in (self._wake, *seat.fds):
            poll.register(fd, select.POLLIN)
        due = [] if self._until is None else [self._until - time.monotonic()]
        if (look_s := seat.left_s()) is not None:
            due.append(look_s)
        left_s = min(due, default=None)
        found = [fd for fd, _ in poll.poll(None if left_s is None else max(0.0, left_s * 1000 + 1))]
        if self._wake in found:
            os.eventfd_read(self._wake)
        return found

    def _limit(self, after_ms: int) -> None:
        self._until = None if after_ms < 0 else time.monotonic() + after_ms / 1000

    def _take(self, seat: Seat) -> None:
        while self._orders:
            order = self._orders.popleft()
            if "limit" in order:
                self._limit(int(order["limit"].get("after_ms", 0)))
            else:
                seat.obey(order)
        while self._interrupted:
            key, grace_ms, name = self._interrupted.popleft()
            if key == seat.key:
                seat.cancel(grace_ms, signal.Signals[name])
