"""The way of a call: who may, which version, which lane; and the doors to the frames that answer.

Owns everything of calls that is in memory, and nothing that outlives the service.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from modelyard.serving.wire import Message
from services.chassis.clock import Clock
from services.chassis.errors import ServiceError
from services.chassis.security import ADMIN, Principal
from services.models.calls.asking import Interface
from services.models.calls.call import Call
from services.models.calls.dialling import Dialler
from services.models.calls.door import Door
from services.models.calls.errors import CallNotAllowed, LoadNotAllowed
from services.models.calls.flights import Flights
from services.models.calls.lane import Lane
from services.models.calls.messages import Request
from services.models.calls.mirror import Mirror
from services.models.calls.statistics import Ledger, Statistics, reason_of
from services.models.calls.usage import Uses
from services.models.catalogue.model import ModelNotFound
from services.models.seams import FrameSource, Route, Served, VersionKey, Versions, Way

_INTERFACES_MOST = 4_096
_LANES_MOST = 256
"""Beyond it those of versions that nobody calls are forgotten."""


class Calls:
    """Implements Doors for whoever owns the frames. `open` before use, `close` after it."""

    def __init__(
        self, versions: Versions, source: FrameSource, clock: Clock, authority: Path | None = None
    ) -> None:
        """`authority`: certificate of the yard's, by which frames on other machines are believed."""
        self.versions = versions
        self.source = source
        self.ledger = Ledger()
        self.uses = Uses()
        self.flights = Flights()
        self._clock = clock
        self._dialler = Dialler(authority)
        self._numbers = itertools.count(1)
        self._lanes: dict[VersionKey, Lane] = {}
        self._doors: dict[int, tuple[Door, Lane]] = {}
        self._interfaces: dict[VersionKey, Interface] = {}
        self._mirror = Mirror(self._mirrored)

    # Doors.

    def open(self, number: int, key: VersionKey, way: Way, secret: str) -> None:
        """Dials the frame until it answers. Of a number that is open already: nothing."""
        if number not in self._doors:
            lane = self._lane(key)
            door = Door(number, key, way, secret, lane, self._dialler)
            lane.doors[number] = door
            self._doors[number] = (door, lane)

    async def drain(self, number: int, grace_s: float) -> None:
        """No new calls; those that it has are answered, then it is asked to leave."""
        found = self._doors.get(number)
        if found is not None:
            await found[0].drain(grace_s)

    def close(self, number: int, why: str = "") -> None:
        """It has ended: see seams.Doors."""
        found = self._doors.pop(number, None)
        if found is None:
            return
        door, lane = found
        lane.doors.pop(number, None)
        door.end(why)
        if lane.is_idle:
            self._lanes.pop(lane.key, None)

    async def stop(self) -> None:
        """The service ends: connections are closed, frames live on. Idempotent."""
        await self._mirror.close()
        lanes, self._lanes = list(self._lanes.values()), {}
        for lane in lanes:
            await lane.close()
        self._doors.clear()

    # Calls.

    def route(self, caller: Principal, request: Request) -> Route:
        """Which version answers. Raises ModelNotFound, VersionNotReady, CallNotAllowed."""
        message = request.message
        name = message.model_name
        parameter = self.source.sticky_parameter(name)
        sticky = caller.account
        if parameter and parameter in message.parameters:
            value = message.parameters[parameter]
            sticky = str(getattr(value, value.WhichOneof("parameter_choice") or "string_param"))
        return self.routed(caller, name, message.model_version, sticky)

    def routed(
        self, caller: Principal, name: str, version: str, sticky: str = "", role: str = "caller"
    ) -> Route:
        """`route` for somebody who may do what `role` may."""
        try:
            route = self.source.route(name, version, sticky or caller.account)
        except ServiceError:
            # What is wrong with a model is for those who may see it.
            self.require(caller, name, "viewer")
            raise
        self.require(caller, route.served.key.model, role)
        return route

    def require(self, caller: Principal, model: str, role: str) -> None:
        """Raises ModelNotFound where the caller may not even see it, else CallNotAllowed or LoadNotAllowed."""
        if caller.role == ADMIN or self.versions.may(caller.account, model, role):
            return
        if role == "viewer" or not self.versions.may(caller.account, model, "viewer"):
            raise ModelNotFound(
                f"there is no model {model!r}, or it is not yours to see",
                field="model_name",
                next_step="yard model ls shows those that you may see",
                metadata={"model": model},
            )
        leaf = CallNotAllowed if role == "caller" else LoadNotAllowed
        raise leaf(
            f"{caller.account} may see the model {model!r}, and is no {role} of it",
            next_step="ask its owner for access",
            metadata={"model": model},
        )

    async def infer(
        self,
        caller: Principal,
        request: Request,
        left_s: float | None,
        on_part: Callable[[Served, Message], None] | None = None,
    ) -> tuple[Served, Message]:
        """The last message that answers a call, and who gave it; those before it go to `on_part`.

        `left_s`: of the caller's own deadline. Raises ServiceError leaves of calls/errors.py, CallQuotaExceeded,
        and what FrameSource.route and wanted raise. Cancelled: the call does not start, or its frame is told.
        """
        route = self.route(caller, request)
        served = route.served
        key = served.key
        statistics = self.ledger.of(key.model, key.version)
        begun_ns = time.perf_counter_ns()
        call: Call | None = None
        try:
            self.flights.enter(caller.account)
            try:
                call = self._entered(route, caller, request, left_s, on_part)
                message = await self._answer(call)
            finally:
                self.flights.leave(caller.account)
        except ServiceError as error:
            self._failed(caller, key, statistics, reason_of(error.code), begun_ns)
            raise
        except asyncio.CancelledError:
            if call is not None:
                call.abandon()
            self._failed(caller, key, statistics, "cancelled", begun_ns)
            raise
        now_ms = self._clock.now_ms()
        statistics.succeeded(time.perf_counter_ns() - begun_ns, call.begun_ns - call.entered_ns, now_ms)
        times = message.header.get("times_ns")
        self.uses.count(
            key.model,
            key.version,
            caller.account,
            now_ms,
            failed=False,
            compute_ns=times.get("compute", 0) if times else 0,
            task=caller.task_id,
        )
        if route.mirror is not None:
            self._mirror.send(route, caller, request, message, statistics)
        return served, message

    def _entered(
        self,
        route: Route,
        caller: Principal,
        request: Request,
        left_s: float | None,
        on_part: Callable[[Served, Message], None] | None,
    ) -> Call:
        asked = self.interface(route.served).read(request)
        within_s = asked.timeout_s or (route.deadline_s if left_s is None else left_s)
        if left_s is not None and left_s < within_s:
            within_s = left_s
        deadline = asyncio.get_running_loop().time() + within_s
        taker = None if on_part is None else partial(on_part, route.served)
        call = Call(next(self._numbers), route, caller.account, asked, deadline, taker)
        self._lane(route.served.key).enter(call)
        return call

    async def _answer(self, call: Call) -> Message:
        timer = asyncio.get_running_loop().call_at(call.deadline, call.expire)
        try:
            return await call.answer
        finally:
            timer.cancel()

    def _failed(
        self, caller: Principal, key: VersionKey, statistics: Statistics, reason: str, begun_ns: int
    ) -> None:
        statistics.failed(reason, time.perf_counter_ns() - begun_ns)
        self.uses.count(
            key.model, key.version, caller.account, self._clock.now_ms(), failed=True, compute_ns=0,
            task=caller.task_id,
        )  # fmt: skip

    async def _mirrored(self, route: Route, caller: Principal, request: Request) -> Message:
        """The same call once more, behind all others."""
        call = self._entered(route, caller, request, None, None)
        try:
            return await self._answer(call)
        except asyncio.CancelledError:
            call.abandon()
            raise

    def interface(self, served: Served) -> Interface:
        """What a version takes; remembered."""
        found = self._interfaces.get(served.key)
        if found is None:
            if len(self._interfaces) >= _INTERFACES_MOST:
                self._interfaces.clear()
            found = self._interfaces[served.key] = Interface(served.config)
        return found

    def _lane(self, key: VersionKey) -> Lane:
        lane = self._lanes.get(key)
        if lane is None:
            if len(self._lanes) >= _LANES_MOST:
                self._lanes = {key: one for key, one in self._lanes.items() if not one.is_idle}
            statistics = self.ledger.of(key.model, key.version)
            lane = self._lanes[key] = Lane(key, self.source, statistics, self._clock.now_ms)
        return lane

    def waiting(self) -> list[tuple[VersionKey, int]]:
        """Calls that wait for a frame, by version."""
        return [(key, len(lane.line)) for key, lane in self._lanes.items()]

    def loaded(self) -> set[VersionKey]:
        """Of which a frame is there."""
        return {door.key for door, _ in self._doors.values() if door.is_loaded and not door.is_draining}

    @property
    def active_count(self) -> int:
        """Calls in frames."""
        return sum(door.active_count for door, _ in self._doors.values())
