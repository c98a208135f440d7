"""Wanted frames against those that there are: deployments keep some, callers wait for others, the rest ends. Pure."""

from __future__ import annotations

from collections import Counter

from services.models.frames.acts import Act
from services.models.frames.effects import Refusal
from services.models.frames.model import Failure, FrameState, Shape
from services.models.frames.state import Demand, Deployment, Frame, State, name_of
from services.models.seams import VersionKey

TAKE_OVER_MS = 60_000
"""So long a new version of a deployment that keeps none is tried to be loaded in the place of one that was."""
MORE_MS = 60_000
"""So long one more frame of a busy version is waited for."""


def kept(state: State) -> tuple[Counter[VersionKey], dict[VersionKey, Shape]]:
    """How many frames of which version deployments keep, and what they are."""
    counts: Counter[VersionKey] = Counter()
    shapes: dict[VersionKey, Shape] = {}
    for deployment in state.deployments.values():
        for shape, count in deployment.wanted():
            shapes[shape.key] = shape
            counts[shape.key] = max(counts[shape.key], count)
            before = deployment.standby.get(name_of(shape.key))
            if before is not None:
                lacking = max(1, count) - len(state.ready(shape.key))
                counts[before] = max(counts[before], min(lacking, len(state.of(before))))
    return counts, shapes


def ask(act: Act, shape: Shape, until_ms: int, node: str = "", *, is_held: bool = False) -> None:
    """A caller waits for it."""
    known = act.state.demands.get((shape.key, node))
    until_ms = max(until_ms, known.until_ms) if known is not None else until_ms
    act.state.demands[shape.key, node] = Demand(shape, node, until_ms, is_held)


def ask_more(act: Act, shape: Shape) -> None:
    """One more, where memory is free; nobody makes room for it."""
    state = act.state
    frames = state.of(shape.key)
    is_coming = any(one.state is not FrameState.READY for one in frames)
    is_free = not state.budget_bytes or state.held_bytes + shape.memory_bytes <= state.budget_bytes
    waits = any(one.is_waiting for one in state.frames.values())
    if (
        len(frames) < shape.most
        and not is_coming
        and is_free
        and not waits
        and not _is_failing(act, shape.key)
    ):
        make(act, shape).until_ms = act.now + MORE_MS


def make(act: Act, shape: Shape, node: str = "", *, is_held: bool = False) -> Frame:
    """A new frame, which waits for memory."""
    state = act.state
    frame = Frame(
        number=state.next_frame, shape=shape, node=node or shape.placement.node, create_ms=act.now,
        since_ms=act.now, is_held=is_held,
    )  # fmt: skip
    state.next_frame += 1
    state.frames[frame.number] = frame
    act.touch(frame)
    return frame


def follow(act: Act, counts: Counter[VersionKey], shapes: dict[VersionKey, Shape]) -> None:
    """What lacks is made, what nobody wants ends."""
    for key, shape in shapes.items():
        lacking = counts[key] - len(act.state.of(key))
        if lacking > 0 and not _is_failing(act, key):
            for _ in range(lacking):
                make(act, shape)
    for demand in list(act.state.demands.values()):
        _serve(act, demand)
    for frame in list(act.state.frames.values()):
        _end_unwanted(act, frame, counts)


def forget(act: Act, key: VersionKey, message: str) -> None:
    """It was deleted: who waits for it is told, and its frames end once they have answered."""
    failure = Failure(reason="VERSION_DELETED", message=message, code="NOT_FOUND")
    for known, node in [one for one in act.state.demands if one[0] == key]:
        del act.state.demands[known, node]
        act.effects.refusals.append(Refusal(known, node, failure))
    act.state.failures.pop(key, None)
    for frame in [*act.state.frames.values()]:
        if frame.key == key and frame.state.serves:
            frame.is_held = False
            act.drain(frame, "VERSION_DELETED", message)


