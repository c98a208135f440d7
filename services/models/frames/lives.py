"""What becomes of one frame: its seat, its process, its deaths, its end. Pure.

Its process is started again in its seat after a back-off. When it dies too often, or before it was loaded once more
than it may, it has failed, with the reason and the last lines.
"""

from __future__ import annotations

from services.models.frames import events as ev
from services.models.frames.acts import CLOSE_AGAIN_MS, Act
from services.models.frames.effects import CancelSeat, CloseSeat, DropBatch, Launch, OpenDoor, Stop
from services.models.frames.model import Failure, FrameState
from services.models.frames.state import Frame

DEATHS_MOST = 5
"""In a row; beyond them it has failed."""
LOADING_DEATHS_MOST = 2
"""Of those that never loaded."""
GOOD_MS = 60_000
"""After so long a life deaths are counted anew."""
FIRST_PAUSE_MS, LAST_PAUSE_MS = 500, 30_000
LOAD_MOST_MS = 900_000
"""A process that has not loaded its component by then never will."""
LOST_MS = 1_500
"""So long a process that cannot be reached may take to be told as ended."""
_LINES = 8


def accepted(act: Act, frame: Frame | None, event: ev.SeatAccepted) -> None:
    """The scheduler has taken its seat."""
    act.effects.rows.append(DropBatch(event.batch))
    if frame is None or frame.batch != event.batch:
        return
    frame.batch = 0
    if not frame.task:
        # Else its agent was quicker than the answer.
        frame.task = frame.last_task = event.task
    act.touch(frame)
    if frame.is_closing:
        act.ask_to_close(frame)


def refused(act: Act, frame: Frame | None, event: ev.SeatRefused) -> None:
    """The scheduler never will place it."""
    act.effects.rows.append(DropBatch(event.batch))
    if frame is None or frame.batch != event.batch:
        return
    frame.batch = 0
    act.touch(frame)
    if frame.state is FrameState.PENDING:
        act.fail(frame, Failure(reason="CANNOT_BE_PLACED", message=event.message))


def opened(act: Act, frame: Frame | None, event: ev.SeatOpened) -> None:
    """It has a place: its process is started there. What nobody wants is given back."""
    if frame is not None and frame.batch and not frame.task:
        frame.task = frame.last_task = event.task
        # The answer of the scheduler is still to come, and says the same.
        frame.batch, batch = 0, frame.batch
        act.effects.rows.append(DropBatch(batch))
        act.touch(frame)
    if frame is None or frame.task != event.task:
        act.effects.wishes.append(CloseSeat(event.task, event.node, "it is not wanted", False))
        return
    if frame.at_node and frame.at_node == event.node and frame.address == event.address:
        return
    frame.at_node, frame.address = event.node, event.address
    frame.directory, frame.ports = event.directory, event.ports
    act.touch(frame)
    if frame.state is FrameState.PENDING:
        act.set(frame, FrameState.LOADING, "STARTING")
        launch(act, frame)
    elif frame.is_closing:
        act.ask_to_close(frame)


def launch(act: Act, frame: Frame) -> None:
    """Epoch + 1 is on disk before the command leaves."""
    frame.epoch += 1
    frame.again_ms, frame.launch_ms = 0, act.now
    act.touch(frame)
    act.effects.wishes.append(Launch(frame.number))


def stands(act: Act, frame: Frame | None, event: ev.SeatStands) -> None:
    """Its agent was met again: what its seat is is held against what it should be."""
    if frame is None or frame.task != event.task:
        return
    if frame.is_closing:
        act.ask_to_close(frame)
    elif frame.state is FrameState.LOADING and event.epoch < frame.epoch and not frame.again_ms:
        act.effects.wishes.append(Launch(frame.number))
    elif event.runs and event.epoch == frame.epoch:
        listening(act, frame, event.epoch)


def image_coming(act: Act, frame: Frame, event: ev.ImageComing) -> None:
    """What its load waits for; a component that says so itself is not heard once it listens."""
    is_loading = frame.state is FrameState.LOADING and not (frame.is_listening or frame.again_ms)
    if is_loading and (frame.task, frame.epoch) == (event.task, event.epoch):
        act.set(frame, FrameState.LOADING, "PULLING", event.message)


def listening(act: Act, frame: Frame, epoch: int) -> None:
    """Its process can be connected to."""
    if frame.epoch != epoch or frame.is_listening or frame.is_closing or frame.again_ms:
        return
    if frame.state in (FrameState.LOADING, FrameState.READY):
        frame.is_listening = True
        if frame.reason == "PULLING":
            act.set(frame, FrameState.LOADING, "STARTING")
        act.effects.wishes.append(OpenDoor(frame.number))


def loaded(act: Act, frame: Frame, event: ev.FrameLoaded) -> None:
    """It takes calls."""
    frame.memory_bytes = event.memory_bytes or frame.memory_bytes
    if frame.state is FrameState.LOADING and frame.is_listening:
        frame.load_s, frame.ready_ms = event.load_s, act.now
        act.set(frame, FrameState.READY)
        act.state.failures.pop(frame.key, None)
    if frame.state is FrameState.READY:
        frame.is_connected, frame.lost_ms = True, 0
        # Adopted ones count as used now: nobody has had the chance to call them.
        frame.ready_ms = act.now
        act.touch(frame)


