"""Promises about checkpoints: none that was told is lost, each launch gets one, the newest that it can have.

Also: instances that start together go on from one moment, and the store holds what the trainer's rows name, no more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.v1 import seat_pb2 as pb
from services.trainer.jobs.checkpoints import holder_of, trains_with_others
from services.trainer.model import Checkpoint
from services.trainer.state.jobs import Instance, Key, LiveJob

if TYPE_CHECKING:
    from tests.simulation.jobs.machines import Seat
    from tests.simulation.jobs.world import World

Whom = tuple[int, str, int]
_CHECKPOINT = msgspec.msgpack.Decoder(Checkpoint)


def age(found: Checkpoint) -> tuple[int, int, int, int]:
    """Later seats are newer, then later times."""
    return found.seat, found.time_ms, found.step or 0, found.number


class Kept:
    """Sees what is told of checkpoints and what is handed on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.handed: dict[tuple[Whom, int], str] = {}
        """By launch, the digest that was gone on from."""
        self.count = 0
        """Launches that went on from one."""
        self._newest: dict[Whom, tuple[str, int, str, str]] = {}
        """Of those that were acknowledged: task, time, name, digest."""
        self._flawed: dict[Whom, set[str]] = defaultdict(set)
        """Digests of those that turned out to be torn."""
        self._chosen: dict[Whom, int] = {}

    def rows(self, job: int) -> list[Checkpoint]:
        """What is on disk of a job."""
        found = self._world.disk.rows("SELECT content FROM checkpoint WHERE job = ?", job)
        return [_CHECKPOINT.decode(content) for (content,) in found]

    def forgotten(self, whom: Whom) -> None:
        """It was scaled away: who comes back is somebody else."""
        self._newest.pop(whom, None)
        self._chosen.pop(whom, None)

    # --- what is told

    def acknowledged(self, events: Iterable[tuple[Whom, Instance, pb.SeatEvent]]) -> None:
        """The agent may forget that it told these."""
        for whom in {whom: None for whom, kept, event in events if self._is_news(whom, kept, event)}:
            self._newest_is_there(whom, self.rows(whom[0]))

    def _is_news(self, whom: Whom, kept: Instance, event: pb.SeatEvent) -> bool:
        found = event.checkpoint
        if kept.task != event.task_id or found.flaw:
            return False
        rows = self.rows(whom[0])
        is_copy = any(
            row.name == found.name and row.digest == found.digest and (row.role, row.index) != whom[1:]
            for row in rows
        )
        time_ms = found.time.ToMilliseconds()
        before = self._newest.get(whom)
        if not is_copy and (before is None or before[0] != kept.task or time_ms >= before[1]):
            self._newest[whom] = (kept.task, time_ms, found.name, found.digest)
        return not is_copy

    def _newest_is_there(self, whom: Whom, rows: Iterable[Checkpoint]) -> None:
        if whom not in self._newest:
            return
        _, time_ms, name, digest = self._newest[whom]
        own = [row for row in rows if (row.role, row.index) == whom[1:]]
        newer = sum(row.time_ms > time_ms for row in own)
        is_there = any(row.name == name and row.digest == digest for row in own)
        is_replaced = newer >= self._world.plan(whom[0]).job.checkpoints.keep_last
        is_well = is_there or is_replaced or digest in self._flawed[whom]
        assert is_well, f"{name} of {whom} was acknowledged, and is lost: {own}"

    # --- what is gone on from

    def stepped(self, live: LiveJob, act: Any) -> None:
        """A choice was made for those whose `resume` is another than before."""
        if not live.plan.job.checkpoints.directory:
            return
        number = live.job.number
        now = {(number, *key): one.resume for key, one in live.instances.items()}
        changed = [whom for whom, resume in now.items() if resume > 0 and self._chosen.get(whom) != resume]
        self._chosen.update(now)
        if not changed:
            return
        rows = self.rows(number)
        by_number = {row.number: row for row in rows}
        lost = [whom for whom in changed if now[whom] not in by_number]
        assert not lost, f"{lost} go on from what is on no disk"
        together = [whom for whom in changed if trains_with_others(act, whom[1:])]
        for whom in changed:
            if whom not in together:
                self._newest_is_there(whom, rows)
                usable = self._usable(live, whom[1:], rows)
                best = max(usable, key=age)
                assert best.number == now[whom], (
                    f"{whom} goes on from {by_number[now[whom]].name}, {best.name} is newer"
                )
        self._go_on_from_one_moment(live, [whom[1:] for whom in together], by_number)

    def _usable(self, live: LiveJob, key: Key, rows: Iterable[Checkpoint]) -> list[Checkpoint]:
        task = live.instances[key].task
        own = [row for row in rows if (row.role, row.index) == key]
        return [row for row in own if row.is_stored or row.task == task]

    def _go_on_from_one_moment(
        self, live: LiveJob, keys: Sequence[Key], by_number: dict[int, Checkpoint]
    ) -> None:
        steps = {by_number[live.instances[key].resume].step for key in keys}
        if len(steps) < 2:
            return
        usable = [self._usable(live, key, by_number.values()) for key in keys]
        common = set.intersection(*({row.step for row in each} for each in usable))
        assert not common, f"{keys} go on from {steps}, and all have {common}"

    # --- at the machines

    def launched(self, whom: Whom, seat: Seat, launch: pb.LaunchSeat) -> None:
        """What its processes go on from is there, and is the same however often the launch is sent."""
        if not launch.HasField("resume"):
            return
        found = launch.resume
        here = seat.shelf.found.get(found.name)
        is_here = here is not None and here.digest == found.digest
        is_known = is_here or found.digest in self._world.store.blobs or found.digest in self._flawed[whom]
        assert is_known, f"{whom} is to go on from {found.name}, which is nowhere"

    def went_on(self, whom: Whom, launch: pb.LaunchSeat) -> None:
        """Its processes began with it."""
        digest = launch.resume.digest if launch.HasField("resume") else ""
        before = self.handed.setdefault((whom, launch.epoch), digest)
        assert before == digest, f"{whom} got two checkpoints in epoch {launch.epoch}"
        self.count += bool(digest)

    def torn(self, whom: Whom, digest: str) -> None:
        """Its machine could not make it ready."""
        self._flawed[whom].add(digest)
        for each in self._newest:
            # Those that start together may have been given one of another's.
            if each[0] == whom[0]:
                self._flawed[each].add(digest)

    # --- at the end

    def look_back(self) -> None:
        """Rows and references are the same."""
        jobs = self._world.disk.rows("SELECT DISTINCT job FROM checkpoint")
        wanted = {
            holder_of(job, row): tuple(dict.fromkeys(digest for _, digest, _ in row.files))
            for (job,) in jobs
            for row in self.rows(job)
            if row.is_stored
        }
        held = self._world.store.held
        more, less = held.keys() - wanted.keys(), wanted.keys() - held.keys()
        assert held == wanted, f"{sorted(more)} are held by nobody's wish, {sorted(less)} by nobody"
