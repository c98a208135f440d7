"""JobService: where the instances of a job are, told whenever one has moved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from modelyard.v1 import framework_pb2
from modelyard.v1 import job_pb2 as pb
from services.chassis.errors import OutOfRange
from services.chassis.security import TASK, Principal, principal
from services.trainer.convert.addresses import address_of
from services.trainer.engine import Engine
from services.trainer.model import RoleUnknown
from services.trainer.state.jobs import Job, Key, LiveJob
from services.trainer.telling.jobs import Jobs, number_of
from services.trainer.telling.reports import ReporterUnknown


class JobRevisionUnknown(OutOfRange):
    """There is no such revision: list again."""


def require_revision(asked: int, latest: int, job_id: str) -> None:
    """Raises JobRevisionUnknown."""
    if not 0 <= asked <= latest:
        raise JobRevisionUnknown(field="revision", next_step=f"yard train get {job_id}")


class Addressing:
    """A part of JobServicer."""

    _engine: Engine
    _jobs: Jobs

    async def WatchAddresses(
        self, request: pb.WatchAddressesRequest, context: Any
    ) -> AsyncIterator[pb.WatchAddressesResponse]:
        number, told_to = await self._watcher(request, principal())
        told: dict[Key, framework_pb2.InstanceAddress] | None = None
        position = -1
        with self._engine.watch(number) as changed:
            while True:
                changed.clear()
                async with self._engine.quiet:
                    live = self._engine.state.jobs.get(number)
                    if live is None or live.job.state.has_ended:
                        return
                    revision = live.job.address_revision
                    if told is None:
                        require_revision(request.revision, revision, request.job_id)
                        _require_roles(request.roles, live.job)
                    found = _found(live, request.roles, told_to) if revision != position else told or {}
                if told is None and request.revision == revision and revision:
                    # The caller has these.
                    told = found
                news = [one for key, one in found.items() if told is None or told.get(key) != one]
                # Who is not there any more has no place.
                gone = [(told or {})[key] for key in (told or {}).keys() - found.keys()]
                news += [_nowhere(one) for one in gone]
                told, position = found, revision
                if news:
                    yield pb.WatchAddressesResponse(revision=revision, addresses=news)
                await changed.wait()

    async def _watcher(self, request: pb.WatchAddressesRequest, caller: Principal) -> tuple[int, Key | None]:
        """The job's number, and the instance that asks: a program knows itself by the token of its task."""
        if caller.role != TASK:
            return (await self._jobs.require(request.job_id, caller)).number, None
        at = self._engine.seat_at(caller.task_id)
        if at is None or (request.job_id and number_of(request.job_id) != at[0]):
            raise ReporterUnknown(f"{caller.task_id} holds no place of it", field="job_id")
        return at[0], at[1:]


def _found(
    live: LiveJob, roles: Iterable[str], told_to: Key | None
) -> dict[Key, framework_pb2.InstanceAddress]:
    told, wanted = live.instances.get(told_to) if told_to is not None else None, frozenset(roles)
    return {
        key: address_of(live, key, told) for key in sorted(live.instances) if not wanted or key[0] in wanted
    }


def _nowhere(one: framework_pb2.InstanceAddress) -> framework_pb2.InstanceAddress:
    return framework_pb2.InstanceAddress(role=one.role, index=one.index, epoch=one.epoch, name=one.name)


def _require_roles(roles: Iterable[str], job: Job) -> None:
    """Raises RoleUnknown."""
    for role in roles:
        if role not in job.counts:
            known = ", ".join(job.counts)
            raise RoleUnknown(
                f"j-{job.number} has no role {role[:80]!r}", field="roles", next_step=f"it has: {known}"
            )
