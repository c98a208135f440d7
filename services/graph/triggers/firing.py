"""From what happened to runs: times that are due become firings, firings that wait become runs, each once.

A firing is on disk before its run; the run and the firing's word that it has it are one transaction of the engine. So
a kill anywhere between leaves a firing that waits, or one that has its run. Owns the loop; decides by machine.py.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from modelyard.v1 import task_pb2
from services.chassis.clock import Clock
from services.chassis.errors import (
    Aborted,
    DeadlineExceeded,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
    Unavailable,
)
from services.chassis.failpoints import failpoint
from services.chassis.logs import get_logger
from services.chassis.security import USER, Principal
from services.graph.convert.run import telling
from services.graph.engine import Engine
from services.graph.model import CanvasInvalid, Order, Role
from services.graph.projects.access import require_role
from services.graph.projects.starting import Plan, Starting, spec_of
from services.graph.records.projects import Projects
from services.graph.runs.events import RunAsked
from services.graph.runs.state import Start
from services.graph.triggers import events, machine
from services.graph.triggers.cron import schedule
from services.graph.triggers.machine import Verdict
from services.graph.triggers.model import (
    CronSource,
    Firing,
    FiringState,
    NewFiring,
    RunTrigger,
    TriggerNotFound,
)
from services.graph.triggers.owners import Owners
from services.graph.triggers.store import Position, TriggerStore

LOOK_MOST_S = 30.0
"""How soon a clock that was put forward is noticed."""
BLOCKED_S = 0.25
"""How soon the end of a run that others wait for is noticed."""
AGAIN_FIRST_S, AGAIN_MOST_S = 0.5, 15.0
PRUNE_S = 3_600.0
OFFERS_S = 120.0
"""So long after its start the service does not believe that nobody offers an operator: agents may be on their way."""
ACCOUNT_GONE = "ACCOUNT_GONE"
RUN_GOES_ON = "RUN_GOES_ON"


class AgentsAwaited(Unavailable):
    """The canvas is not right yet, and agents may still be on their way."""


# Nothing was said against the run: somebody is away, or full.
_AGAIN = (Unavailable, DeadlineExceeded, ResourceExhausted, Aborted)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, object]).decode
_log = get_logger("graph.triggers")


class Firings:
    """Made by `GraphService`; `run` is a loop that it starts."""

    def __init__(
        self, store: TriggerStore, engine: Engine, projects: Projects, starting: Starting, owners: Owners,
        clock: Clock,
    ) -> None:  # fmt: skip
        self.store = store
        self._engine = engine
        self._projects = projects
        self._starting = starting
        self._owners = owners
        self._clock = clock
        self._wake = asyncio.Event()
        self._again_s = 0.0
        self._settled_ms = clock.monotonic_ms() + int(OFFERS_S * 1000)
        self.quiet = asyncio.Lock()
        """Held while a firing is decided, and by whoever decides over firings otherwise."""

    def wake(self) -> None:
        """A trigger was changed, or something has fired."""
        self._wake.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._wake.clear()
            await self._fire_due()
            wait_s = await self._start_waiting()
            due_ms = await self.store.next_due()
            if due_ms is not None:
                wait_s = min(wait_s, max(0.0, (due_ms - self._clock.now_ms()) / 1000))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    async def prune(self) -> None:
        """For ever: forgets the oldest firings of triggers that have many."""
        while True:
            await self.store.firings.prune()
            await self._clock.sleep(PRUNE_S)

    async def _fire_due(self) -> None:
        now_ms = self._clock.now_ms()
        for trigger in await self.store.due(now_ms):
            source = trigger.wish.source
            assert isinstance(source, CronSource)
            times = schedule(source.expression, source.time_zone)
            found = machine.due(times, trigger.cursor, now_ms, source.catch_up, source.catch_up_most)
            firings = [fired_at(events.at_time(times, one, times.previous(one)), one) for one in found.fires]
            position = Position(found.cursor, found.next_ms, found.missed)
            async with self.quiet:
                failpoint("graph.before_firing")
                await self.store.advance(trigger, position, firings, now_ms)
                failpoint("graph.after_firing")
            if found.missed is not None:
                _log.warning(
                    "trigger_times_missed",
                    trigger=trigger.id,
                    first_ms=found.missed[0],
                    last_ms=found.missed[1],
                )

    async def _start_waiting(self) -> float:
        """Starts what may; how long to wait before the next look."""
        wait_s = LOOK_MOST_S
        blocked: set[tuple[int, int | None]] = set()
        while True:
            heads = [
                one for one in await self.store.firings.heads() if (one.trigger, one.backfill) not in blocked
            ]
            if not heads:
                return wait_s
            for head in heads:
                try:
                    async with self.quiet:
                        is_decided = await self._decide(head.number)
                except _AGAIN as error:
                    _log.warning(
                        "firing_postponed", firing=head.id, reason=error.reason, message=error.message
                    )
                    self._again_s = min(AGAIN_MOST_S, max(AGAIN_FIRST_S, self._again_s * 2))
                    wait_s = min(wait_s, self._again_s)
                    blocked.add((head.trigger, head.backfill))
                    continue
                if not is_decided:
                    blocked.add((head.trigger, head.backfill))
                    wait_s = min(wait_s, BLOCKED_S)
                else:
                    self._again_s = 0.0

    async def _decide(self, number: int) -> bool:
        """Starts or ends a firing; False: it waits for the end of a run."""
        try:
            firing = await self.store.firings.get(number)
            trigger = await self.store.get(firing.trigger)
        except TriggerNotFound:
            return True
        if firing.state is not FiringState.WAITING:
            return True
        if not await self._owners.exists(trigger.account):
            await self.store.pause(
                trigger.number, f"there is no account {trigger.account} any more", self._clock.now_ms()
            )
            await self.store.firings.end(
                number, FiringState.SKIPPED, ACCOUNT_GONE, f"there is no account {trigger.account}"
            )
            return True
        verdict = await self._admit(trigger, firing)
        if verdict is Verdict.WAIT:
            return False
        if verdict is Verdict.SKIP:
            await self.store.firings.end(
                number, FiringState.SKIPPED, RUN_GOES_ON, "a run of this trigger goes on"
            )
            return True
        await self._start(trigger, firing)
        return True

    async def _admit(self, trigger: RunTrigger, firing: Firing) -> Verdict:
        running = await self.store.firings.running(trigger.number, firing.backfill)
        if firing.backfill is None:
            wish = trigger.wish
            return machine.admit(wish.concurrency, running, wish.max_running)
        backfill = await self.store.backfills.get(firing.backfill)
        return Verdict.START if backfill is None or running < backfill.max_running else Verdict.WAIT

    async def _start(self, trigger: RunTrigger, firing: Firing) -> None:
        """Its run, or why it has none. Raises what passes by itself."""
        try:
            plan = await self.plan(trigger, _decode(firing.event), firing.params, comment_of(trigger, firing))
            reply, answer = self._engine.new_reply(self.store.firings.started(firing.number))
            self._engine.post(RunAsked(reply, plan.spec, plan.graph, plan.plan))
            await answer
        except _AGAIN:
            raise
        except CanvasInvalid as error:
            if self._clock.monotonic_ms() < self._settled_ms:
                raise AgentsAwaited(error.message) from error
            await self.store.firings.end(firing.number, FiringState.REFUSED, error.reason, error.message)
        except (PermissionDenied, NotFound) as error:
            await self.store.firings.end(firing.number, FiringState.SKIPPED, error.reason, error.message)
        except ServiceError as error:
            await self.store.firings.end(firing.number, FiringState.REFUSED, error.reason, error.message)

    async def plan(self, trigger: RunTrigger, event: dict[str, object], over: str, comment: str = "") -> Plan:
        """The run that an event would start, as its owner. Raises what refuses it."""
        project = await self._projects.get(trigger.project)
        require_role(Principal(USER, trigger.account), project, Role.RUNNER)
        wish = trigger.wish
        spec = spec_of(
            trigger.account, project.id, Order.LEVELS, Start.READY, params=events.params_of(
                event, wish.event_params, wish.params, over
            ), max_parallel=0, refresh=False, comment=comment,
        )  # fmt: skip
        return await self._starting.plan(project, wish.version, telling(spec, task_pb2.Notification()))


def fired_at(event: dict[str, object], time_ms: int) -> NewFiring:
    """Of a time of a schedule: its key is the time, whoever fires it."""
    return NewFiring(f"time:{events.text_of(time_ms)}", _encode(event).decode(), logical_ms=time_ms)


def comment_of(trigger: RunTrigger, firing: Firing) -> str:
    """What a run says of where it is from."""
    return f"{trigger.name} ({trigger.id}): {firing.key}"