def _serve(act: Act, demand: Demand) -> None:
    """A demand ends with the first frame that is ready, with a failure, or with its time."""
    key, state = demand.shape.key, act.state
    frames = [one for one in state.of(key) if not demand.node or demand.node in (one.at_node, one.node)]
    if demand.is_held:
        for one in frames[:1]:
            if not one.is_held:
                one.is_held = True
                act.touch(one)
    ready = [one for one in frames if one.state is FrameState.READY and one.is_connected]
    if ready:
        # Told again: who waits may have come after it became ready.
        act.touch(ready[0])
        del state.demands[key, demand.node]
        return
    if act.now >= demand.until_ms:
        del state.demands[key, demand.node]
        return
    if frames:
        return
    failure = state.failures.get(key)
    if failure is not None and act.now < failure.until_ms:
        del state.demands[key, demand.node]
        act.effects.refusals.append(Refusal(key, demand.node, failure))
        return
    make(act, demand.shape, demand.node, is_held=demand.is_held)


def _is_failing(act: Act, key: VersionKey) -> bool:
    failure = act.state.failures.get(key)
    return failure is not None and act.now < failure.until_ms


def _end_unwanted(act: Act, frame: Frame, counts: Counter[VersionKey]) -> None:
    if not frame.state.serves or frame.is_closing:
        return
    others = len(act.state.of(frame.key))
    if others <= counts[frame.key] or any(key == frame.key for key, _ in act.state.demands):
        return
    if frame.state is FrameState.PENDING and not frame.is_held and act.now >= frame.until_ms:
        act.end(frame, "UNWANTED", "nobody waits for it any more")
    elif frame.state is FrameState.READY and not frame.active and not frame.is_held:
        unused_ms = act.now - max(frame.last_call_ms, frame.ready_ms)
        if frame.shape.idle_s and unused_ms >= 1000 * frame.shape.idle_s and frame.is_connected:
            act.drain(frame, "IDLE", f"nobody called it for {frame.shape.idle_s:g} s")


def take_over(act: Act, deployment: Deployment, before: dict[str, VersionKey | None]) -> None:
    """Its routes come to other versions: those from before answer until the new ones are ready.

    `before`: by model and word of a route, what it came to.
    """
    standby = dict(deployment.standby)
    old_keys = [key for key in before.values() if key is not None]
    for target in deployment.targets[: len(deployment.routes)]:
        key = target.key
        if target.shape is None or key is None or key in old_keys or act.state.ready(key):
            continue
        old = next((one for one in _nearest(deployment, before, target.shape) if act.state.ready(one)), None)
        if old is not None:
            standby[name_of(key)] = old
            ask(act, target.shape, act.now + TAKE_OVER_MS)
    present = {name_of(target.key) for target in deployment.targets if target.key is not None}
    deployment.standby = {name: key for name, key in standby.items() if name in present}
    act.touch_deployment(deployment)


def _nearest(deployment: Deployment, before: dict[str, VersionKey | None], shape: Shape) -> list[VersionKey]:
    """What may stand in for a version: what the same words came to, else what the same model was answered by."""
    for route, target in zip(deployment.routes, deployment.targets, strict=False):
        old = before.get(f"{route.model}:{route.version}")
        if target.key == shape.key and old is not None:
            return [old]
    return [key for key in before.values() if key is not None and key.model == shape.key.model]


def end_standby(act: Act, deployment: Deployment) -> None:
    """Whoever is ready needs nobody in its place."""
    counts = {name_of(shape.key): (shape, count) for shape, count in deployment.wanted()}
    left = {}
    for name, old in deployment.standby.items():
        if name not in counts or not act.state.of(old):
            continue
        shape, count = counts[name]
        if len([one for one in act.state.ready(shape.key) if one.is_connected]) < max(1, count):
            left[name] = old
    if left != deployment.standby:
        deployment.standby = left
        act.touch_deployment(deployment)