def cannot_load(act: Act, frame: Frame, event: ev.FrameRefused) -> None:
    if frame.state in (FrameState.LOADING, FrameState.READY):
        failure = Failure(reason=event.reason, message=event.message, code=event.code, field=event.field)
        act.fail(frame, failure)


def gone(act: Act, frame: Frame, why: str) -> None:
    """Its connection is lost. Mostly its process has ended, and its agent says so next."""
    frame.is_connected = False
    if frame.state is FrameState.DRAINING:
        act.close(frame)
    elif frame.state in (FrameState.READY, FrameState.LOADING) and not frame.again_ms:
        frame.lost_ms = frame.lost_ms or act.now
        frame.message = why
    act.touch(frame)


def died(act: Act, frame: Frame, event: ev.ProcessEnded) -> None:
    """Its process has ended."""
    if frame.task != event.task or event.epoch != frame.epoch or frame.is_closing or frame.again_ms:
        return
    words = " · ".join(event.last_lines[-_LINES:])
    message = event.message + (f": {words}" if words else "")
    if frame.state is FrameState.DRAINING:
        act.close(frame)
        return
    if frame.state not in (FrameState.LOADING, FrameState.READY):
        return
    was_loaded = frame.state is FrameState.READY
    if was_loaded and act.now - frame.ready_ms > GOOD_MS:
        frame.deaths = 0
    frame.deaths, frame.restarts = frame.deaths + 1, frame.restarts + 1
    act.close_door(frame, message)
    most = DEATHS_MOST if was_loaded or frame.load_s else LOADING_DEATHS_MOST
    if event.trouble is not None:
        code, field, why = event.trouble
        act.fail(frame, Failure(reason="CANNOT_START", message=why, code=code, field=field))
    elif event.cause in ("SETUP", "OUT_OF_MEMORY") and not was_loaded:
        act.fail(frame, Failure(reason=_reason(event.cause), message=message, field=_field(event.cause)))
    elif frame.deaths > most:
        reason = "DIES" if was_loaded else "DIES_LOADING"
        act.fail(frame, Failure(reason=reason, message=f"{frame.deaths} times in a row: {message}"))
    else:
        act.set(frame, FrameState.LOADING, "RESTARTING", message)
        frame.again_ms = act.now + _pause_ms(frame.deaths)


def _reason(cause: str) -> str:
    return "CANNOT_START" if cause == "SETUP" else cause


def _field(cause: str) -> str:
    return "runtime.memory" if cause == "OUT_OF_MEMORY" else ""


def _pause_ms(deaths: int) -> int:
    """The first time at once."""
    if deaths <= 1:
        return 0
    return int(min(FIRST_PAUSE_MS * 2 ** (deaths - 2), LAST_PAUSE_MS))


def seat_ended(act: Act, frame: Frame, event: ev.SeatEnded) -> None:
    """Its place is gone, or was given back."""
    if frame.task != event.task:
        return
    frame.task, frame.at_node, frame.address, frame.again_ms = "", "", "", 0
    frame.is_closing = False
    act.touch(frame)
    act.close_door(frame, event.message or frame.message)
    if frame.state.is_over:
        return
    if frame.state is FrameState.DRAINING:
        act.set(frame, FrameState.ENDED, frame.reason, frame.message)
    elif event.cause in ("SETUP", "OUT_OF_MEMORY", "TIMEOUT"):
        act.set(frame, FrameState.FAILED, _reason(event.cause), event.message)
        act.note(frame.key, Failure(reason=frame.reason, message=event.message, field=_field(event.cause)))
    else:
        # Who still wants it gets another.
        if frame.state is FrameState.PENDING:
            act.set(frame, FrameState.ENDED, event.cause or "SEAT_LOST", event.message)
        else:
            act.set(
                frame, FrameState.ENDED, event.cause or "SEAT_LOST", event.message or "its place was lost"
            )


def look(act: Act, frame: Frame) -> None:
    """What follows from time alone."""
    if frame.is_closing and act.now - frame.closed_ms >= CLOSE_AGAIN_MS and frame.task:
        act.ask_to_close(frame)
        if frame.at_node:
            # Its agent may be gone for good: the scheduler knows.
            act.effects.wishes.append(CancelSeat(frame.number, frame.shape.account, frame.task))
    if frame.again_ms and act.now >= frame.again_ms and frame.state is FrameState.LOADING:
        frame.message = ""
        launch(act, frame)
    is_slow = frame.state is FrameState.LOADING and not frame.again_ms
    if is_slow and frame.launch_ms and act.now - frame.launch_ms >= LOAD_MOST_MS:
        message = f"it has not loaded within {LOAD_MOST_MS // 60_000} minutes"
        act.fail(frame, Failure(reason="LOAD_TIMEOUT", message=message))
    if frame.lost_ms and act.now - frame.lost_ms >= LOST_MS:
        frame.lost_ms = act.now
        act.effects.wishes.append(Stop(frame.number, frame.task, frame.at_node, frame.epoch))
