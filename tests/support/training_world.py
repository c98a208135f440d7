"""A world for the trainer's machine: a scheduler with so many seats, agents that start and end processes, a disk.

Everything happens in an order that a seed decides. The trainer may die between any two steps: what is on the disk is
read back, and agents and scheduler tell what they know.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from modelyard.training import Address, Plan, plan_job
from modelyard.training.policies.restarts import Cause
from services.trainer import machine
from services.trainer.model import Checkpoint, Exit, JobState
from services.trainer.state.effects import (
    CancelSeats,
    CheckPeers,
    CloseSeat,
    DropBatch,
    DropCheckpoint,
    DropFiles,
    DropInstance,
    Effects,
    HoldReferences,
    InsertBatch,
    InsertOutcome,
    LaunchInstance,
    PutCheckpoint,
    PutInstance,
    PutJob,
    StopInstance,
    SubmitSeats,
)
from services.trainer.state.events import (
    CheckpointSeen,
    Event,
    InstanceEnded,
    InstanceStarted,
    JobCreated,
    JobRecovered,
    PeersChecked,
    SeatEnded,
    SeatOpened,
    SeatsAccepted,
    SeatStands,
    SignSeen,
    Ticked,
)
from services.trainer.state.jobs import Instance, Job, Unreached
from services.trainer.state.state import State, check_invariants

_JOB = msgspec.msgpack.Decoder(Job)
_INSTANCE = msgspec.msgpack.Decoder(Instance)
_PACK = msgspec.msgpack.Encoder().encode


def job_of(plan: Plan, document: str = "") -> Job:
    """As a servicer makes it."""
    return Job(0, "ann", plan.job.name, plan.framework.id, 0, document, plan.job.queue, plan.job.priority, 0)


class Seat(msgspec.Struct):
    """A task that holds a place for an instance."""

    task: str
    job: int
    role: str
    index: int
    batch: int
    is_open: bool = False
    epoch: int = 0
    is_live: bool = False
    exit: Exit | None = None
    signs: list[int] = []
    """Numbers of its role's signs that its agent has seen in this launch."""
    files: dict[str, tuple[int, bool]] = {}
    """Checkpoints that lie there: when each was written, and whether the store has it."""
    step: int = 0


