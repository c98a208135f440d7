"""Events in, effects out: `step` is all that ever changes frames and deployments, but for `used`. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from services.chassis.errors import ServiceError
from services.models.frames import budget, deployments, lives, wanted
from services.models.frames import events as ev
from services.models.frames.acts import Act
from services.models.frames.effects import Answer, Effects, PutDeployment, PutFrame
from services.models.frames.model import FrameKept, FrameState
from services.models.frames.state import Frame, State

_OfFrame = (
    ev.Listening
    | ev.ImageComing
    | ev.ProcessEnded
    | ev.SeatEnded
    | ev.MemorySeen
    | ev.FrameLoaded
    | ev.FrameRefused
    | ev.FrameGone
    | ev.Drained
    | ev.Outdated
    | ev.PlacementTold
    | ev.RoomFound
)


def used(state: State, number: int, active: int, now: int) -> bool:
    """So many calls are in a frame now; whether somebody may get room because of that. Nothing is on disk of it, and
    nothing follows from it before the next step."""
    frame = state.frames.get(number)
    if frame is None:
        return False
    if active > frame.active:
        frame.call_count += active - frame.active
    frame.active, frame.last_call_ms = active, now
    return not active and any(one.is_waiting for one in state.frames.values())


def step(state: State, events: Iterable[ev.Event], now: int) -> Effects:
    """Applies the events in turn, then what follows from all of them. The same events give the same effects."""
    effects = Effects()
    act = Act(state, effects, now)
    for event in events:
        try:
            _apply(act, event)
        except ServiceError as error:
            effects.answers.append(Answer(getattr(event, "reply", 0), error))
    for frame in [*state.frames.values()]:
        lives.look(act, frame)
    for deployment in state.deployments.values():
        wanted.end_standby(act, deployment)
    counts, shapes = wanted.kept(state)
    wanted.follow(act, counts, shapes)
    budget.place_waiting(act, counts)
    for deployment in [*state.deployments.values()]:
        deployments.judge(act, deployment)
    _write(act)
    return effects


def _write(act: Act) -> None:
    """What changed is told and written under a new revision; what is over and holds nothing is forgotten."""
    state, effects = act.state, act.effects
    for frame in state.changed.values():
        state.revision += 1
        frame.revision = state.revision
        effects.rows.append(PutFrame(frame))
        effects.frames[frame.number] = frame
        effects.deployments.update(
            one.name
            for one in state.deployments.values()
            if any(target.key == frame.key for target in one.targets) or frame.key in one.standby.values()
        )
        if frame.state.is_over and not frame.holds:
            state.frames.pop(frame.number, None)
    for deployment in state.changed_deployments.values():
        state.revision += 1
        deployment.revision = state.revision
        effects.rows.append(PutDeployment(deployment))
        effects.deployments.add(deployment.name)
    state.changed, state.changed_deployments = {}, {}


def _apply(act: Act, event: ev.Event) -> None:
    state = act.state
    if isinstance(event, _OfFrame):
        frame = state.frames.get(event.frame)
        if frame is not None:
            _of_frame(act, frame, event)
    elif isinstance(event, ev.SeatAccepted):
        lives.accepted(act, state.frames.get(event.frame), event)
    elif isinstance(event, ev.SeatRefused):
        lives.refused(act, state.frames.get(event.frame), event)
    elif isinstance(event, ev.SeatOpened):
        lives.opened(act, state.frames.get(event.frame), event)
    elif isinstance(event, ev.SeatStands):
        lives.stands(act, state.frames.get(event.frame), event)
    elif isinstance(event, ev.Wanted):
        wanted.ask(act, event.shape, event.until_ms, event.node, is_held=event.is_held)
    elif isinstance(event, ev.MoreWanted):
        wanted.ask_more(act, event.shape)
    elif isinstance(event, ev.VersionGone):
        wanted.forget(act, event.key, event.message)
    elif isinstance(event, ev.UnloadWanted):
        _unload(act, event)
    elif isinstance(event, ev.Deployed):
        deployments.deploy(act, event)
    elif isinstance(event, ev.Modified):
        deployments.modify(act, event)
    elif isinstance(event, ev.RolledBack):
        deployments.roll_back(act, event)
    elif isinstance(event, ev.Undeployed):
        deployments.undeploy(act, event)
    elif isinstance(event, ev.TargetsFound):
        deployments.targets_found(act, event)
    elif isinstance(event, ev.FrameRecovered):
        _recover(act, event.frame)
    elif isinstance(event, ev.DeploymentRecovered):
        state.deployments[event.deployment.name] = event.deployment


def _recover(act: Act, frame: Frame) -> None:
    """Who was answering his last calls has nobody to answer any more."""
    frame = frame.as_recovered()
    act.state.frames[frame.number] = frame
    if frame.state is FrameState.DRAINING and not frame.is_closing:
        act.close(frame)
    elif frame.is_closing:
        act.ask_to_close(frame)


def _of_frame(act: Act, frame: Frame, event: _OfFrame) -> None:
    if isinstance(event, ev.Listening):
        if event.task == frame.task:
            lives.listening(act, frame, event.epoch)
    elif isinstance(event, ev.ImageComing):
        lives.image_coming(act, frame, event)
    elif isinstance(event, ev.ProcessEnded):
        lives.died(act, frame, event)
    elif isinstance(event, ev.SeatEnded):
        lives.seat_ended(act, frame, event)
    elif isinstance(event, ev.MemorySeen):
        if event.epoch == frame.epoch:
            # Seen every few seconds: not worth a row.
            frame.memory_bytes = event.memory_bytes
    elif isinstance(event, ev.FrameLoaded):
        lives.loaded(act, frame, event)
    elif isinstance(event, ev.FrameRefused):
        lives.cannot_load(act, frame, event)
    elif isinstance(event, ev.FrameGone):
        lives.gone(act, frame, event.why)
    elif isinstance(event, ev.Drained):
        if frame.state is FrameState.DRAINING:
            act.close(frame)
    elif isinstance(event, ev.PlacementTold):
        frame.placed_because = event.why
        act.touch(frame)
    elif isinstance(event, ev.Outdated):
        act.drain(frame, "OUTDATED", event.message)
    else:
        _room_found(act, frame, event)


def _room_found(act: Act, frame: Frame, event: ev.RoomFound) -> None:
    """If everything is still as it was when they were chosen."""
    counts, _ = wanted.kept(act.state)
    open_to = {one.number: one for one in budget.evictable(act.state, counts, act.now)}
    if frame.state is not FrameState.PENDING or not frame.task or not set(event.others) <= open_to.keys():
        return
    for number in event.others:
        why = f"it makes room for {frame.key.model} version {frame.key.version}"
        act.drain(open_to[number], "MADE_ROOM", why)


def _unload(act: Act, event: ev.UnloadWanted) -> None:
    """Raises FrameKept where it would only be loaded again."""
    counts, _ = wanted.kept(act.state)
    frames = [one for number in event.frames if (one := act.state.frames.get(number)) is not None]
    for frame in frames:
        leaving = sum(one.key == frame.key and one.state.serves for one in frames)
        if len(act.state.of(frame.key)) - leaving < counts[frame.key]:
            names = sorted(
                one.name
                for one in act.state.deployments.values()
                if any(target.key == frame.key for target in one.targets) or frame.key in one.standby.values()
            )
            raise FrameKept(
                f"{', '.join(names)} keeps {frame.key.model} version {frame.key.version} loaded",
                next_step=f"yard model undeploy {names[0] if names else ''}".rstrip(),
            )
    for frame in frames:
        frame.is_held = False
        act.touch(frame)
        act.drain(frame, "UNLOADED", "somebody asked for it")
    act.effects.answers.append(Answer(event.reply))
