"""Work that ends by itself when its agent has not put that off for too long, because then nobody else may be able to.

Owns the deadlines of a worker. A call that does not heed its interruption takes the whole worker along, by a watchdog
that needs no Python to run. Must not decide when work is to end: that is the agent's.
"""

import faulthandler
import time
from collections.abc import Callable

from modelyard.worker.frames import Message


class Fences:
    def __init__(self, interrupt: Callable[[str, int], None], log_fd: int) -> None:
        self._interrupt = interrupt
        self._log_fd = log_fd
        # By key: when, by the monotonic clock, and the grace.
        self._deadlines: dict[str, tuple[float, int]] = {}
        self._interrupted = ""
        # The deadline that the watchdog goes by; 0: it sleeps.
        self._armed_for = 0.0

    def set(self, fence: Message) -> None:
        """A new deadline for work that runs, or waits."""
        after_s = int(fence.get("after_ms", 0)) / 1000
        self._deadlines[fence["key"]] = (time.monotonic() + after_s, int(fence.get("grace_ms", 0)))

    def look(self, running: str, *, is_call: bool) -> None:
        """Ends what is overdue. Called every tenth of a second while a call runs, every second otherwise."""
        found = self._deadlines.get(running)
        if found is None:
            return
        deadline, grace_ms = found
        left_s = deadline - time.monotonic()
        if is_call and self._armed_for != deadline:
            self._armed_for = deadline
            last_s = max(left_s + grace_ms / 1000, 0.001)
            faulthandler.dump_traceback_later(last_s, exit=True, file=self._log_fd)
        if left_s <= 0 and self._interrupted != running:
            self._interrupted = running
            self._interrupt(running, grace_ms)

    def forget(self, key: str) -> None:
        """The work has ended."""
        if self._deadlines:
            self._deadlines.pop(key, None)
        if self._armed_for:
            self._armed_for = 0.0
            faulthandler.cancel_dump_traceback_later()