class World:
    """One trainer, one scheduler, agents."""

    def __init__(self, seats_most: int = 8, seed: int = 0) -> None:
        self.chance = random.Random(seed)
        self.now = 1_000
        self.seats_most = seats_most
        self.state = State()
        self.plans: dict[int, Plan] = {}
        self.jobs: dict[int, bytes] = {}
        self.instances: dict[tuple[int, str, int], bytes] = {}
        self.batches: dict[int, InsertBatch] = {}
        self.outcomes: dict[int, JobState] = {}
        self.asked: dict[int, dict[tuple[str, int], str]] = {}
        """Submissions that the scheduler has taken: the task of each instance's seat."""
        self.gangs: dict[int, list[Seat]] = {}
        """Seats that wait for a place, by batch."""
        self.seats: dict[str, Seat] = {}
        self.news: list[Event] = []
        self.late: list[Event] = []
        self.fails: Callable[[Seat], Cause | None] = lambda seat: None
        self.shows: Callable[[Seat], tuple[int, ...]] = lambda seat: ()
        """Signs that an instance shows in its last moment."""
        self.node_of: Callable[[str, int], str] = lambda role, index: "n"
        self.reaches: Callable[[str, str], bool] = lambda here, there: True
        """Whether a node gets to another."""
        self.dialled: list[tuple[str, str]] = []
        self.says: Callable[[Seat], tuple[str, ...]] = lambda seat: ()
        """Its last lines."""
        self.checkpoints: dict[tuple[int, str, int, str], Checkpoint] = {}
        self.held: dict[str, set[str]] = {}
        """What the store keeps, by account and holder."""
        self.resumed: dict[tuple[int, str, int], list[int]] = {}
        """Steps from which each instance went on, launch by launch."""
        self.launched: Callable[[LaunchInstance], object] = lambda wish: None
        """Hears of each launch that begins."""
        self.is_torn: Callable[[Checkpoint], bool] = lambda found: False
        self.effects = Effects()
        self.epochs: dict[tuple[int, str, int], int] = {}

    def create(self, plan: Plan) -> int:
        """A job of this plan; its number."""
        number = self.state.next_job
        self.plans[number] = plan
        self.do(JobCreated(number, job_of(plan), plan))
        return number

    def do(self, *events: Event) -> Effects:
        """One step: rows on disk, then what leaves."""
        self.effects = effects = machine.step(self.state, events, self.now)
        for row in effects.rows:
            self._write(row)
        check_invariants(self.state)
        for wish in effects.wishes:
            self._grant(wish)
        return effects

    def _write(self, row: object) -> None:
        if isinstance(row, PutJob):
            self.jobs[row.job.number] = _PACK(row.job)
        elif isinstance(row, PutInstance):
            self.instances[row.job, row.instance.role, row.instance.index] = _PACK(row.instance)
        elif isinstance(row, DropInstance):
            self.instances.pop((row.job, row.role, row.index), None)
        elif isinstance(row, PutCheckpoint):
            one = row.checkpoint
            self.checkpoints[row.job, one.role, one.index, one.name] = one
        elif isinstance(row, DropCheckpoint):
            self.checkpoints.pop((row.job, row.role, row.index, row.name), None)
        elif isinstance(row, InsertBatch):
            self.batches[row.batch] = row
        elif isinstance(row, DropBatch):
            self.batches.pop(row.batch, None)
        elif isinstance(row, InsertOutcome):
            assert row.job not in self.outcomes, "a job is decided twice"
            self.outcomes[row.job] = row.outcome

    def _grant(self, wish: object) -> None:
        if isinstance(wish, SubmitSeats):
            self._submit(wish.batch)
        elif isinstance(wish, CancelSeats):
            for task in wish.tasks:
                for seat in [one for one in self._all() if one.task == task]:
                    self._end(seat)
        elif isinstance(wish, LaunchInstance):
            self._launch(wish)
        elif isinstance(wish, StopInstance):
            seat = self.seats.get(wish.task)
            if seat is not None and seat.is_live and seat.epoch == wish.epoch:
                self._exit(seat, Cause.STOPPED)
            elif seat is not None and not seat.is_live and seat.epoch < wish.epoch:
                # Nothing of that epoch begins any more.
                seat.epoch = wish.epoch
                self._exit(seat, Cause.STOPPED)
        elif isinstance(wish, CheckPeers):
            self._check(wish)
        elif isinstance(wish, HoldReferences):
            self.held[wish.holder] = set(wish.digests) if wish.digests else set()
        elif isinstance(wish, DropFiles) and wish.task in self.seats:
            for name in wish.names:
                self.seats[wish.task].files.pop(name, None)
        elif isinstance(wish, CloseSeat) and wish.task in self.seats:
            self.store_all(self.seats[wish.task])
            self._end(self.seats[wish.task])

    def _check(self, wish: CheckPeers) -> None:
        """An agent tries, and tells."""
        if wish.task not in self.seats:
            return
        unreached = []
        for target in wish.targets:
            there = self.node_of(target.role, target.index)
            self.dialled.append((wish.node, there))
            assert not self.seats[target.task].is_live, "what runs has its ports itself"
            if not self.reaches(wish.node, there):
                unreached.append(
                    Unreached(target.role, target.index, f"{target.host}:{target.port}", "no way")
                )
        self.news.append(
            PeersChecked(wish.job, wish.role, wish.index, wish.task, wish.number, tuple(unreached))
        )

    def _all(self) -> list[Seat]:
        return [*self.seats.values(), *(seat for gang in self.gangs.values() for seat in gang)]

    def _submit(self, batch: int) -> None:
        """The same request again gives the same tasks."""
        row = self.batches.get(batch)
        if row is None:
            return
        if batch not in self.asked:
            tasks = {
                (role, index): f"t-{batch}-{role}.{index}"
                for role, each in row.seats.items()
                for index in each
            }
            self.asked[batch] = tasks
            self.gangs[batch] = [Seat(task, row.job, *key, batch) for key, task in tasks.items()]
        # An agent may be quicker than the scheduler's answer.
        answer = SeatsAccepted(row.job, row.account, batch, self.asked[batch])
        (self.news if self.chance.random() < 0.5 else self.late).append(answer)

    def _launch(self, wish: LaunchInstance) -> None:
        seat = self.seats.get(wish.task)
        if seat is None or wish.epoch <= seat.epoch:
            return
        key = (wish.job, wish.role, wish.index)
        if wish.resume is not None and not self._restore(seat, wish, wish.resume):
            return
        lives = [s for s in self.seats.values() if (s.job, s.role, s.index) == key and s.is_live]
        assert not lives, f"{key} lives twice"
        assert wish.epoch > self.epochs.get(key, 0), f"{key} was started with an epoch that was there before"
        self.epochs[key] = wish.epoch
        self.launched(wish)
        seat.step = wish.resume.step or 0 if wish.resume is not None else 0
        self.resumed.setdefault(key, []).append(seat.step)
        seat.epoch, seat.is_live, seat.exit, seat.signs = wish.epoch, True, None, []
        self.news.append(InstanceStarted(wish.job, wish.role, wish.index, wish.task, wish.epoch))

    def _restore(self, seat: Seat, wish: LaunchInstance, found: Checkpoint) -> bool:
        """As an agent does: it lies there, or comes from the store, or is told to be torn."""
        lies_there = found.name in seat.files
        assert lies_there or found.is_stored, f"{found.name} is nowhere"
        if self.is_torn(found):
            flaw = CheckpointSeen(
                job=wish.job, role=wish.role, index=wish.index, task=wish.task, node="n", epoch=wish.epoch,
                name=found.name, digest=found.digest, flaw="torn",
            )  # fmt: skip
            self.news.append(flaw)
            return False
        if not lies_there:
            seat.files[found.name] = (self.now, True)
            self.news.append(self._told(seat, found.name))
        return True

    def save(self, seat: Seat, step: int = 0) -> str:
        """A program writes a checkpoint; its name."""
        seat.step = step or seat.step + 1
        name = f"step-{seat.step}"
        seat.files[name] = (self.now, False)
        self.news.append(self._told(seat, name))
        return name

    def save_one(self) -> None:
        lives = sorted(task for task, seat in self.seats.items() if seat.is_live)
        if lives:
            self.save(self.seats[self.chance.choice(lives)])

    def store_all(self, seat: Seat) -> None:
        """What lies there goes to the store."""
        for name, (written, is_stored) in seat.files.items():
            if not is_stored:
                seat.files[name] = (written, True)
                self.news.append(self._told(seat, name))

    def store_one(self) -> None:
        if self.seats:
            self.store_all(self.seats[self.chance.choice(sorted(self.seats))])

    def _told(self, seat: Seat, name: str) -> CheckpointSeen:
        written, is_stored = seat.files[name]
        return CheckpointSeen(
            job=seat.job, role=seat.role, index=seat.index, task=seat.task, node="n", epoch=seat.epoch, name=name,
            digest=f"{seat.role}-{seat.index}-{name}", files=((name, f"{seat.role}-{seat.index}-{name}", 1),),
            size_bytes=1, time_ms=written, is_stored=is_stored,
        )  # fmt: skip

    def _exit(self, seat: Seat, cause: Cause) -> None:
        code = 1 if cause is Cause.EXIT else 0
        seat.is_live = False
        seat.signs = [*self.shows(seat)]
        self.news += [SignSeen(seat.job, seat.role, seat.index, seat.epoch, sign) for sign in seat.signs]
        seat.exit = Exit(
            epoch=seat.epoch,
            cause=cause,
            exit_code=code,
            end_ms=self.now,
            node="n",
            last_lines=self.says(seat),
        )
        self.news.append(InstanceEnded(seat.job, seat.role, seat.index, seat.task, seat.exit))

    def _end(self, seat: Seat, cause: Cause = Cause.STOPPED, *, is_told: bool = True) -> None:
        self.seats.pop(seat.task, None)
        for gang in self.gangs.values():
            if seat in gang:
                gang.remove(seat)
        if is_told:
            found = Exit(epoch=0, cause=cause, end_ms=self.now, node="n")
            self.news.append(SeatEnded(seat.job, seat.task, found))

    def place(self) -> bool:
        """The scheduler places a gang that fits, whole: by priority, then who asked first."""
        free = self.seats_most - len(self.seats)
        for batch, gang in sorted(self.gangs.items(), key=self._turn):
            if gang and len(gang) <= free:
                for seat in gang:
                    seat.is_open = True
                    self.seats[seat.task] = seat
                    self.news.append(self._opened(seat))
                self.gangs[batch] = []
                return True
        return False

    def _turn(self, item: tuple[int, list[Seat]]) -> tuple[int, int]:
        batch, gang = item
        return (-self.plans[gang[0].job].job.priority if gang else 0, batch)

    def _opened(self, seat: Seat) -> SeatOpened:
        ports = {"c10d": 1_000 + len(self.news)}
        node = self.node_of(seat.role, seat.index)
        address = Address(host=f"h-{node}", ip="127.0.0.1", ports=ports, directory="/d", node=node)
        return SeatOpened(seat.job, seat.role, seat.index, seat.task, address)

    def finish_one(self) -> bool:
        """Processes of one instance end, as the world wants it."""
        lives = [seat for seat in self.seats.values() if seat.is_live]
        endless = {(n, r.name) for n, p in self.plans.items() for r in p.roles if r.role.policy.is_endless}
        ending = [seat for seat in lives if (seat.job, seat.role) not in endless]
        if not ending:
            return False
        seat = self.chance.choice(sorted(ending, key=lambda one: one.task))
        self._exit(seat, self.fails(seat) or Cause.SUCCESS)
        return True

    def lose_one(self) -> None:
        """A node goes with a seat."""
        if self.seats:
            seat = self.chance.choice(sorted(self.seats.values(), key=lambda one: one.task))
            seat.is_live = False
            self._end(seat, Cause.NODE_LOST)

    def hear(self, most: int = 0) -> None:
        """News reach the trainer, in any order between different instances."""
        count = most or len(self.news)
        news, self.news = self.news[:count], self.news[count:]
        if not news or self.chance.random() < 0.5:
            news, self.late = [*news, *self.late], []
        if news:
            self.do(*news)

    def pass_time(self, ms: int = 1_000) -> None:
        self.now += ms
        self.do(Ticked())

    def die(self) -> None:
        """The trainer is killed: its memory is what the disk holds, and everybody tells what there is."""
        jobs = {number: _JOB.decode(data) for number, data in self.jobs.items()}
        last = max(jobs, default=0)
        turns = max((job.turn for job in jobs.values()), default=0)
        revision = max((job.revision for job in jobs.values()), default=0)
        self.state = State(last + 1, max([*self.batches, *self.asked], default=0) + 1, turns + 1, revision)
        self.news, self.late = [], []
        self.do(*self.recovered(jobs))
        for batch in [*self.batches]:
            self._submit(batch)
        known = {seat.task for seat in self._all()}
        held = [
            (number, task)
            for number, live in self.state.jobs.items()
            for one in live.instances.values()
            for task in (one.task, *one.closing)
        ]
        # Seats that were lost before anybody had heard that they were given.
        asked = [(row.job, task) for row in self.batches.values() for task in self.asked[row.batch].values()]
        for number, task in (*held, *asked):
            if task and task not in known:
                found = Exit(epoch=0, cause=Cause.NODE_LOST, end_ms=self.now, node="n")
                self.news.append(SeatEnded(number, task, found))
        for seat in [*self.seats.values()]:
            self._greet(seat)

    def recovered(self, jobs: dict[int, Job]) -> list[Event]:
        """What a start takes up."""
        return [
            JobRecovered(
                job,
                self.plans[number],
                tuple(self.on_disk(number)[1]),
                tuple(one for (of, *_), one in sorted(self.checkpoints.items()) if of == number),
            )
            for number, job in sorted(jobs.items())
            if not job.state.has_ended
        ]

    def _greet(self, seat: Seat) -> None:
        live = self.state.jobs.get(seat.job)
        if live is None or live.job.state.has_ended:
            self._end(seat, is_told=False)
            return
        self.news.append(self._opened(seat))
        self.news.append(SeatStands(seat.job, seat.role, seat.index, seat.task, seat.epoch))
        self.news += [self._told(seat, name) for name in seat.files]
        if seat.is_live:
            self.news.append(InstanceStarted(seat.job, seat.role, seat.index, seat.task, seat.epoch))
        elif seat.exit is not None:
            self.news += [SignSeen(seat.job, seat.role, seat.index, seat.epoch, sign) for sign in seat.signs]
            self.news.append(InstanceEnded(seat.job, seat.role, seat.index, seat.task, seat.exit))

    def on_disk(self, number: int) -> tuple[Job, list[Instance]]:
        """A job and its instances as they were written last."""
        own = [_INSTANCE.decode(data) for (of, _, _), data in sorted(self.instances.items()) if of == number]
        return _JOB.decode(self.jobs[number]), own

    @property
    def is_over(self) -> bool:
        return all(live.job.state.has_ended for live in self.state.jobs.values())

    def run(self, rounds: int = 2_000) -> None:
        """Until every job has ended."""
        for _ in range(rounds):
            if self.is_over and not self.news and not self.late:
                return
            self.hear()
            if not self.place():
                self.finish_one()
            self.pass_time()
        raise AssertionError(f"hangs: {[(n, one.job.state) for n, one in self.state.jobs.items()]}")


def plan_from(text: str) -> Plan:
    """The plan of a text that holds a job and its framework."""
    return plan_job(text, lambda id_, version: None)
