"""What agents say of the trainer's seats, as events of its jobs; streams and their numbers are `chassis.seat_links`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from modelyard.training import Progress
from modelyard.v1 import seat_pb2
from services.chassis.logs import get_logger
from services.chassis.peers.seat_links import Met, Return, SeatLinks
from services.trainer.convert.progress import points_of, progress_of
from services.trainer.convert.seat import checkpoint_of, events_of, launch_of, number_of
from services.trainer.engine import Engine
from services.trainer.records.log_index import LogIndex
from services.trainer.records.metrics import Metrics, Point
from services.trainer.state.events import (
    ActivitySeen,
    Event,
    InstanceEnded,
    PeersChecked,
    ProgressReported,
    SignSeen,
    StacksTold,
)
from services.trainer.state.jobs import Key, Unreached

_log = get_logger("trainer.links")


class Hearing:
    """The owner of the seats of jobs."""

    def __init__(self, engine: Engine, index: LogIndex, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._index = index
        self._met = Met()

    @property
    def epoch(self) -> int:
        return self._engine.epoch

    async def greeted(self, hello: seat_pb2.SeatHello, give_back: Return) -> Callable[[], None]:
        await self._index.note([began for seat in hello.seats for began in launch_of(seat)])
        ends: list[Event] = []
        self._met.greeted(hello)
        for seat in hello.seats:
            if not self._engine.wants(number_of(seat.job_id)):
                give_back(seat, "the job has ended")
                continue
            for event in events_of(seat, hello, is_greeting=True):
                if isinstance(event, InstanceEnded):
                    ends.append(event)
                else:
                    self._engine.post(event)
        return lambda: self._post_all(ends)

    def _post_all(self, events: Sequence[Event]) -> None:
        for event in events:
            self._engine.post(event)

    async def heard(self, hello: seat_pb2.SeatHello, events: Sequence[seat_pb2.SeatEvent]) -> None:
        seats = [event.seat for event in events if event.HasField("seat")]
        points = self._points(events)
        noting = asyncio.ensure_future(
            self._index.note([began for seat in seats for began in launch_of(seat)])
        )
        for event in events:
            self._post_all(self._events_of(event, hello))
        await self._engine.settled()
        await noting
        left_out = await self._metrics.put_heard(points)
        if left_out:
            _log.warning("metrics_left_out", node=hello.node, points=left_out)

    def _points(self, events: Sequence[seat_pb2.SeatEvent]) -> list[tuple[int, Key, Point]]:
        """What is told of metrics, each at the step that the same instance had told by then."""
        found: list[tuple[int, Key, Point]] = []
        latest: dict[tuple[int, str, int], Progress] = {}
        for event in events:
            at = self._engine.seat_at(event.task_id) if event.HasField("progress") else None
            if at is None:
                continue
            told = event.progress.update_time if event.progress.HasField("update_time") else event.time
            progress = progress_of(event.progress)
            whole = latest[at] = progress.over(latest.get(at) or self._engine.told(*at))
            points = points_of(progress, whole.step, told.ToMilliseconds())
            found += [(at[0], at[1:], point) for point in points]
        return found

    def _events_of(self, event: seat_pb2.SeatEvent, hello: seat_pb2.SeatHello) -> list[Event]:
        if event.HasField("seat"):
            return events_of(event.seat, hello, is_greeting=self._met.meets(hello, event.seat))
        at = self._engine.seat_at(event.task_id)
        if at is None:
            return []
        if event.HasField("sign"):
            return [SignSeen(*at, event.epoch, event.sign.id)]
        if event.HasField("activity"):
            return [ActivitySeen(*at, event.epoch, event.activity.cpu, event.activity.silent_ms)]
        if event.HasField("stacks"):
            return [StacksTold(*at, event.epoch, event.stacks)]
        if event.HasField("progress"):
            return [ProgressReported(*at, progress_of(event.progress), event.epoch)]
        if event.HasField("checkpoint"):
            return [checkpoint_of(at, event.task_id, event.epoch, hello.node, event.checkpoint)]
        if event.HasField("checked"):
            unreached = tuple(
                Unreached(one.role, one.index, one.address, one.error) for one in event.checked.unreached
            )
            return [PeersChecked(*at, event.task_id, event.checked.number, unreached)]
        if event.HasField("refusal"):
            _log.warning(
                "command_refused", node=hello.node, task=event.task_id, reason=event.refusal.reason,
                message=event.refusal.message,
            )  # fmt: skip
        return []


def links_of(engine: Engine, index: LogIndex, metrics: Metrics) -> SeatLinks:
    """The servicer, which from now on is also the way by which the engine reaches agents."""
    links = SeatLinks("trainer", Hearing(engine, index, metrics))
    engine.send = links.send
    return links
