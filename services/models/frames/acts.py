"""One step: the state, what is wanted, the time; and the few ways in which a frame changes. Pure."""

from __future__ import annotations

from services.chassis.errors import InvariantViolation
from services.models.frames.effects import (
    CancelSeat,
    CloseDoor,
    CloseSeat,
    DrainDoor,
    Effects,
)
from services.models.frames.model import TRANSITIONS, Failure, FrameState
from services.models.frames.state import Deployment, Frame, State
from services.models.seams import VersionKey

CLOSE_AGAIN_MS = 3_000
FAILURE_MS = 5_000
"""After a first failure a version is not tried again for so long; twice as long after each further one."""
FAILURE_MOST_MS = 300_000


class Act:
    """What modules of the machine do things with."""

    __slots__ = ("effects", "now", "state")

    def __init__(self, state: State, effects: Effects, now: int) -> None:
        self.state = state
        self.effects = effects
        self.now = now

    def touch(self, frame: Frame) -> None:
        """Something of it has changed."""
        self.state.changed[frame.number] = frame

    def touch_deployment(self, deployment: Deployment) -> None:
        self.state.changed_deployments[deployment.name] = deployment

    def set(self, frame: Frame, state: FrameState, reason: str = "", message: str = "") -> None:
        """Where it is, and why. Raises InvariantViolation for a way that there is not."""
        if frame.state is not state:
            if state not in TRANSITIONS[frame.state]:
                raise InvariantViolation(
                    f"f-{frame.number} cannot be {state.value} after {frame.state.value}"
                )
            frame.since_ms = self.now
        frame.state, frame.reason, frame.message = state, reason, message
        if state.is_over:
            frame.end_ms = self.now
        self.touch(frame)

    def drain(self, frame: Frame, reason: str, message: str) -> None:
        """It ends once it has answered what it has; what takes no calls ends at once."""
        if frame.state is FrameState.READY and frame.is_connected:
            self.set(frame, FrameState.DRAINING, reason, message)
            self.effects.wishes.append(DrainDoor(frame.number))
        elif frame.state.serves:
            self.end(frame, reason, message)

    def end(self, frame: Frame, reason: str, message: str) -> None:
        """Its place is given back now."""
        if frame.state in (FrameState.LOADING, FrameState.READY):
            self.set(frame, FrameState.DRAINING, reason, message)
        elif frame.state is FrameState.PENDING:
            self.set(frame, FrameState.ENDED, reason, message)
        self.close(frame)

    def close(self, frame: Frame) -> None:
        """Gives its place back."""
        self.close_door(frame, frame.message)
        if not frame.holds or frame.is_closing:
            return
        frame.is_closing = True
        self.touch(frame)
        self.ask_to_close(frame)

    def ask_to_close(self, frame: Frame) -> None:
        """The command; repeated until its task has ended."""
        frame.closed_ms = self.now
        if not frame.task:
            # Not known yet: it is asked for when the scheduler has answered.
            return
        if frame.at_node:
            is_failure = frame.state is FrameState.FAILED
            self.effects.wishes.append(CloseSeat(frame.task, frame.at_node, frame.message, is_failure))
        else:
            self.effects.wishes.append(CancelSeat(frame.number, frame.shape.account, frame.task))

    def close_door(self, frame: Frame, why: str) -> None:
        """Nobody calls it any more."""
        if frame.is_listening or frame.is_connected:
            self.effects.wishes.append(CloseDoor(frame.number, why))
        frame.is_listening = frame.is_connected = False
        frame.active, frame.lost_ms = 0, 0

    def fail(self, frame: Frame, failure: Failure) -> None:
        """It cannot be loaded, or does not live: its version is not tried again for a while."""
        self.set(frame, FrameState.FAILED, failure.reason, failure.message)
        self.close(frame)
        self.note(frame.key, failure)

    def note(self, key: VersionKey, failure: Failure) -> None:
        """Why a version could not be had; whoever waits for it is told."""
        known = self.state.failures.get(key)
        count = known.count + 1 if known is not None else 1
        pause = min(FAILURE_MS * 2 ** (count - 1), FAILURE_MOST_MS)
        self.state.failures[key] = Failure(
            reason=failure.reason, message=failure.message, code=failure.code, field=failure.field, count=count,
            until_ms=self.now + pause,
        )  # fmt: skip
