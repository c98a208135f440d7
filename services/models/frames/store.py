"""The rows of frames and deployments: writes what a step wants kept, and gives it back. Knows SQL, decides nothing."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.chassis.requests.marks import Kept as KeptAnswer
from services.chassis.storage.sqlite import Database
from services.models.frames import effects as e
from services.models.frames.state import Deployment, Frame

SMALL_ROWS = 12
"""So few are committed without a hop to the database's thread."""
EPOCH_REVISIONS = 1_000_000
"""After a start numbering of revisions goes on beyond all that was ever shown."""

_PACK = msgspec.msgpack.Encoder().encode
_FRAME = msgspec.msgpack.Decoder(Frame)
_DEPLOYMENT = msgspec.msgpack.Decoder(Deployment)
_ORDER = ("put_deployment", "insert_change", "put_frame", "insert_seat", "drop_seat", "set_frame_meta")


class SeatRow(msgspec.Struct, frozen=True):
    """A submission of a seat."""

    batch: int
    frame: int
    account: str
    content: bytes


class Recovered(msgspec.Struct, frozen=True):
    """What is there after a start."""

    epoch: int
    next_frame: int
    next_batch: int
    revision: int
    deployments: list[Deployment]
    frames: list[Frame]
    seats: list[SeatRow]


class FrameStore:
    """The repository of this room, on the service's database."""

    def __init__(self, database: Database, sql: Mapping[str, str]) -> None:
        self.database = database
        self._sql = sql

    async def persist(
        self,
        rows: Sequence[e.Row],
        seats: Sequence[SeatRow] = (),
        answers: Sequence[tuple[KeptAnswer[None], None]] = (),
    ) -> None:
        """All or none, durable on return. `seats`: what rows InsertBatch of the step come to."""
        values: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for row in rows:
            _put(row, values)
        for seat in seats:
            values["insert_seat"].append(msgspec.structs.astuple(seat))
            values["set_frame_meta"] = [("frame_batch", seat.batch)]

        def change(c: sqlite3.Connection) -> None:
            for name in _ORDER:
                if values[name]:
                    c.executemany(self._sql[name], values[name])
            for kept, made in answers:
                kept(c, made)

        await self.database.write(change, is_small=len(rows) <= SMALL_ROWS)

    async def begin(self) -> Recovered:
        """Everything that is not over; the service's own epoch is one more from now on."""
        return await self.database.write(self._begin)

    def _begin(self, c: sqlite3.Connection) -> Recovered:
        epoch, last_batch = self._meta(c, "frame_epoch") + 1, self._meta(c, "frame_batch")
        c.execute(self._sql["set_frame_meta"], ("frame_epoch", epoch))
        last_frame, *revisions = c.execute(self._sql["last_numbers"]).fetchone()
        last_frame = max(last_frame, self._meta(c, "frame"))
        return Recovered(
            epoch=epoch,
            next_frame=last_frame + 1,
            next_batch=last_batch + 1,
            revision=max(revisions) + EPOCH_REVISIONS,
            deployments=[_DEPLOYMENT.decode(row[0]) for row in c.execute(self._sql["live_deployments"])],
            frames=[_FRAME.decode(row[0]) for row in c.execute(self._sql["live_frames"])],
            seats=[SeatRow(*row) for row in c.execute(self._sql["all_seats"])],
        )

    def _meta(self, c: sqlite3.Connection, name: str) -> int:
        found = c.execute(self._sql["get_frame_meta"], (name,)).fetchone()
        return int(found[0]) if found else 0

    async def ended(self, since_ms: int) -> list[Frame]:
        """Those that are gone, latest first."""
        found = await self.database.read(
            lambda c: c.execute(self._sql["ended_frames"], (since_ms,)).fetchall()
        )
        return [_FRAME.decode(content) for (content,) in found]

    async def deployment(self, name: str) -> Deployment | None:
        """As it lies on disk; also one that was undeployed."""
        found = await self.database.read(lambda c: c.execute(self._sql["get_deployment"], (name,)).fetchone())
        return _DEPLOYMENT.decode(found[0]) if found else None

    async def clear(self, before_ms: int) -> int:
        """Forgets frames that were gone by then; their numbers are never given again."""

        def change(c: sqlite3.Connection) -> int:
            last_frame, *_ = c.execute(self._sql["last_numbers"]).fetchone()
            c.execute(self._sql["set_frame_meta"], ("frame", last_frame))
            return c.execute(self._sql["clear_frames"], (before_ms,)).rowcount

        return await self.database.write(change)


def _put(row: e.Row, values: dict[str, list[tuple[Any, ...]]]) -> None:
    if isinstance(row, e.PutFrame):
        frame = row.frame
        is_gone = frame.state.is_over and not frame.holds
        values["put_frame"].append((frame.number, is_gone, frame.end_ms, frame.revision, _PACK(frame)))
    elif isinstance(row, e.PutDeployment):
        one = row.deployment
        values["put_deployment"].append((one.name, one.account, one.state.value, one.revision, _PACK(one)))
    elif isinstance(row, e.InsertChange):
        one = row.deployment
        found = (one.wish_revision, one.name, row.account, row.what, row.comment, row.time_ms, _PACK(one))
        values["insert_change"].append(found)
    elif isinstance(row, e.DropBatch):
        values["drop_seat"].append((row.batch,))
