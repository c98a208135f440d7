"""The RPCs of TriggerService about back-fills: begun, seen, listed, ended."""

from __future__ import annotations

import msgspec

from modelyard.v1 import trigger_pb2 as pb
from services.chassis.clock import Clock
from services.chassis.requests.answers import Answers
from services.chassis.requests.paging import decode_token, encode_token, page_size
from services.chassis.security import ADMIN, account_of, principal
from services.graph.convert.project import time_message
from services.graph.engine import Engine
from services.graph.runs.events import CancelAsked
from services.graph.triggers import convert
from services.graph.triggers.access import TriggerAccess
from services.graph.triggers.filling import Time, fill
from services.graph.triggers.firing import Firings
from services.graph.triggers.model import Backfill, RunTrigger, TriggerInvalid

RUNNING, RUNNING_MOST = 4, 100
FIRST = 1 << 60
"""Before the first page of what is listed by numbers, the newest first."""


class BackfillRpcs:
    """Part of `TriggerServicer`."""

    def __init__(
        self, firings: Firings, access: TriggerAccess, engine: Engine, answers: Answers, clock: Clock
    ) -> None:
        self._firings = firings
        self._table = firings.store.backfills
        self._access = access
        self._engine = engine
        self._answers = answers
        self._clock = clock

    async def create(self, request: pb.CreateBackfillRequest) -> pb.CreateBackfillResponse:
        trigger, now_ms = await self._access.find(request.trigger), self._clock.now_ms()
        project = await self._access.require_runner(trigger)
        self._access.require_runnable(trigger.account, project)
        wanted = self._wanted(request, trigger, now_ms)
        async with self._firings.quiet:
            filling = await fill(
                self._table, trigger, wanted.from_ms, wanted.to_ms, wanted.reprocess, wanted.sequence, wanted.params
            )  # fmt: skip
            wanted = msgspec.structs.replace(wanted, kept_count=filling.kept_count)
            times = [_time_message(one) for one in filling.times]
            counts = {("waiting", ""): len(filling.firings)}

            def answer(made: Backfill) -> pb.CreateBackfillResponse:
                shown = convert.backfill_message(made, counts)
                return pb.CreateBackfillResponse(backfill=shown, times=times)

            if request.validate_only:
                return answer(wanted)
            kept = self._answers.keep(answer)
            made = await self._table.create(trigger, wanted, filling.firings, now_ms, kept)
        self._firings.wake()
        return answer(made)

    async def get(self, request: pb.GetBackfillRequest) -> pb.GetBackfillResponse:
        backfill, _ = await self._access.find_backfill(request.backfill_id)
        counts = await self._table.counts(backfill.number)
        return pb.GetBackfillResponse(backfill=convert.backfill_message(backfill, counts))

    async def list(self, request: pb.ListBackfillsRequest) -> pb.ListBackfillsResponse:
        caller, size = principal(), page_size(request.page_size)
        account, trigger = (None if caller.role == ADMIN else account_of(caller)), 0
        if request.trigger:
            trigger = (await self._access.find(request.trigger)).number
        key = f"backfills {account} {trigger}".encode()
        before = int(decode_token(request.page_token, key) or FIRST)
        rows = await self._table.page(account, trigger, before, size + 1)
        token = encode_token(str(rows[size - 1][0].number), key) if len(rows) > size else ""
        shown = [convert.backfill_message(one, counts) for one, counts in rows[:size]]
        return pb.ListBackfillsResponse(backfills=shown, next_page_token=token)

    async def cancel(self, request: pb.CancelBackfillRequest) -> pb.CancelBackfillResponse:
        backfill, trigger = await self._access.find_backfill(request.backfill_id)
        await self._access.require_runner(trigger)
        async with self._firings.quiet:
            live = await self._table.cancel(backfill.number, lambda c, made: None)
        if request.cancel_runs:
            for run in live:
                reply, ended = self._engine.new_reply()
                self._engine.post(CancelAsked(reply, run, f"its back-fill {backfill.id} was cancelled"))
                await ended
        backfill, _ = await self._access.find_backfill(request.backfill_id)
        counts = await self._table.counts(backfill.number)
        return pb.CancelBackfillResponse(backfill=convert.backfill_message(backfill, counts))

    def _wanted(self, request: pb.CreateBackfillRequest, trigger: RunTrigger, now_ms: int) -> Backfill:
        if not request.HasField("from_time"):
            raise TriggerInvalid("a range has a begin", field="from_time", next_step="--from 2026-01-01")
        from_ms = convert.millis_of(request.from_time, "from_time")
        to_ms = now_ms + 1
        if request.HasField("to_time"):
            to_ms = min(to_ms, convert.millis_of(request.to_time, "to_time"))
        if not 0 <= request.max_running <= RUNNING_MOST:
            raise TriggerInvalid(
                f"max_running: {request.max_running} is not within 0 … {RUNNING_MOST}", field="max_running"
            )
        return Backfill(
            0, trigger.number, account_of(principal()), from_ms, to_ms, request.max_running or RUNNING,
            convert.value_of(convert.ORDERS, request.order, "order"),
            convert.value_of(convert.REPROCESS, request.reprocess, "reprocess"),
            convert.params_of(request.params_json, "params_json"), 0, False, now_ms,
        )  # fmt: skip


def _time_message(one: Time) -> pb.BackfillTime:
    return pb.BackfillTime(
        logical_time=time_message(one.time_ms), runs=one.runs, run_id=f"r-{one.run}" if one.run else "",
        run_state=convert.run_state(one.state),
    )  # fmt: skip
