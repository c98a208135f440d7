"""What waits for checkpoints at an agent: ends for the last look, launches for the one to go on from, closes for the
store (S3.8, G8)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from modelyard.v1 import seat_pb2 as pb
from modelyard.v1 import task_pb2
from services.agent.config import Places
from services.agent.messages.decode import decode_body
from services.agent.preparation.artifacts import TransferFailed
from services.agent.preparation.inputs import Inputs
from services.agent.seats.queue import SeatQueue
from services.agent.seats.seats import Seats
from services.agent.tasks.model import Phase, StoredOutput, Task
from services.agent.tasks.state import Settings, State
from tests.support.seat_trainer import seat_spec
from tests.support.wait import wait_until

KEY = "t-1/1/1/7"


class Away(grpc.aio.AioRpcError):
    """The store is not there."""

    def __init__(self) -> None:
        empty = grpc.aio.Metadata()
        super().__init__(grpc.StatusCode.UNAVAILABLE, empty, empty)


class Shelf:
    """A store in a dictionary, that can be away."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.is_away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def put(self, path: Path, name: str, account: str, holder: str, tasks: Path | None) -> StoredOutput:
        await self.gate.wait()
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        self.kept[digest] = content
        return StoredOutput(name, digest, len(content))

    async def check(self, digest: str, account: str) -> None:
        if digest not in self.kept:
            raise TransferFailed("there is no such artefact", "")

    async def fetch(self, digest: str, account: str, path: Path) -> None:
        if self.is_away:
            raise TransferFailed("away", "") from Away()
        await self.check(digest, account)
        path.write_bytes(self.kept[digest])


