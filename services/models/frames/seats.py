"""What agents say of the seats of frames, as events; what they are told (the edge)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modelyard.enclosure.telling import is_coming
from modelyard.v1 import job_pb2, seat_pb2
from services.chassis.logs import get_logger
from services.chassis.peers.seat_links import Met, Return, SeatLinks
from services.models.frames import events as ev
from services.models.frames.engine import FrameEngine
from services.models.frames.launching import IMAGE, LISTENING
from services.models.frames.submissions import PORT
from services.models.surroundings.association import trouble_of

_log = get_logger("models.seats")
_LIVE = (seat_pb2.SEAT_STATE_RUNNING, seat_pb2.SEAT_STATE_STOPPING)


def links_of(engine: FrameEngine) -> SeatLinks:
    """The servicer, which from now on is also the way by which the engine reaches agents."""
    links = SeatLinks("models", Hearing(engine))
    engine.carrying.send = links.send
    return links


class Hearing:
    """The owner of the seats of frames."""

    def __init__(self, engine: FrameEngine) -> None:
        self._engine = engine
        self._met = Met()

    @property
    def epoch(self) -> int:
        return self._engine.epoch

    async def greeted(self, hello: seat_pb2.SeatHello, give_back: Return) -> Callable[[], None]:
        await self._engine.carrying.homes.greeted(hello)
        ends: list[ev.Event] = []
        self._met.greeted(hello)
        for seat in hello.seats:
            if number_of(seat.job_id) not in self._engine.state.frames:
                give_back(seat, "its frame is not wanted any more")
                continue
            for event in events_of(seat, hello, is_greeting=True):
                if isinstance(event, ev.ProcessEnded):
                    ends.append(event)
                else:
                    self._engine.post(event)
        return lambda: self._post(ends)

    async def heard(self, hello: seat_pb2.SeatHello, events: Sequence[seat_pb2.SeatEvent]) -> None:
        for event in events:
            self._post(self._events_of(event, hello))
        await self._engine.settled()

    def _post(self, events: Sequence[ev.Event]) -> None:
        for event in events:
            self._engine.post(event)

    def _events_of(self, event: seat_pb2.SeatEvent, hello: seat_pb2.SeatHello) -> list[ev.Event]:
        if event.HasField("seat"):
            return events_of(event.seat, hello, is_greeting=self._met.meets(hello, event.seat))
        number = self._engine.places.frame_of(event.task_id)
        if event.HasField("refusal"):
            _log.warning(
                "command_refused", node=hello.node, task=event.task_id, reason=event.refusal.reason,
                message=event.refusal.message,
            )  # fmt: skip
        if not number:
            return []
        if event.HasField("sign") and event.sign.id == LISTENING:
            return [ev.Listening(number, event.task_id, event.epoch)]
        if event.HasField("sign") and event.sign.id == IMAGE:
            message = event.sign.detail
            return [ev.ImageComing(number, event.task_id, event.epoch, message)] if is_coming(message) else []
        if event.HasField("activity"):
            return [ev.MemorySeen(number, event.epoch, event.activity.memory_bytes)]
        return []


def number_of(job_id: str) -> int:
    """Of "f-7"; 0: it is none of ours."""
    digits = job_id.removeprefix("f-")
    return int(digits) if digits.isascii() and digits.isdecimal() else 0


def events_of(seat: seat_pb2.Seat, hello: seat_pb2.SeatHello, *, is_greeting: bool) -> list[ev.Event]:
    """What a seat's state says."""
    number, found = number_of(seat.job_id), list[ev.Event]()
    is_open = seat.state == seat_pb2.SEAT_STATE_OPEN
    is_here = seat.state not in (seat_pb2.SEAT_STATE_PREPARING, seat_pb2.SEAT_STATE_CLOSED)
    if is_open or (is_greeting and is_here):
        host = hello.ip or hello.host
        address = f"tcp://[{host}]:{seat.ports[PORT]}" if ":" in host else f"tcp://{host}:{seat.ports[PORT]}"
        opened = ev.SeatOpened(number, seat.task_id, hello.node, address, seat.directory, dict(seat.ports))
        found.append(opened)
        found.append(ev.SeatStands(number, seat.task_id, seat.epoch, seat.state in _LIVE))
    if seat.state == seat_pb2.SEAT_STATE_ENDED and seat.HasField("exit"):
        found.append(_end(number, seat))
    return found


def _end(number: int, seat: seat_pb2.Seat) -> ev.ProcessEnded:
    exit_ = seat.exit
    cause = job_pb2.ExitCause.Name(exit_.cause).removeprefix("EXIT_CAUSE_")
    message = exit_.message or ("it ended by itself" if cause == "SUCCESS" else cause.lower())
    trouble = trouble_of(exit_.exit_code, exit_.last_lines)
    return ev.ProcessEnded(
        frame=number, task=seat.task_id, epoch=seat.epoch, cause=cause, message=message,
        last_lines=tuple(exit_.last_lines),
        trouble=(trouble.code, trouble.field, trouble.message) if trouble is not None else None,
    )  # fmt: skip
