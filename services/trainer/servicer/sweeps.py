"""SweepService: sweeps are taken, seen and stopped."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from modelyard.training import Plan
from modelyard.training.sweeps import Sweep as File
from modelyard.training.sweeps.sections import SEED_MOST
from modelyard.training.sweeps.sweepfile import PARALLEL_MOST
from modelyard.v1 import sweep_pb2 as pb
from modelyard.v1 import sweep_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.peers.contacts import Contacts
from services.chassis.requests.answers import Answers
from services.chassis.requests.paging import decode_token, encode_token, page_size
from services.chassis.security import ADMIN, account_of, principal
from services.trainer.convert.sweep import STATES, TRIAL_STATES, trial_message
from services.trainer.documents import limits
from services.trainer.documents.frameworks import Frameworks
from services.trainer.documents.plans import Plans
from services.trainer.engine import Engine
from services.trainer.model import ParallelOutOfRange, SweepHasEnded, SweepRevisionUnknown, SweepStateUnknown
from services.trainer.servicer.jobs import COMMENT_LENGTH, LISTED_MS
from services.trainer.state.sweep_events import (
    SweepCreated,
    SweepEvent,
    SweepResumed,
    SweepStopped,
    SweepSuspended,
)
from services.trainer.state.sweeps import LiveSweep, Sweep
from services.trainer.telling import notices
from services.trainer.telling.sweeps import Sweeps

_FIRST = 1 << 60
_STATES = {int(value): state for state, value in STATES.items()}
_TRIAL_STATES = {int(value): state for state, value in TRIAL_STATES.items()}


class SweepServicer(sweep_pb2_grpc.SweepServiceServicer):
    """Who owns a sweep may do everything with it, administrators too."""

    def __init__(
        self,
        engine: Engine,
        sweeps: Sweeps,
        plans: Plans,
        frameworks: Frameworks,
        answers: Answers,
        contacts: Contacts,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._sweeps = sweeps
        self._plans = plans
        self._frameworks = frameworks
        self._answers = answers
        self._contacts = contacts
        self._clock = clock

    async def CreateSweep(self, request: pb.CreateSweepRequest, context: Any) -> pb.CreateSweepResponse:
        account = account_of(principal())
        if not 0 <= request.parallel_count <= PARALLEL_MOST:
            raise ParallelOutOfRange(field="parallel_count", next_step=f"1 … {PARALLEL_MOST}, or 0")
        file, plan = await self._plans.sweep(request)
        limits.check(plan)
        await notices.check(self._contacts, account, request.notification)
        sweep = self._sweep(request, account, file, plan)
        if request.validate_only:
            message = self._sweeps.message(LiveSweep(sweep, file, self._plans.of))
            return pb.CreateSweepResponse(sweep=message)
        begun: list[pb.CreateSweepResponse] = []

        def answer_of(number: int) -> pb.CreateSweepResponse:
            """While its first transaction is made: what is answered is what is kept."""
            live = self._engine.state.sweeps[number]
            begun.append(pb.CreateSweepResponse(sweep=self._sweeps.message(live)))
            return begun[0]

        number = await self._ask(lambda reply: SweepCreated(reply, sweep, file, self._plans.of), answer_of)
        if begun:
            return begun[0]
        return pb.CreateSweepResponse(sweep=await self._message(number))

    def _sweep(self, request: pb.CreateSweepRequest, account: str, file: File, plan: Plan) -> Sweep:
        seed = file.search.seed if file.search.seed is not None else secrets.randbelow(SEED_MOST)
        framework = plan.framework.id
        return Sweep(
            0, account, file.name, request.text, seed, framework,
            plan.job.framework_version or self._frameworks.version(framework), file.search.trials, file.parallel,
            changes={"name": request.name, "queue": request.queue}, bundle_digest=request.bundle_digest,
            environment=request.environment.SerializeToString(),
            notification=request.notification.SerializeToString(),
        )  # fmt: skip

    async def GetSweep(self, request: pb.GetSweepRequest, context: Any) -> pb.GetSweepResponse:
        found = await self._sweeps.require(request.sweep_id, principal())
        return pb.GetSweepResponse(sweep=self._sweeps.message(found, is_whole=True))

    async def ListSweeps(self, request: pb.ListSweepsRequest, context: Any) -> pb.ListSweepsResponse:
        caller, size, wanted = principal(), page_size(request.page_size), request.filter
        for state in wanted.states:
            if state not in _STATES:
                raise SweepStateUnknown(f"{state} is no state of a sweep", field="filter.states")
        words = " ".join(_STATES[state].value for state in wanted.states)
        everybody = wanted.all_accounts and caller.role == ADMIN
        key = b"sweeps " + wanted.SerializeToString(deterministic=True)
        rows = await self._sweeps.store.sweeps(
            account=None if everybody else account_of(caller), states=f" {words} " if words else "", name=wanted.name,
            before=int(decode_token(request.page_token, key) or _FIRST), most=size + 1,
            since_ms=0 if wanted.all_times or words else self._clock.now_ms() - LISTED_MS,
        )  # fmt: skip
        found = [await self._sweeps.state_of(row.number) for row in rows[:size]]
        token = encode_token(str(rows[size - 1].number), key) if len(rows) > size else ""
        return pb.ListSweepsResponse(
            sweeps=[self._sweeps.message(live) for live in found if live is not None],
            next_page_token=token, revision=self._engine.state.revision,
        )  # fmt: skip

    async def WatchSweep(
        self, request: pb.WatchSweepRequest, context: Any
    ) -> AsyncIterator[pb.WatchSweepResponse]:
        number = (await self._sweeps.require(request.sweep_id, principal())).sweep.number
        if not 0 <= request.revision <= self._engine.state.revision:
            raise SweepRevisionUnknown(field="revision", next_step=f"yard train sweep get {request.sweep_id}")
        position, is_first = request.revision, True
        with self._engine.watch(("sweep", number)) as changed:
            while True:
                changed.clear()
                response = await self._sweeps.shown(number, partial(self._news, position))
                assert response is not None
                if response.revision > position or (is_first and not request.revision):
                    if request.without_trials:
                        response.ClearField("trials")
                    position = response.revision
                    yield response
                is_first = False
                if response.sweep.HasField("end_time"):
                    return
                await changed.wait()

    def _news(self, position: int, live: LiveSweep) -> pb.WatchSweepResponse:
        """The sweep, and those of its trials that have changed since."""
        news = [one for one in live.trials.values() if one.revision > position or not position]
        sweep = self._sweeps.message(live, is_whole=live.sweep.state.has_ended)
        sweep.document = ""
        return pb.WatchSweepResponse(
            revision=live.sweep.revision, sweep=sweep, trials=[trial_message(live, one) for one in news]
        )

    async def StopSweep(self, request: pb.StopSweepRequest, context: Any) -> pb.StopSweepResponse:
        live = await self._sweeps.require(request.sweep_id, principal())
        number = live.sweep.number
        if not live.sweep.state.has_ended:
            # If it ended meanwhile it stays as it is.
            with suppress(SweepHasEnded):
                await self._ask(lambda reply: SweepStopped(reply, number, request.comment[:COMMENT_LENGTH]))
        return pb.StopSweepResponse(sweep=await self._message(number))

    async def SuspendSweep(self, request: pb.SuspendSweepRequest, context: Any) -> pb.SuspendSweepResponse:
        live = await self._sweeps.require(request.sweep_id, principal())
        number, comment = live.sweep.number, request.comment[:COMMENT_LENGTH]
        await self._ask(lambda reply: SweepSuspended(reply, number, comment))
        return pb.SuspendSweepResponse(sweep=await self._message(number))

    async def ResumeSweep(self, request: pb.ResumeSweepRequest, context: Any) -> pb.ResumeSweepResponse:
        number = (await self._sweeps.require(request.sweep_id, principal())).sweep.number
        await self._ask(lambda reply: SweepResumed(reply, number))
        return pb.ResumeSweepResponse(sweep=await self._message(number))

    async def _message(self, number: int) -> pb.Sweep:
        """As it is now."""
        found = await self._sweeps.shown(number, self._sweeps.message)
        assert found is not None
        return found

    async def ListTrials(self, request: pb.ListTrialsRequest, context: Any) -> pb.ListTrialsResponse:
        for state in request.states:
            if state not in _TRIAL_STATES:
                raise SweepStateUnknown(f"{state} is no state of a trial", field="states")
        live = await self._sweeps.require(request.sweep_id, principal())
        wanted = {_TRIAL_STATES[state] for state in request.states}
        found = [one for one in live.trials.values() if not wanted or one.state in wanted]
        is_best = request.order == pb.TRIAL_ORDER_BEST
        found.sort(key=live.rank if is_best else lambda one: one.number)
        size = page_size(request.page_size)
        key = f"trials {live.sweep.number} {request.order} {sorted(request.states)}".encode()
        start = int(decode_token(request.page_token, key) or 0)
        token = encode_token(str(start + size), key) if len(found) > start + size else ""
        return pb.ListTrialsResponse(
            trials=[trial_message(live, one) for one in found[start : start + size]],
            next_page_token=token, revision=self._engine.state.revision,
        )  # fmt: skip

    async def _ask(
        self, event_of: Callable[[int], SweepEvent], answer_of: Callable[[int], Any] | None = None
    ) -> int:
        """The machine's answer: a sweep's number, once it is on disk; the answer to the request lies with it."""
        kept = self._answers.keep(answer_of) if answer_of is not None else None
        reply, answer = self._engine.new_reply(kept)
        self._engine.post(event_of(reply))
        return await answer
