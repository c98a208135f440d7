"""The process beside a frame: from the order to the frame's end.

Owns the loop: connections are passed on, signals handed on, output and end waited for. How the frame is shut in is
`container`'s or `sandbox`'s. One thread.
"""

from __future__ import annotations

import signal
import socket
import time
from typing import Protocol

from modelyard.enclosure.order import HANDED_ON, Image, Order, Trouble
from modelyard.enclosure.passer import Passer, listen_at
from modelyard.enclosure.watching import Watch, Watching

_LOOK_S, _GRACE_S = 0.25, 5.0
_SIGNALLED = 128


class Form(Protocol):
    """How a frame is shut in."""

    code: int | None
    image: Image
    """What it was made of; unknown: of this machine."""

    def start(self, listener: socket.socket | None, watch: Watch) -> None:
        """The frame gets the listening socket, if there is to be one. Raises Trouble, OSError."""
        ...

    def signal(self, name: str) -> None:
        """Hands it on."""
        ...

    def look(self) -> None:
        """A few times a second, while it runs. Raises Trouble if it has to end."""
        ...

    def close(self) -> None:
        """Ends what is left."""
        ...


class Holder:
    """Of one frame."""

    def __init__(self, order: Order, form: Form) -> None:
        self._order = order
        self._form = form
        self._watching = Watching()
        self._kill_at = 0.0
        self._end_at = time.monotonic() + order.time_s if order.time_s else 0.0
        self._passer = Passer(order, self._watching.watch)

    def run(self) -> int:
        """Until the frame has ended; its exit code. Raises Trouble, OSError."""
        self._watching.take(HANDED_ON)
        try:
            self._start()
            look_at = time.monotonic()
            while self._form.code is None:
                self._watching.wait(_LOOK_S)
                self._hand_on()
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + _LOOK_S
                    self._look()
            return self._form.code
        finally:
            self._form.close()
            self._order.socket.unlink(missing_ok=True)

    def _start(self) -> None:
        if not self._order.listen:
            self._form.start(None, self._watching.watch)
            return
        with listen_at(self._order.socket) as listener:
            self._form.start(listener, self._watching.watch)
        # Who connects before the frame is there waits in its queue.
        self._passer.listen(self._order.listen)

    def _look(self) -> None:
        self._form.look()
        if self._end_at and time.monotonic() >= self._end_at:
            raise Trouble("DEADLINE_EXCEEDED", "", f"it was not done after {self._order.time_s:g} s")
        self._passer.look()
        if self._kill_at and time.monotonic() >= self._kill_at:
            self._form.code = _SIGNALLED + signal.SIGKILL

    def _hand_on(self) -> None:
        for number in self._watching.taken():
            if number != signal.SIGUSR1 and not self._kill_at:
                self._kill_at = time.monotonic() + _GRACE_S
            self._form.signal(number.name)


def trouble_of(error: OSError) -> Trouble:
    """What the machine refuses."""
    return Trouble("INTERNAL", "", f"the frame could not be started: {error}")
