"""The memory that frames share: who gets a place next, and who makes room for whom. Pure.

Loading on demand and making room are one decision of one step, so that two callers can never unload each other's model:
whoever was chosen to make room was idle, nobody waited for it, and what it gives is promised to one frame. What is not
enough is not begun.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from services.models.frames.acts import Act
from services.models.frames.effects import InsertBatch
from services.models.frames.model import Failure, FrameState
from services.models.frames.state import Frame, State
from services.models.seams import VersionKey

UNUSED_MS = 2_000
"""A frame that was loaded for a caller is left to that caller for so long."""


def place_waiting(act: Act, kept: Counter[VersionKey]) -> None:
    """Those that wait for memory, first come first: they get a place, or others make room for them."""
    state = act.state
    waiting = [one for one in state.frames.values() if one.is_waiting]
    if not waiting:
        return
    held = state.held_bytes
    # What will be held when everybody who is ending has ended, and those before have their places.
    coming = held - sum(one.shape.memory_bytes for one in state.frames.values() if one.is_ending)
    for frame in waiting:
        need, budget = frame.shape.memory_bytes, state.budget_bytes
        if budget and need > budget:
            _too_large(act, frame)
            continue
        if not budget or (held + need <= budget and coming + need <= budget):
            held += need
            submit(act, frame)
        elif coming + need > budget:
            coming -= _make_room(act, frame, coming + need - budget, kept)
        coming += need


def submit(act: Act, frame: Frame) -> None:
    """Asks for its place."""
    frame.batch, act.state.next_batch = act.state.next_batch, act.state.next_batch + 1
    frame.submit_ms = act.now
    act.set(frame, FrameState.PENDING, "PLACE", "it waits for a place")
    act.effects.rows.append(InsertBatch(frame.batch, frame.number))


def _too_large(act: Act, frame: Frame) -> None:
    need, budget = frame.shape.memory_bytes, act.state.budget_bytes
    message = f"it takes {need} bytes of memory, and all frames together may hold {budget}"
    act.fail(frame, Failure(reason="TOO_LARGE", message=message, field="runtime.memory"))


def _make_room(act: Act, frame: Frame, lacking: int, kept: Counter[VersionKey]) -> int:
    """So much will be given by others who were asked to end; none where all of them would not be enough."""
    chosen = enough(evictable(act.state, kept, act.now), lacking)
    if chosen is None:
        holders = sorted({one.key.model for one in act.state.frames.values() if one.holds})
        message = "it waits for memory: " + ", ".join(holders) + " are in use, or kept"
        if frame.message != message:
            act.set(frame, FrameState.PENDING, "MEMORY", message)
        return 0
    for one in chosen:
        why = f"it makes room for {frame.key.model} version {frame.key.version}"
        act.drain(one, "MADE_ROOM", why)
    if frame.reason != "MEMORY":
        act.set(frame, FrameState.PENDING, "MEMORY", "others make room for it")
    return sum(one.shape.memory_bytes for one in chosen)


def enough(candidates: Sequence[Frame], lacking: int) -> list[Frame] | None:
    """Those who end first that together give so much; whoever turns out not to be needed is spared."""
    chosen: list[Frame] = []
    given = 0
    for one in candidates:
        if given >= lacking:
            break
        chosen.append(one)
        given += one.shape.memory_bytes
    if given < lacking:
        return None
    for one in list(chosen):
        if given - one.shape.memory_bytes >= lacking:
            chosen.remove(one)
            given -= one.shape.memory_bytes
    return chosen


def evictable(state: State, kept: Counter[VersionKey], now: int) -> list[Frame]:
    """Who may make room: idle, and neither kept nor waited for; unused longest first, loaded by hand last."""
    demanded = {key for key, _ in state.demands}
    found: list[Frame] = []
    for key in {one.key for one in state.frames.values()}:
        frames = state.of(key)
        spare = len(frames) - kept[key]
        idle = [] if key in demanded else [one for one in frames if is_idle(one, now)]
        idle.sort(key=order)
        found += idle[: max(0, spare)]
    return sorted(found, key=order)


def order(frame: Frame) -> tuple[bool, int, int]:
    """Who makes room first."""
    return frame.is_held, max(frame.last_call_ms, frame.ready_ms), frame.number


def is_idle(frame: Frame, now: int) -> bool:
    """Whether nobody calls it, or is about to."""
    if frame.state is not FrameState.READY or frame.active or not frame.is_connected:
        return False
    return frame.last_call_ms >= frame.ready_ms or now - frame.ready_ms >= UNUSED_MS
