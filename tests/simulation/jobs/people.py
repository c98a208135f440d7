"""Who asks: people who create, stop, suspend, resume and scale jobs until they are answered, and those who watch."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

from modelyard.v1 import framework_pb2
from modelyard.v1 import job_pb2 as pb
from services.chassis.errors import ServiceError
from services.chassis.security import USER, Principal, set_principal
from services.trainer.convert.job import STATES
from services.trainer.model import ENDED

if TYPE_CHECKING:
    from tests.simulation.jobs.world import World

_LAST = {STATES[state] for state in ENDED}
OWNERS = ("ann", "bob")


async def ask(world: World, method: str, request: Any) -> Any:
    """The same request until it is answered; None: it was refused for good."""
    while True:
        trainer = world.trainer
        if trainer is not None:
            try:
                answer = await trainer.call(trainer.unary(method, request))
            except ServiceError as error:
                if error.code != "UNAVAILABLE":
                    world.refusals.append((method, error.reason))
                    return None
            else:
                if answer is not None:
                    return answer
        await asyncio.sleep(0.1 + world.chance.random())


class Person:
    """Has one job, and may do something with it."""

    def __init__(self, world: World, number: int, text: str) -> None:
        self._world = world
        self._text = text
        self._owner = OWNERS[number % len(OWNERS)]
        self.job_id = ""
        self.view: dict[str, Any] = {}
        self.last: pb.Job | None = None
        self.told: list[int] = []
        self.revision = 0

    def _become(self) -> None:
        set_principal(Principal(role=USER, account=self._owner))

    def _id(self) -> str:
        return str(uuid.UUID(int=self._world.chance.getrandbits(128), version=4))

    async def live(self) -> None:
        """Creates the job, and watches it to its end."""
        self._become()
        request = pb.CreateJobRequest(request_id=self._id(), job=framework_pb2.JobDocument(text=self._text))
        answer = await ask(self._world, "CreateJob", request)
        assert answer is not None, f"{self._text}: {self._world.refusals[-1]}"
        self.job_id = answer.job.id
        while self.last is None or self.last.state not in _LAST:
            trainer = self._world.trainer
            if trainer is not None:
                await trainer.call(self._watch(trainer.method("WatchJob")))
            await asyncio.sleep(self._world.chance.random())

    async def _watch(self, method: Any) -> None:
        request = pb.WatchJobRequest(job_id=self.job_id, revision=self.revision)
        async for response in method(request, None):
            assert response.revision > self.revision, f"{response.revision} after {self.revision}"
            self.revision = response.revision
            self.told.append(response.revision)
            states = self._world.promises.states
            known = states.get((int(self.job_id[2:]), response.revision))
            assert known is not None, f"revision {response.revision} of {self.job_id} was on no disk"
            assert STATES[known] == response.job.state, f"it is told as {response.job.state}, and was {known}"
            self.last = response.job
            for one in response.instances:
                self.view[f"{one.role}-{one.index}"] = one
            if self._world.chance.random() < 0.02:
                # Who looks away comes back with what was seen last.
                return
            await asyncio.sleep(self._world.chance.choice((0.0, 0.5)) * self._world.chance.random())

    async def steer(self) -> None:
        """Now and then; what is refused is refused."""
        self._become()
        world, chance = self._world, self._world.chance
        while not world.is_calm:
            await asyncio.sleep(chance.random() * 40)
            if not self.job_id or world.is_calm:
                continue
            deed = chance.choices(("SuspendJob", "ResumeJob", "ScaleRole", "StopJob"), (4, 5, 4, 1))[0]
            request = getattr(pb, f"{deed}Request")(request_id=self._id(), job_id=self.job_id)
            if deed == "ScaleRole":
                roles = [role.name for role in world.plan(int(self.job_id[2:])).roles]
                request.role, request.count = chance.choice(roles), chance.randint(0, 4)
            await ask(world, deed, request)

    async def resume(self) -> None:
        """Until it has ended: nobody may forget a job that is suspended."""
        self._become()
        while self.last is None or self.last.state not in _LAST:
            # Who made room for another goes on by itself.
            is_forgotten = self.last is not None and self.last.reason != "PREEMPTED"
            if self.last is not None and self.last.state == pb.JOB_STATE_SUSPENDED and is_forgotten:
                request = pb.ResumeJobRequest(request_id=self._id(), job_id=self.job_id)
                await ask(self._world, "ResumeJob", request)
            await asyncio.sleep(1.0)
