"""The seats of this node: what shims say of them goes to their trainers, and what trainers want to shims.

Owns the seats as they are known here and, per trainer, what it has not acknowledged. A seat itself lives in its shim,
which keeps everything of it until the trainer has it; so nothing here is on disk. Dialling is `seat_link`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from modelyard.v1 import seat_pb2 as pb
from services.agent.config import Places
from services.agent.host import containers, cookies
from services.agent.preparation.artifacts import Artifacts
from services.agent.preparation.inputs import Inputs
from services.agent.seats.checkpointing import Checkpointing, Said
from services.agent.seats.checkpoints import Checkpoints
from services.agent.seats.convert import event_of, last_words, order_of
from services.agent.seats.queue import SeatQueue, Source
from services.agent.tasks.events import WorkerLost
from services.agent.tasks.model import Phase, Task, key_of_work
from services.agent.tasks.state import State
from services.chassis.logs import get_logger

_log = get_logger("agent.seats")

Message = dict[str, Any]


class Known(msgspec.Struct):
    """A seat that has been opened here."""

    seat: pb.Seat
    worker: str
    work_key: str
    endpoint: str


class Seats:
    """Those of one node, whichever trainers they belong to."""

    def __init__(
        self,
        state: State,
        places: Places,
        node: str,
        send: Callable[[str, tuple[Message, ...]], None],
        dial: Callable[[str], SeatQueue],
        run_beside: Callable[[str, Coroutine[Any, Any, None]], None],
        artifacts: Artifacts,
        inputs: Inputs,
    ) -> None:
        """``dial`` gives the queue of a trainer by its endpoint, and sees to it that somebody empties it."""
        self._state = state
        self._places = places
        self._node = node
        self._send = send
        self._dial = dial
        self._run_beside = run_beside
        self._known: dict[str, Known] = {}
        # Closed before they were open, by task: the number of the command and the command.
        self._unwanted: dict[str, tuple[int, pb.SeatCommand]] = {}
        self._checkpointing = Checkpointing(
            Checkpoints(places, artifacts, inputs, self.tell, run_beside), state, self._pass_on, self._carry,
            self.tell, run_beside,
        )  # fmt: skip

    # --- from the machine and the shims

    def expect(self, task: Task) -> None:
        """A seat is being prepared: its trainer is dialled meanwhile."""
        if task.body.seat is not None:
            self._dial(task.body.seat.endpoint)

    def on_reports(self, worker: str, reports: Sequence[Message]) -> None:
        """What a shim says of a seat."""
        for report in reports:
            key = key_of_work(report["key"])
            known, is_new = self._known.get(key), key not in self._known
            if known is None:
                known = self._find(key, worker, report["key"])
            number = int(report.get("number", 0))
            if known is None:
                if number:
                    self._send(worker, ({"key": report["key"], "ack": number},))
                continue
            known.worker = worker
            # Also where all is acknowledged: an earlier process was told things that its end may have lost.
            self._dial(known.endpoint)
            said = Said(event_of(report["event"], self._node), Source(worker, report["key"], number))
            if not self._checkpointing.holds_back(key, known.seat, said):
                self._pass_on(key, said, is_new=is_new)

    def _pass_on(self, key: str, said: Said, *, is_new: bool = False) -> None:
        """Everything that the trainer has to know before it was told. A new one it may have met as being prepared."""
        known = self._known.get(key)
        if known is None:
            return
        event, source = said
        if event.HasField("seat"):
            known.seat = event.seat
            if unwanted := self._unwanted.pop(key, None):
                self._send(known.worker, (order_of(known.work_key, *unwanted),))
        if source.number or is_new or event.HasField("activity"):
            self._dial(known.endpoint).add(event, source)

    def on_lost(self, lost: WorkerLost) -> None:
        """A shim is gone, and its seat with it, unless it had been closed."""
        for key, known in self._known.items():
            if known.worker != lost.worker or known.seat.state == pb.SEAT_STATE_CLOSED:
                continue
            closed = last_words(self._places.task(key), known.seat, lost, self._node)
            self._close(known, closed)
            self._run_beside(f"strays of {key}", self._end_strays(key))

    async def _end_strays(self, key: str) -> None:
        """What has left its shim's tree before that was lost."""
        word = cookies.cookie(self._places.root, key)
        count = await asyncio.to_thread(cookies.end_all, word)
        count += await asyncio.to_thread(containers.end_all, word)
        if count:
            _log.info("strays_ended", task=key, count=count)

    def settle(self) -> None:
        """Once a second: seats whose task has ended before they were open are told as closed, and forgotten when nobody
        needs them any more."""
        for key in [key for key in self._unwanted if key not in self._state.tasks]:
            del self._unwanted[key]
        for key, known in list(self._known.items()):
            task = self._state.tasks.get(key)
            is_over = task is None or task.phase in (Phase.ENDED, Phase.GONE)
            if is_over and known.seat.state != pb.SEAT_STATE_CLOSED:
                closed = pb.Seat()
                closed.CopyFrom(known.seat)
                closed.state = pb.SEAT_STATE_CLOSED
                self._close(known, closed)
            elif task is None and not self._dial(known.endpoint).has(key):
                del self._known[key]
                self._checkpointing.forget(key)

    @property
    def count(self) -> int:
        """Seats that are known here, with those that are over and not yet told so."""
        return len(self._known)

    # --- from and for a trainer

    def standing(self, endpoint: str) -> list[pb.Seat]:
        """Every seat of a trainer that is here, as it is; of one that is over its last event tells. What it wanted
        before and was not carried out yet follows again from what it hears now."""
        self._checkpointing.drop_commands(key for key, one in self._known.items() if one.endpoint == endpoint)
        open_seats = [
            known.seat
            for known in self._known.values()
            if known.endpoint == endpoint and known.seat.state != pb.SEAT_STATE_CLOSED
        ]
        preparing = [
            _preparing(task)
            for task in self._state.tasks.values()
            if task.body.seat is not None
            and task.body.seat.endpoint == endpoint
            and task.key not in self._known
            and task.phase is not Phase.ENDED
        ]
        return [*open_seats, *preparing]

    def on_command(self, endpoint: str, number: int, command: pb.SeatCommand) -> None:
        """Passes on what a trainer wants."""
        key = f"{command.task_id}/{command.attempt}"
        known = self._known.get(key)
        if known is not None and known.endpoint == endpoint and known.seat.state != pb.SEAT_STATE_CLOSED:
            if not self._checkpointing.takes_over(key, known.seat, number, command):
                self._carry(key, number, command)
            return
        task = self._state.tasks.get(key)
        is_unopened = known is None and task is not None and task.body.seat is not None
        if is_unopened and command.WhichOneof("command") == "close":
            self._unwanted[key] = (number, command)
            return
        message = "it is not open yet" if is_unopened else "there is no such seat here"
        refusal = pb.SeatRefusal(command=number, reason="UNKNOWN_SEAT", message=message)
        event = pb.SeatEvent(task_id=command.task_id, attempt=command.attempt, refusal=refusal)
        event.time.GetCurrentTime()
        self._dial(endpoint).add(event, Source("", "", 0))

    def _carry(self, key: str, number: int, command: pb.SeatCommand) -> None:
        known = self._known.get(key)
        if known is not None and known.seat.state != pb.SEAT_STATE_CLOSED:
            self._send(known.worker, (order_of(known.work_key, number, command),))

    def tell(self, key: str, checkpoint: pb.SeatCheckpoint, epoch: int = 0) -> None:
        """Something of a seat's checkpoints; `epoch`: of the launch that it keeps from beginning."""
        known = self._known.get(key)
        if known is None:
            return
        event = pb.SeatEvent(
            task_id=known.seat.task_id,
            attempt=known.seat.attempt,
            epoch=epoch or known.seat.epoch,
            checkpoint=checkpoint,
        )
        event.time.GetCurrentTime()
        self._dial(known.endpoint).add(event, Source("", "", 0))

    def on_acknowledged(self, sources: list[Source]) -> None:
        """A trainer has these on disk: shims may forget them."""
        highest: dict[tuple[str, str], int] = {}
        for source in sources:
            if source.number:
                highest[source.worker, source.key] = source.number
        for (worker, key), number in highest.items():
            self._send(worker, ({"key": key, "ack": number},))

    def _find(self, key: str, worker: str, work_key: str) -> Known | None:
        task = self._state.tasks.get(key)
        if task is None or task.body.seat is None:
            return None
        known = self._known[key] = Known(_preparing(task), worker, work_key, task.body.seat.endpoint)
        return known

    def _close(self, known: Known, closed: pb.Seat) -> None:
        known.seat = closed
        event = pb.SeatEvent(task_id=closed.task_id, attempt=closed.attempt, epoch=closed.epoch, seat=closed)
        event.time.GetCurrentTime()
        self._dial(known.endpoint).add(event, Source("", "", 0))


def _preparing(task: Task) -> pb.Seat:
    place = task.body.seat
    assert place is not None
    return pb.Seat(
        task_id=task.task_id,
        attempt=task.attempt,
        job_id=place.job_id,
        role=place.role,
        index=place.index + max(task.array_index, 0),
        state=pb.SEAT_STATE_PREPARING,
    )
