"""What must be true of jobs after every step, at every command that a machine carries out, and at the end of a story.

I1 what has ended never runs again · I2 one live set of processes an instance · I3 budgets before the act · I4 what has
succeeded is not made again outside a wider restart · I5 nothing lives after the end; and: no half gang, terminal states
absorb, the disk is what memory is, nothing that was acknowledged is forgotten, nobody is forgotten by the timers.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard.training import PlannedRole
from modelyard.training.policies.restarts import ScopeKind
from modelyard.v1 import job_pb2
from modelyard.v1 import seat_pb2 as pb
from services.trainer import machine
from services.trainer.engine import Engine
from services.trainer.jobs.acts import Act
from services.trainer.model import PLACED, InstanceState, JobState
from services.trainer.state.effects import Effects
from services.trainer.state.jobs import Instance, Job, Key, LiveJob
from services.trainer.state.state import State, check_invariants
from tests.simulation.jobs.kept import Kept
from tests.simulation.jobs.room import Room

if TYPE_CHECKING:
    from tests.simulation.jobs.machines import Machine, Seat
    from tests.simulation.jobs.world import World

_PACK = msgspec.msgpack.Encoder().encode
_JOB = msgspec.msgpack.Decoder(Job)
_INSTANCE = msgspec.msgpack.Decoder(Instance)
_OWN = {"job", "plan", "instances", "changed", "is_changed", "due_ms"}
"""What a twin of a live job does not take over as it is."""
_PLACELESS = (JobState.QUEUED, JobState.RESERVING, JobState.SUSPENDED)
ROUND_MS = 1_000
Whom = tuple[int, str, int]


def _covers(planned: PlannedRole, role: str) -> bool:
    """Whether a restart for an instance of one role may take along those of another."""
    policy = planned.role.restarts
    scopes = [policy.scope, *(rule.scope for rule in policy.rules if rule.scope is not None)]
    return not policy.may_move or any(
        scope.kind is ScopeKind.JOB
        or (scope.kind is ScopeKind.ROLE and planned.name == role)
        or role in scope.roles
        for scope in scopes
    )


def _shown(live: LiveJob) -> str:
    """For who reads of a broken promise."""
    rest = [
        (one.key, one.state.value, one.stopping_for, one.task, one.since_ms)
        for one in live.instances.values()
    ]
    return f"j-{live.job.number} {live.job.state.value} {live.job.reason} due {live.due_ms} {rest}"


class Promises:
    """Sees what machines do and what the disk says of it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.kept = Kept(world)
        self.room = Room()
        self.epochs: dict[Whom, int] = defaultdict(int)
        """The highest epoch in which processes of an instance were started."""
        self.ended: dict[int, JobState] = {}
        self.states: dict[tuple[int, int], JobState] = {}
        """What every job was at every revision that was on disk."""
        self.decided: dict[int, dict[Key, int]] = {}
        """Epochs of a job's instances when its outcome was written."""
        self.innocent: set[Whom] = set()
        """Who is known to have succeeded or to have been stopped, in their present epoch."""
        self._begun: dict[int, dict[Key, int]] = {}
        self.given_back: set[int] = set()
        """Jobs that have lost all their places once: then all of them starts again."""

    # --- at the disk

    def job(self, number: int) -> Job | None:
        rows = self._world.disk.rows("SELECT content FROM job WHERE number = ?", number)
        return _JOB.decode(rows[0][0]) if rows else None

    def instance(self, whom: Whom) -> Instance | None:
        sql = "SELECT content FROM instance WHERE job = ? AND role = ? AND place = ?"
        rows = self._world.disk.rows(sql, *whom)
        return _INSTANCE.decode(rows[0][0]) if rows else None

    def committed(self) -> None:
        """Something was written."""
        for number, revision, word in self._world.disk.rows("SELECT number, revision, state FROM job"):
            state = JobState(word)
            before = self.states.setdefault((number, revision), state)
            assert before is state, f"j-{number} was {before} at revision {revision}, and is {state}"
            known = self.ended.get(number)
            assert known in (None, state), f"j-{number} was {known}, and is {state} (I1)"
            if state.has_ended:
                self.ended[number] = state
        # Who was scaled away and comes back is somebody else.
        there = {*self._world.disk.rows("SELECT job, role, place FROM instance")}
        for whom in self.epochs.keys() - there:
            del self.epochs[whom]
            self.innocent.discard(whom)
            self.kept.forgotten(whom)
        for (number,) in self._world.disk.rows("SELECT job FROM outcome"):
            if number not in self.decided:
                rows = self._world.disk.rows("SELECT content FROM instance WHERE job = ?", number)
                instances = [_INSTANCE.decode(content) for (content,) in rows]
                self.decided[number] = {one.key: one.epoch for one in instances}

    def stepped(self, engine: Engine) -> None:
        """After a step, its commit included."""
        check_invariants(engine.state)
        for number, live in engine.state.jobs.items():
            row = self.job(number)
            assert row is not None and _PACK(row) == _PACK(live.job), f"j-{number} is not on disk as it is"
            for key, one in live.instances.items():
                kept = self.instance((number, *key))
                assert kept == one, f"j-{number}: {key} is not on disk as it is: {kept} instead of {one}"
            self._terminal_absorbs(row)
            if row.state in _PLACELESS and any(one.epoch for one in live.instances.values()):
                self.given_back.add(number)
            beyond = [
                one.key for one in live.instances.values() if one.index >= live.job.counts.get(one.role, 0)
            ]
            # What is kept of one is waited for.
            left = [
                key
                for key in beyond
                if not live.instances[key].state.has_processes and not live.instances[key].closing
            ]
            assert not left, f"{left} of j-{number} were scaled away, and are still there (S3.10)"
            self._budgets_hold(live)
            self.room.stepped(engine.state, live)
            self.kept.stepped(live, Act(engine.state, live, Effects(), 0))
            self._is_no_half_gang(live)
        if self._world.chance.random() < 0.1:
            self._nobody_is_forgotten(engine.state)

    def _terminal_absorbs(self, row: Job) -> None:
        number = row.number
        outcomes = self._world.disk.rows("SELECT outcome FROM outcome WHERE job = ?", number)
        assert bool(outcomes) is (row.outcome is not None)
        if row.outcome is not None:
            assert outcomes[0][0] == row.outcome.value, "the outcome on disk is another (I1)"

    def _budgets_hold(self, live: LiveJob) -> None:
        for planned in live.plan.roles:
            most = planned.role.restarts.most
            for name, budget in live.job.budgets.items():
                if most >= 0 and name.split()[:2] in (["role", planned.name], ["instance", planned.name]):
                    assert budget.used <= most, f"{name} has paid {budget.used} of {most} (I3)"
        mosts = [planned.role.restarts.most for planned in live.plan.roles]
        shared = live.job.budgets.get("job")
        assert shared is None or -1 in mosts or shared.used <= max(mosts), "the job's purse is overdrawn (I3)"

    def _nobody_is_forgotten(self, state: State) -> None:
        """Whatever the timers leave out would not have changed."""
        now = self._world.clock.now_ms()
        for live in state.jobs.values():
            if live.job.state.has_ended or (live.due_ms and live.due_ms <= now + 1):
                continue
            if live.job.yields_to and live.job.state is JobState.SUSPENDED:
                # Whether it may go on is with another job, which a twin does not know.
                assert 0 < live.due_ms <= now + ROUND_MS, f"nobody looks whether {_shown(live)} may go on"
                continue
            apart = State(revision=state.revision)
            twin = LiveJob(_JOB.decode(_PACK(live.job)), live.plan)
            twin.instances = {key: _INSTANCE.decode(_PACK(one)) for key, one in live.instances.items()}
            for name in {*LiveJob.__slots__} - _OWN:
                setattr(twin, name, copy.deepcopy(getattr(live, name)))
            act = Act(apart, twin, Effects(), now)
            if live.job.state not in PLACED:
                # Of those with places rounds see to what has waited too long.
                machine._on_tick(act)
            machine._settle(act)
            assert not apart.changed, f"at {now}: {_shown(live)} should have been looked at: {_shown(twin)}"

    # --- at the machines

    def launched(self, machine: Machine, seat: Seat, launch: pb.LaunchSeat) -> None:
        """Processes start now."""
        whom = (seat.task.job, seat.task.role, seat.task.index)
        job, kept = self.job(whom[0]), self.instance(whom)
        assert job is not None and kept is not None, f"{whom} starts, and nobody knows it"
        decided = self.decided.get(whom[0])
        # What had left before may still arrive, and is stopped.
        is_early = decided is None or launch.epoch <= decided.get(whom[1:], 0)
        assert is_early, f"{whom} was launched after {job.outcome} had been decided (I1)"
        assert kept.epoch >= launch.epoch, f"{whom} starts with an epoch that is not on disk (I3)"
        assert launch.epoch > self.epochs[whom], f"{whom} starts again with epoch {launch.epoch} (I2)"
        others = [
            other
            for each in self._world.scheduler.machines
            for other in each.seats.values()
            if other.is_live and (other.task.job, other.task.role, other.task.index) == whom
        ]
        assert not others, f"{whom} lives twice (I2)"
        self._may_start_again(job, whom)
        self.epochs[whom] = launch.epoch
        self.innocent.discard(whom)

    def _is_no_half_gang(self, live: LiveJob) -> None:
        """Nobody gets an epoch unless all who must start together have, or had, a place."""
        epochs = {key: one.epoch for key, one in live.instances.items()}
        before = self._begun.setdefault(live.job.number, {})
        begun = [key for key, epoch in epochs.items() if epoch > before.get(key, 0)]
        self._begun[live.job.number] = epochs
        for planned in live.plan.roles if begun else ():
            of_role = live.of_role(planned.name)
            seated = sum(one.address is not None or one.state.has_ended for one in of_role)
            least = min(planned.gang_least, len(of_role))
            assert seated >= least, f"{begun} start, and {planned.name} has {seated} of {least} places"

    def _may_start_again(self, job: Job, whom: Whom) -> None:
        """I3, I4: a start that is not the first was decided and paid, and what has succeeded is left alone."""
        if not self.epochs[whom] or job.number in self.given_back:
            return
        assert job.restarts, f"{whom} starts again, and nothing was decided (I3)"
        plan = self._world.plan(job.number)
        if whom in self.innocent and not plan.job.hang.silent_s:
            taken_along = any(_covers(planned, whom[1]) for planned in plan.roles)
            assert taken_along, f"{whom} had not failed, and starts again beside nobody's restart (I4)"

    def stopped(self, machine: Machine, seat: Seat, wish: pb.StopSeat) -> None:
        """Somebody is asked to end: the reason is on disk."""
        whom = (seat.task.job, seat.task.role, seat.task.index)
        job, kept = self.job(whom[0]), self.instance(whom)
        if kept is None or kept.task != seat.task.id or kept.epoch != seat.epoch:
            return
        is_known = kept.state is InstanceState.STOPPING or kept.state.has_ended
        is_known = is_known or kept.state in (InstanceState.BACKING_OFF, InstanceState.PENDING)
        assert job is not None and is_known, f"{whom} is asked to end while it is {kept.state} on disk (I3)"

    def addressed(self, seat: Seat, told: pb.PublishAddresses) -> None:
        """Addresses are never older than what is on disk later."""
        job = self.job(seat.task.job)
        assert job is not None and job.address_revision >= told.revision, "addresses that are not on disk"

    def acknowledged(self, events: list[pb.SeatEvent]) -> None:
        """The machine may forget these: so the disk has to know what follows from them."""
        self.kept.acknowledged(self._of_checkpoints(events))
        for event in events:
            if not event.HasField("seat") or event.seat.state != pb.SEAT_STATE_ENDED:
                continue
            seat = event.seat
            whom = (int(seat.job_id[2:]), seat.role, seat.index)
            job, kept = self.job(whom[0]), self.instance(whom)
            if job is None or kept is None or kept.task != seat.task_id or kept.epoch != seat.epoch:
                continue
            is_noted = kept.exit is not None and not kept.state.has_processes
            assert is_noted, f"the end of {whom} in epoch {seat.epoch} was acknowledged and is forgotten"
            if seat.exit.cause in (job_pb2.EXIT_CAUSE_SUCCESS, job_pb2.EXIT_CAUSE_STOPPED):
                self.innocent.add(whom)

    def _of_checkpoints(self, events: list[pb.SeatEvent]) -> list[tuple[Whom, Instance, pb.SeatEvent]]:
        found = []
        for event in events:
            if event.HasField("checkpoint"):
                task = self._world.scheduler.tasks[event.task_id]
                whom = (task.job, task.role, task.index)
                kept = self.instance(whom)
                found += [(whom, kept, event)] if kept is not None else []
        return found

    # --- at the end

    def look_back(self) -> None:
        """Nothing is left anywhere (I5)."""
        world = self._world
        assert not world.scheduler.open_tasks, f"{world.scheduler.open_tasks} are still open"
        seats = [seat.task.id for each in world.scheduler.machines for seat in each.seats.values()]
        assert not seats, f"seats that nobody closed: {seats}"
        for table in ("batch", "errand"):
            left: list[Any] = world.disk.rows(f"SELECT * FROM {table}")
            assert not left, f"{table}: {left}"
        self.kept.look_back()
        assert world.trainer is not None
        engine = world.trainer.engine
        assert not engine.state.jobs, f"in memory: {[*engine.state.jobs]}"
        assert not engine._seats, f"tasks that are still known: {engine._seats}"
        assert not engine._watchers and not engine._replies
        assert not engine.state.changed and not engine._inbox