class Room:
    """The seats of a node, with a shelf for a store and no shims."""

    def __init__(self, root: Path, **rules: Any) -> None:
        self.state = State({"cpu": 40_000}, Settings(), 0)
        self.queue = SeatQueue()
        self.sent: list[dict[str, Any]] = []
        self.shelf = Shelf()
        self.works: set[asyncio.Task[None]] = set()
        places = Places.of(root, "n1")
        inputs = Inputs(places.inputs, self.shelf, lambda _: False)  # type: ignore[arg-type]
        self.seats = Seats(
            self.state, places, "n1", lambda _, orders: self.sent.extend(orders), lambda _: self.queue,
            self._run_beside, self.shelf, inputs,  # type: ignore[arg-type]
        )  # fmt: skip
        checkpoints = task_pb2.SeatCheckpoints(directory="ckpt", settle_ms=0, **rules)
        body = decode_body(7, "ada", seat_spec(checkpoints=checkpoints).SerializeToString())
        task = Task("t-1/1", "t-1", 1, 1, body, array_index=0, phase=Phase.RUNNING)
        self.state.tasks[task.key] = task
        self.ckpt = places.task(task.key) / "work" / "ckpt"
        self.ckpt.mkdir(parents=True)

    def _run_beside(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        made = asyncio.ensure_future(work)
        self.works.add(made)
        made.add_done_callback(self.works.discard)

    def seat(self, number: int, state: str, epoch: int = 0, **exit_: Any) -> None:
        seat = {"task_id": "t-1", "attempt": 1, "state": f"SEAT_STATE_{state}", "epoch": epoch}
        if exit_:
            seat["exit"] = exit_
        report = {"key": KEY, "number": number, "event": {"task_id": "t-1", "attempt": 1, "seat": seat}}
        self.seats.on_reports("w1", [report])

    def command(self, number: int, **command: Any) -> None:
        self.seats.on_command("", number, pb.SeatCommand(task_id="t-1", attempt=1, **command))

    async def until(self, found: Callable[[], Any], what: str) -> Any:
        return await wait_until(found, what, timeout_s=20, state=lambda: (self.told, self.sent))

    @property
    def told(self) -> list[str]:
        """What the trainer hears, in words."""
        words = []
        for event, _ in self.queue._events:
            found = event.checkpoint
            if event.HasField("checkpoint"):
                words.append(f"{found.name} {found.flaw or ('stored' if found.is_stored else 'here')}")
            else:
                words.append(pb.SeatState.Name(event.seat.state).removeprefix("SEAT_STATE_"))
        return words

    def put(self, name: str, content: bytes = b"weights") -> pb.SeatCheckpoint:
        """One that the store has and the node has not."""
        digest = hashlib.sha256(content).hexdigest()
        self.shelf.kept[digest] = content
        made = pb.SeatCheckpoint(name=name, digest=digest, is_stored=True)
        made.files.add(path=name, digest=digest, size_bytes=len(content))
        return made


SUCCESS = {"cause": "EXIT_CAUSE_SUCCESS"}


@pytest.mark.asyncio
async def test_end_is_told_after_the_last_checkpoint(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.seat(1, "OPEN")
    room.seat(2, "RUNNING", 1)
    (room.ckpt / "step-1.bin").write_bytes(b"weights")
    room.shelf.gate.clear()
    room.seat(3, "ENDED", 1, **SUCCESS)
    room.seat(4, "CLOSED", 1)
    await room.until(lambda: "CLOSED" in room.told, "all was told")
    assert room.told == ["OPEN", "RUNNING", "step-1.bin here", "ENDED", "CLOSED"]
    room.shelf.gate.set()
    await room.until(lambda: room.told[-1] == "step-1.bin stored", "it is stored")


@pytest.mark.asyncio
async def test_seat_is_closed_once_everything_is_stored(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.seat(1, "OPEN")
    room.seat(2, "RUNNING", 1)
    (room.ckpt / "step-1.bin").write_bytes(b"weights")
    room.shelf.gate.clear()
    room.seat(3, "ENDED", 1, **SUCCESS)
    await room.until(lambda: "ENDED" in room.told, "its end was told")
    room.command(1, close=pb.CloseSeat())
    await asyncio.sleep(0)
    assert not [order for order in room.sent if "close" in order]
    room.shelf.gate.set()
    await room.until(lambda: [order for order in room.sent if "close" in order], "it is closed")
    assert room.told[-1] == "step-1.bin stored"


@pytest.mark.asyncio
async def test_launch_waits_for_what_it_goes_on_from_and_what_was_wanted_later_waits_too(
    tmp_path: Path,
) -> None:
    room = Room(tmp_path)
    room.seat(1, "OPEN")
    wanted = room.put("step-3.bin")
    room.command(1, launch=pb.LaunchSeat(epoch=4, resume=wanted))
    room.command(2, stop=pb.StopSeat(epoch=4))
    assert not room.sent
    await room.until(lambda: len(room.sent) == 2, "both came")
    assert ["launch" in room.sent[0], "stop" in room.sent[1]] == [True, True]
    assert (room.ckpt / "step-3.bin").read_bytes() == b"weights"


@pytest.mark.asyncio
async def test_what_was_torn_is_put_aside_before_the_next_launch(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.seat(1, "OPEN")
    room.seat(2, "RUNNING", 1)
    (room.ckpt / "step-2.pt").write_bytes(b"PK\x03\x04torn")
    room.seat(3, "ENDED", 1, cause="EXIT_CAUSE_SIGNAL", signal=9)
    await room.until(lambda: "ENDED" in room.told, "its end was told")
    room.command(1, launch=pb.LaunchSeat(epoch=2))
    await room.until(lambda: room.sent, "it was launched")
    assert [path.name for path in room.ckpt.iterdir()] == [".torn-step-2.pt"]
    assert room.told == ["OPEN", "RUNNING", "ENDED"]


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["missing", "damaged", "never stored", "climbs out"])
async def test_what_cannot_be_made_ready_is_told_and_nothing_is_launched(tmp_path: Path, how: str) -> None:
    room = Room(tmp_path)
    room.seat(1, "OPEN")
    wanted = room.put("step-3.bin")
    if how == "missing":
        room.shelf.kept.clear()
    elif how == "damaged":
        room.shelf.kept[wanted.digest] = b"other"
    elif how == "never stored":
        wanted.is_stored = False
    else:
        wanted.files[0].path = "../../step-3.bin"
    room.command(1, launch=pb.LaunchSeat(epoch=1, resume=wanted))
    await room.until(lambda: len(room.told) == 2, "it was told")
    assert room.told[1].startswith("step-3.bin ") and not room.sent
    assert not any(room.ckpt.iterdir()) and not (tmp_path / "step-3.bin").exists()


@pytest.mark.asyncio
async def test_store_that_is_away_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.agent.seats.checkpoints.AGAIN_S", 0.01)
    room = Room(tmp_path)
    room.shelf.is_away = True
    room.seat(1, "OPEN")
    room.command(1, launch=pb.LaunchSeat(epoch=1, resume=room.put("step-3.bin")))
    for _ in range(20):
        await asyncio.sleep(0.01)
    assert not room.sent and room.told == ["OPEN"]
    room.shelf.is_away = False
    await room.until(lambda: room.sent, "it was launched")


@pytest.mark.asyncio
async def test_greeting_voids_what_was_not_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer says it again, from what it hears then."""
    monkeypatch.setattr("services.agent.seats.checkpoints.AGAIN_S", 0.01)
    room = Room(tmp_path)
    room.shelf.is_away = True
    room.seat(1, "OPEN")
    room.command(1, launch=pb.LaunchSeat(epoch=1, resume=room.put("step-3.bin")))
    await asyncio.sleep(0.02)
    (standing,) = room.seats.standing("")
    assert standing.state == pb.SEAT_STATE_OPEN
    room.shelf.is_away = False
    await room.until(lambda: not room.works, "nothing is under way")
    assert not room.sent


@pytest.mark.asyncio
async def test_next_agent_tells_what_lies_there_and_the_end_after_it(tmp_path: Path) -> None:
    """What a shim repeats is an end that may be new: until it was told the seat is as it was before."""
    room = Room(tmp_path)
    (room.ckpt / "step-1.bin").write_bytes(b"weights")
    room.seat(9, "ENDED", 3, **SUCCESS)
    (standing,) = room.seats.standing("")
    assert (standing.state, standing.epoch) == (pb.SEAT_STATE_RUNNING, 3) and not standing.HasField("exit")
    await room.until(lambda: "ENDED" in room.told, "its end was told")
    assert room.told[:2] == ["step-1.bin here", "ENDED"]


@pytest.mark.asyncio
async def test_dropped_ones_go(tmp_path: Path) -> None:
    room = Room(tmp_path)
    (room.ckpt / "step-1.bin").write_bytes(b"weights")
    room.seat(1, "OPEN")
    room.command(1, drop_checkpoints=pb.DropCheckpoints(names=["step-1.bin", "../../x"]))
    await room.until(lambda: not room.works, "it was done")
    assert not any(room.ckpt.iterdir()) and not room.sent
