"""When seats wait for their checkpoints: an end is told after the last of them, processes start once the one to go on
from is in its place, a seat is closed when they are in the store.

Owns what is held back of each seat, in its order. What is done meanwhile is in `checkpoints`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, NamedTuple

from modelyard.v1 import job_pb2
from modelyard.v1 import seat_pb2 as pb
from services.agent.seats.checkpoints import Checkpoints, Watch
from services.agent.seats.queue import Source
from services.agent.tasks.state import State

_OWN_END = (job_pb2.EXIT_CAUSE_SUCCESS, job_pb2.EXIT_CAUSE_STOPPED)

Work = Callable[[], Awaitable[None]]


class Said(NamedTuple):
    """What a shim has told of a seat, on its way to the trainer."""

    event: pb.SeatEvent
    source: Source


class Checkpointing:
    """Of all seats of one node. Seats without checkpoints are none of its business."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        state: State,
        pass_on: Callable[[str, Said], None],
        carry: Callable[[str, int, pb.SeatCommand], None],
        tell: Callable[[str, pb.SeatCheckpoint, int], None],
        run_beside: Callable[[str, Coroutine[Any, Any, None]], None],
    ) -> None:
        """`pass_on` and `carry` do what was held back, by the key of the seat's task."""
        self._checkpoints = checkpoints
        self._state = state
        self._pass_on = pass_on
        self._carry = carry
        self._tell = tell
        self._run_beside = run_beside
        # By direction and key: what waits for its turn, the first of it under way.
        self._lanes: dict[tuple[str, str], deque[Work]] = {}
        # Counted up whenever what a trainer wanted is void.
        self._voided: dict[str, int] = {}

    def forget(self, key: str) -> None:
        """The seat is over and told."""
        self._checkpoints.forget(key)
        self._voided.pop(key, None)

    # --- from the shim

    def holds_back(self, key: str, before: pb.Seat, said: Said) -> bool:
        """Whether it is told later, after everything that has to be told before."""
        watch = self._watch(key)
        if watch is None:
            return False
        seat = said.event.seat if said.event.HasField("seat") else None
        if seat is not None and seat.state == pb.SEAT_STATE_RUNNING:
            self._checkpoints.begin(watch)
        is_end = seat is not None and seat.state == pb.SEAT_STATE_ENDED
        is_shared_start = seat is not None and seat.state == pb.SEAT_STATE_OPEN and watch.rules.is_shared
        if seat is not None and seat.state == pb.SEAT_STATE_CLOSED:
            watch.is_running = False
        if not (is_end or is_shared_start or ("told", key) in self._lanes):
            return False
        if seat is not None and is_end and before.state == pb.SEAT_STATE_PREPARING:
            # An agent that is new here: until then the seat is as it was before its end.
            before.CopyFrom(seat)
            before.state = pb.SEAT_STATE_RUNNING
            before.ClearField("exit")
        self._queue("told", key, lambda: self._tell_after(watch, key, said, is_due=is_end or is_shared_start))
        return True

    async def _tell_after(self, watch: Watch, key: str, said: Said, *, is_due: bool) -> None:
        if is_due:
            seat = said.event.seat
            is_clean = seat.state == pb.SEAT_STATE_OPEN or (
                seat.exit.cause in _OWN_END and not seat.exit.exit_code and not seat.exit.signal
            )
            await self._checkpoints.look_last(watch, is_clean=is_clean)
            if seat.state == pb.SEAT_STATE_OPEN:
                seat.checkpoints.extend(message for _, message in watch.told.values())
        self._pass_on(key, said)

    # --- from the trainer

    def takes_over(self, key: str, seat: pb.Seat, number: int, command: pb.SeatCommand) -> bool:
        """Whether it is carried out later, or not by the shim at all."""
        watch = self._watch(key)
        if watch is None:
            return False
        kind = command.WhichOneof("command")
        if kind == "drop_checkpoints":
            names = list(command.drop_checkpoints.names)
            self._run_beside(f"checkpoints dropped of {key}", self._checkpoints.drop(watch, names))
            return True
        if kind not in ("launch", "close") and ("wanted", key) not in self._lanes:
            return False
        is_new = kind == "launch" and command.launch.epoch > seat.epoch
        void = self._voided.get(key, 0)

        async def carry() -> None:
            if void != self._voided.get(key, 0):
                return
            if is_new and not await self._is_ready(watch, key, seat, command.launch):
                return
            if kind == "close":
                await self._checkpoints.until_stored(watch)
            if void == self._voided.get(key, 0):
                self._carry(key, number, command)

        self._queue("wanted", key, carry)
        return True

    async def _is_ready(self, watch: Watch, key: str, seat: pb.Seat, launch: pb.LaunchSeat) -> bool:
        flaw = await self._checkpoints.make_ready(watch, launch.resume, is_fresh=not seat.epoch)
        if flaw:
            refused = pb.SeatCheckpoint(name=launch.resume.name, digest=launch.resume.digest, flaw=flaw)
            self._tell(key, refused, launch.epoch)
        return not flaw

    def drop_commands(self, keys: Iterable[str]) -> None:
        """What was wanted of these seats and is not carried out yet is not wanted any more."""
        for key in keys:
            if ("wanted", key) in self._lanes:
                self._voided[key] = self._voided.get(key, 0) + 1

    # --- one after the other

    def _watch(self, key: str) -> Watch | None:
        task = self._state.tasks.get(key)
        return self._checkpoints.of(task) if task is not None else None

    def _queue(self, way: str, key: str, work: Work) -> None:
        lane = self._lanes.get((way, key))
        if lane is not None:
            lane.append(work)
            return
        self._lanes[way, key] = deque([work])
        self._run_beside(f"checkpoints {way} {key}", self._walk(way, key))

    async def _walk(self, way: str, key: str) -> None:
        lane = self._lanes[way, key]
        try:
            while lane:
                await lane[0]()
                lane.popleft()
        finally:
            del self._lanes[way, key]
