"""What the machine wants of agents and doors, carried out after its step is on disk (the edge)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from modelyard.v1 import seat_pb2
from services.chassis.errors import ServiceError
from services.chassis.peers.seat_links import close_command
from services.models.frames import effects as e
from services.models.frames import events as ev
from services.models.frames.beside import Beside
from services.models.frames.homes import Homes
from services.models.frames.known import Known
from services.models.frames.launching import launch_of
from services.models.frames.places import Places
from services.models.frames.secrets import secret_of
from services.models.frames.state import Frame
from services.models.seams import Doors, Served, Way
from services.models.surroundings.association import RuntimeMap

DRAIN_S = 30.0
"""So long calls that are in a frame may take before its place is given back."""


class Carrying:
    """Commands may be sent twice: they follow from the state."""

    def __init__(
        self,
        places: Places,
        known: Known,
        post: Callable[[ev.Event], None],
        *,
        key: bytes,
        runtimes: RuntimeMap,
    ) -> None:
        """`key`: from which secrets of frames follow."""
        self.doors: Doors
        """Set before the first step."""
        self.send: Callable[[str, seat_pb2.SeatCommand], None] = _nobody
        self.examples: Callable[[Served], Awaitable[dict[str, Any] | None]] = _none
        """To which golden outputs belong."""
        self.homes = Homes()
        self._places = places
        self._known = known
        self._post = post
        self._key = key
        self._runtimes = runtimes
        self._beside = Beside()

    def carry(self, wish: e.Wish, frames: Mapping[int, Frame]) -> None:
        """`frames`: as they are now."""
        if isinstance(wish, e.CancelSeat):
            self._places.cancel(wish.account, wish.task)
        elif isinstance(wish, e.CloseSeat):
            self.send(wish.node, close_command(wish.task, (), wish.message, is_failure=wish.is_failure))
        elif isinstance(wish, e.Stop):
            stop = seat_pb2.StopSeat(epoch=wish.epoch, signal="SIGKILL", grace_ms=0)
            self.send(wish.node, seat_pb2.SeatCommand(task_id=wish.task, stop=stop))
        elif isinstance(wish, e.CloseDoor):
            self.doors.close(wish.frame, wish.why)
        elif (frame := frames.get(wish.frame)) is None:
            return
        elif isinstance(wish, e.Launch):
            self._beside.start(self._launch(frame, frame.epoch), f"launch-{frame.number}")
        elif isinstance(wish, e.OpenDoor):
            secret = secret_of(self._key, frame.number, frame.epoch)
            socket = self.homes.socket_of(frame.at_node, frame.directory)
            way = Way(frame.address, frame.at_node, socket)
            self.doors.open(frame.number, frame.key, way, secret)
        else:
            self._beside.start(self._drain(frame.number), f"drain-{frame.number}")

    async def _launch(self, frame: Frame, epoch: int) -> None:
        served = self._known.of(frame.key)
        if served is None:
            self._post(ev.Outdated(frame.number, "its version does not serve any more"))
            return
        example = await self.examples(served)
        if frame.epoch != epoch or frame.is_closing:
            return
        try:
            launch = launch_of(frame, served, self._key, self._runtimes, example)
        except ServiceError as error:
            # Its container fits no image any more.
            self._post(ev.FrameRefused(frame.number, error.reason, str(error), error.code, error.field))
            return
        self.send(frame.at_node, seat_pb2.SeatCommand(task_id=frame.task, launch=launch))

    async def _drain(self, number: int) -> None:
        await self.doors.drain(number, DRAIN_S)
        self._post(ev.Drained(number))


def _nobody(node: str, command: seat_pb2.SeatCommand) -> None:
    """Before agents can be heard nothing is sent: after their greeting commands follow from the state."""


async def _none(served: Served) -> dict[str, Any] | None:
    """Where there is no store."""
    return None
