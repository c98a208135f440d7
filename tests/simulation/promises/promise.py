"""What a promise is to the simulator: something that looks at every step and every commit, and may object."""

from __future__ import annotations

from collections.abc import Sequence

from services.scheduler.model import Now
from services.scheduler.state.effects import Effects, Row
from services.scheduler.state.events import Event
from services.scheduler.state.state import State


class Promise:
    """Each method raises `Violation` where the promise is broken."""

    def on_step(self, state: State, events: Sequence[Event], effects: Effects, now: Now) -> None:
        """After a step that did something, before it is on disk."""

    def on_commit(self, state: State, rows: Sequence[Row], now: Now) -> None:
        """The rows of the latest step are on disk, so disk and ``state`` say the same."""

    def check_end(self) -> None:
        """Everything has ended."""
