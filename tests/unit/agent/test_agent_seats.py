"""The agent's room of seats without processes: what is told, in which order, and until when."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from modelyard.v1 import job_pb2
from modelyard.v1 import seat_pb2 as pb
from services.agent.config import AgentConfig, Places
from services.agent.host.addresses import reached_by
from services.agent.messages.decode import decode_body
from services.agent.preparation.artifacts import Artifacts
from services.agent.preparation.inputs import Inputs
from services.agent.seats.queue import SeatQueue, Source
from services.agent.seats.seats import Seats
from services.agent.tasks.events import WorkerLost
from services.agent.tasks.model import Phase, Task
from services.agent.tasks.state import Settings, State
from tests.support.seat_trainer import seat_spec

KEY = "t-1/1/1/7"


def _no_store() -> grpc.aio.Channel:
    raise AssertionError("nothing is asked of the store")


class Room:
    """The room of seats, and everything that it sends."""

    def __init__(self, root: Path) -> None:
        self.state = State({"cpu": 40_000}, Settings(), 0)
        self.queue = SeatQueue()
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.beside: list[str] = []
        places, artifacts = Places.of(root, "n1"), Artifacts(_no_store)
        inputs = Inputs(places.inputs, artifacts, lambda _: False)
        self.seats = Seats(
            self.state, places, "n1", self._send, lambda _: self.queue, self._run_beside, artifacts, inputs
        )

    def _send(self, worker: str, orders: tuple[dict[str, Any], ...]) -> None:
        self.sent += [(worker, order) for order in orders]

    def _run_beside(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        work.close()
        self.beside.append(name)

    def add(self, phase: Phase = Phase.HANDED, **seat: Any) -> Task:
        body = decode_body(7, "ada", seat_spec(**seat).SerializeToString())
        task = Task("t-1/1", "t-1", 1, 1, body, array_index=2, phase=phase)
        self.state.tasks[task.key] = task
        return task

    def tell(self, number: int, **event: Any) -> None:
        named = {"task_id": "t-1", "attempt": 1, **event}
        report: dict[str, Any] = {"key": KEY, "event": named}
        if number:
            report["number"] = number
        self.seats.on_reports("w1", [report])

    def seat(self, number: int, state: str, epoch: int = 0) -> None:
        self.tell(
            number, seat={"task_id": "t-1", "attempt": 1, "state": f"SEAT_STATE_{state}", "epoch": epoch}
        )

    def told(self) -> list[pb.SeatEvent]:
        return self.queue.take()[1]

    def command(self, number: int = 5, **command: Any) -> None:
        self.seats.on_command("", number, pb.SeatCommand(task_id="t-1", attempt=1, **command))


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_seat_that_is_not_open_yet_is_preparing(room: Room) -> None:
    room.add(index=10)
    (seat,) = room.seats.standing("")
    assert (seat.state, seat.index, seat.role) == (pb.SEAT_STATE_PREPARING, 12, "worker")
    assert room.seats.standing("other:1") == []


def test_commands_go_to_the_shim_with_their_number(room: Room) -> None:
    room.add()
    room.seat(1, "OPEN")
    room.command(9, launch=pb.LaunchSeat(epoch=3))
    assert room.sent == [("w1", {"key": KEY, "number": 9, "launch": {"epoch": "3"}})]


def test_close_before_the_opening_is_carried_out_then(room: Room) -> None:
    room.add(Phase.PREPARING)
    room.command(5, close=pb.CloseSeat(message="not wanted"))
    assert not room.sent
    room.seat(1, "OPEN")
    assert room.sent == [("w1", {"key": KEY, "number": 5, "close": {"message": "not wanted"}})]


def test_other_commands_before_the_opening_are_refused(room: Room) -> None:
    room.add(Phase.PREPARING)
    room.command(5, launch=pb.LaunchSeat(epoch=1))
    (event,) = room.told()
    assert (event.refusal.command, event.refusal.reason) == (5, "UNKNOWN_SEAT")


def test_command_for_a_seat_that_is_not_here_is_refused(room: Room) -> None:
    room.command(5, stop=pb.StopSeat(epoch=1))
    assert room.told()[0].refusal.reason == "UNKNOWN_SEAT"


def test_shim_forgets_what_the_trainer_has(room: Room) -> None:
    room.add()
    room.seat(1, "OPEN")
    room.tell(2, sign={"id": 1})
    room.tell(0, activity={"cpu": 0.5})
    assert len(room.told()) == 3
    room.seats.on_acknowledged(room.queue.acknowledge(3))
    assert room.sent == [("w1", {"key": KEY, "ack": 2})]
    assert room.queue.is_empty


def test_seat_that_an_agent_finds_again_is_told_though_all_of_it_is_acknowledged(room: Room) -> None:
    """A command that an earlier process was given may be lost: who wants it has to hear how the seat stands."""
    room.add()
    room.seat(0, "ENDED", 3)
    (event,) = room.told()
    assert (event.seat.state, event.seat.epoch) == (pb.SEAT_STATE_ENDED, 3)
    room.seat(0, "ENDED", 3)
    assert not room.told()
    room.seats.on_acknowledged(room.queue.acknowledge(1))
    assert not room.sent


def test_reports_of_a_task_that_nobody_knows_are_forgotten_at_once(room: Room) -> None:
    room.seat(4, "ENDED")
    assert room.sent == [("w1", {"key": KEY, "ack": 4})]
    assert room.queue.is_empty


def test_lost_shim_is_told_as_closed_with_its_last_words(room: Room, tmp_path: Path) -> None:
    room.add()
    room.seat(1, "RUNNING", 3)
    room.seats.on_lost(WorkerLost("w1", signal=9))
    seat = room.told()[-1].seat
    assert (seat.state, seat.exit.epoch, seat.exit.node) == (pb.SEAT_STATE_CLOSED, 3, "n1")
    assert "was ended by signal 9" in seat.exit.message
    assert room.beside == ["strays of t-1/1"]


def test_seat_whose_task_has_ended_is_told_as_closed_and_then_forgotten(room: Room) -> None:
    task = room.add()
    room.seat(1, "OPEN")
    task.phase = Phase.ENDED
    room.seats.settle()
    assert room.told()[-1].seat.state == pb.SEAT_STATE_CLOSED
    del room.state.tasks[task.key]
    room.seats.settle()
    assert room.seats.standing("") == []
    assert room.seats.count == 1
    room.queue.acknowledge(2)
    room.seats.settle()
    assert room.seats.count == 0


def test_new_session_tells_again_but_no_state_that_is_over() -> None:
    queue = SeatQueue()
    for number, event in enumerate(
        (
            pb.SeatEvent(task_id="t-1", seat=pb.Seat(state=pb.SEAT_STATE_OPEN)),
            pb.SeatEvent(task_id="t-2", seat=pb.Seat(state=pb.SEAT_STATE_OPEN)),
            pb.SeatEvent(task_id="t-1", sign=pb.SeatSign(id=1)),
            pb.SeatEvent(task_id="t-1", seat=pb.Seat(state=pb.SEAT_STATE_ENDED)),
            pb.SeatEvent(task_id="t-1", seat=pb.Seat(state=pb.SEAT_STATE_CLOSED)),
        )
    ):
        queue.add(event, Source("w1", event.task_id, number + 1))
    first, events = queue.take()
    assert (first, len(events)) == (1, 5)
    queue.begin()
    first, again = queue.take()
    assert first == 1
    assert [(event.task_id, event.WhichOneof("event")) for event in again] == [
        ("t-2", "seat"),
        ("t-1", "sign"),
        ("t-1", "seat"),
        ("t-1", "seat"),
    ]
    assert [source.number for source in queue.acknowledge(4)] == [2, 3, 4, 5]


def test_queue_that_nobody_empties_drops_old_progress_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.agent.seats.queue.KEPT_MOST", 3)
    queue = SeatQueue()
    queue.add(pb.SeatEvent(task_id="t-1", seat=pb.Seat(state=pb.SEAT_STATE_RUNNING)), Source("w1", "k", 1))
    for step in range(5):
        queue.add(
            pb.SeatEvent(task_id="t-1", progress=job_pb2.JobProgress(step=step)), Source("w1", "k", 2 + step)
        )
    _, events = queue.take()
    assert [event.progress.step for event in events if event.HasField("progress")] == [3, 4]
    assert len(events) == 3


def test_acknowledgement_of_what_was_not_sent_changes_nothing() -> None:
    queue = SeatQueue()
    queue.add(pb.SeatEvent(task_id="t-1"), Source("w1", "k", 1))
    assert queue.acknowledge(10) == []
    assert not queue.is_empty


@pytest.mark.parametrize(
    ("endpoint", "trainer", "address"),
    [
        ("", "", "yard.lan:7073"),
        ("", "other.lan:9", "other.lan:9"),
        (":8000", "", "yard.lan:8000"),
        ("trainer.lan:8000", "other.lan:9", "trainer.lan:8000"),
    ],
)
def test_trainer_is_found_beside_the_scheduler_unless_told(endpoint: str, trainer: str, address: str) -> None:
    config = AgentConfig(state_dir=Path("/nowhere"), port=0, scheduler="yard.lan:7070", trainer=trainer)
    assert config.trainer_address(endpoint) == address


def test_address_is_the_one_towards_the_peer_unless_told() -> None:
    assert reached_by("", "127.0.0.1:7073").ip == "127.0.0.1"
    assert reached_by("127.0.0.9", "127.0.0.1:7073") == ("127.0.0.9", "127.0.0.9")
    assert reached_by("localhost", "127.0.0.1:7073").host == "localhost"
