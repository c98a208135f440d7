"""TriggerService: triggers are made, seen, changed and fired; back-fills are begun, seen and ended."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from modelyard.v1 import trigger_pb2 as pb
from modelyard.v1 import trigger_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.errors import ResourceExhausted, Unavailable
from services.chassis.requests.answers import Answers
from services.chassis.requests.masks import check_paths, copy_paths, set_paths
from services.chassis.requests.paging import decode_token, encode_token, page_size
from services.chassis.security import ADMIN, account_of, principal
from services.graph.engine import Engine
from services.graph.model import Role
from services.graph.projects.access import require_role
from services.graph.records.projects import Projects, number_of
from services.graph.runs import parameters
from services.graph.servicer.backfills import FIRST, BackfillRpcs
from services.graph.triggers import convert, events, signature
from services.graph.triggers.access import TriggerAccess
from services.graph.triggers.filling import of_trigger
from services.graph.triggers.firing import Firings
from services.graph.triggers.model import (
    CronSource,
    Firing,
    NewFiring,
    NoWebhook,
    RunTrigger,
    TriggerChanged,
    TriggerInvalid,
    WebhookSource,
    Wish,
    kind_of,
)
from services.graph.triggers.sealing import Sealing
from services.graph.triggers.store import Position
from services.graph.triggers.watching import Watching

TRIGGERS_MOST = 1_000
OVERLAP_S, OVERLAP_MOST_S = 86_400, 30 * 86_400
PATHS = (
    "version", "params_json", "event_params", "concurrency", "max_running", "max_waiting", "paused", "comment",
    "cron.expression", "cron.time_zone", "cron.catch_up", "cron.catch_up_most", "webhook.form", "artifact.name_prefix",
    "model.model", "model.alias",
)  # fmt: skip


class TriggersFull(ResourceExhausted):
    """The account has as many triggers as one may have."""


class TriggerServicer(trigger_pb2_grpc.TriggerServiceServicer):
    """Who may run a project makes triggers of it and fires them; their owner and the project's change them."""

    def __init__(
        self, firings: Firings, watching: Watching, projects: Projects, engine: Engine, answers: Answers,
        sealing: Sealing, clock: Clock, url: str,
    ) -> None:  # fmt: skip
        self._firings = firings
        self._store = firings.store
        self._watching = watching
        self._projects = projects
        self._access = TriggerAccess(firings.store, projects)
        self._backfills = BackfillRpcs(firings, self._access, engine, answers, clock)
        self._answers = answers
        self._sealing = sealing
        self._clock = clock
        self._url = url

    async def CreateTrigger(self, request: pb.CreateTriggerRequest, context: Any) -> pb.CreateTriggerResponse:
        account, asked = account_of(principal()), request.trigger
        name, wish = convert.name_of(asked.name), convert.wish_of(asked)
        project = await self._projects.get(number_of(asked.project_id))
        require_role(principal(), project, Role.RUNNER)
        self._access.require_runnable(account, project)
        now_ms = self._clock.now_ms()
        trigger = RunTrigger(
            number=0, account=account, name=name, project=project.number, wish=wish, is_paused=False, pause_reason="",
            cursor=now_ms, next_ms=None, missed=None, old_until_ms=0, revision=1, create_time_ms=now_ms,
            update_time_ms=now_ms,
        )  # fmt: skip
        position = await self._position(trigger, now_ms)
        await self._try(trigger)
        if await self._store.count(account) >= TRIGGERS_MOST:
            raise TriggersFull(next_step="yard trigger rm …")
        secret = signature.new_secret() if isinstance(wish.source, WebhookSource) else ""

        def answer(made: RunTrigger) -> pb.CreateTriggerResponse:
            times = convert.next_times(made, now_ms)
            shown = convert.trigger_message(made, self._url)
            return pb.CreateTriggerResponse(trigger=shown, secret=secret, next_times=times)

        if request.validate_only:
            secret = ""
            wanted = msgspec.structs.replace(trigger, next_ms=position.next_ms)
            checked = answer(wanted)
            checked.trigger.ClearField("id")
            return checked
        sealed = self._sealing.seal(secret, account, name) if secret else None
        made = await self._store.create(
            account, name, project.number, wish, position, sealed, now_ms, self._answers.keep(answer)
        )
        self._firings.wake()
        return answer(made)

    async def GetTrigger(self, request: pb.GetTriggerRequest, context: Any) -> pb.GetTriggerResponse:
        trigger = await self._access.find(request.trigger)
        times = convert.next_times(trigger, self._clock.now_ms())
        return pb.GetTriggerResponse(trigger=await self._shown(trigger), next_times=times)

    async def ListTriggers(self, request: pb.ListTriggersRequest, context: Any) -> pb.ListTriggersResponse:
        caller, size = principal(), page_size(request.page_size)
        account, project = (None if caller.role == ADMIN else account_of(caller)), 0
        if request.project_id:
            found = await self._projects.get(number_of(request.project_id))
            require_role(caller, found, Role.VIEWER)
            project = found.number
        key = f"triggers {account} {project}".encode()
        before = int(decode_token(request.page_token, key) or FIRST)
        rows = await self._store.page(account, project, before, size + 1)
        token = encode_token(str(rows[size - 1].number), key) if len(rows) > size else ""
        shown = [await self._shown(row) for row in rows[:size]]
        return pb.ListTriggersResponse(triggers=shown, next_page_token=token)

    async def UpdateTrigger(self, request: pb.UpdateTriggerRequest, context: Any) -> pb.UpdateTriggerResponse:
        trigger = await self._access.find(request.trigger)
        await self._access.require_manager(trigger)
        changes = request.changes
        if changes.revision not in (0, trigger.revision):
            raise TriggerChanged(
                f"{trigger.name} is at revision {trigger.revision}", field="changes.revision",
                next_step=f"yard trigger get {trigger.id}", metadata={"revision": str(trigger.revision)},
            )  # fmt: skip
        paths = check_paths(request.update_mask.paths or set_paths(changes, PATHS), PATHS, "update_mask")
        wanted = convert.trigger_message(trigger)
        for path in paths:
            self._require_kind(trigger, path)
        copy_paths(changes, wanted, paths)
        wish = convert.wish_of(wanted, "changes")
        after = msgspec.structs.replace(trigger, wish=wish, is_paused=wanted.paused)
        now_ms, position = self._clock.now_ms(), Position(trigger.cursor, trigger.next_ms)
        is_resumed = trigger.is_paused and not after.is_paused
        if is_resumed or wish.source != trigger.wish.source:
            position = await self._position(after, now_ms)
        if set(paths) - {"paused", "comment"}:
            await self._try(after)

        def answer(changed: RunTrigger) -> pb.UpdateTriggerResponse:
            return pb.UpdateTriggerResponse(trigger=convert.trigger_message(changed, self._url))

        changed = await self._store.change(
            trigger, wish, position, is_paused=after.is_paused, now_ms=now_ms, kept=self._answers.keep(answer)
        )
        self._firings.wake()
        return answer(changed)

    async def DeleteTrigger(self, request: pb.DeleteTriggerRequest, context: Any) -> pb.DeleteTriggerResponse:
        trigger = await self._access.find(request.trigger)
        await self._access.require_manager(trigger)
        async with self._firings.quiet:
            await self._store.delete(trigger.number, self._answers.keep(lambda _: pb.DeleteTriggerResponse()))
        return pb.DeleteTriggerResponse()

    async def RotateTriggerSecret(
        self, request: pb.RotateTriggerSecretRequest, context: Any
    ) -> pb.RotateTriggerSecretResponse:
        trigger = await self._access.find(request.trigger)
        await self._access.require_manager(trigger)
        if not isinstance(trigger.wish.source, WebhookSource):
            raise NoWebhook(f"{trigger.name} is fired by no webhook", field="trigger")
        overlap_s = request.overlap.seconds if request.HasField("overlap") else OVERLAP_S
        if not 0 <= overlap_s <= OVERLAP_MOST_S:
            raise TriggerInvalid(
                f"overlap: {overlap_s} s is not within 0 … {OVERLAP_MOST_S}", field="overlap"
            )
        secret, now_ms = signature.new_secret(), self._clock.now_ms()

        def answer(made: RunTrigger) -> pb.RotateTriggerSecretResponse:
            shown = convert.trigger_message(made, self._url)
            return pb.RotateTriggerSecretResponse(trigger=shown, secret=secret)

        sealed = self._sealing.seal(secret, trigger.account, trigger.name)
        until_ms = now_ms + overlap_s * 1000
        kept = self._answers.keep(answer)
        return answer(await self._store.rotate(trigger.number, sealed, until_ms, now_ms, kept))

    async def FireTrigger(self, request: pb.FireTriggerRequest, context: Any) -> pb.FireTriggerResponse:
        trigger = await self._access.find(request.trigger)
        await self._access.require_runner(trigger)
        over = convert.params_of(request.params_json, "params_json")
        body = parameters.decode_object(convert.params_of(request.body_json, "body_json"), "body_json")
        now_ms = self._clock.now_ms()
        event = events.by_hand(principal().account, now_ms, body)
        if isinstance(trigger.wish.source, CronSource):
            # What its parameters are taken from is there by hand too.
            event = {**events.at_time(of_trigger(trigger), now_ms // 1000 * 1000, None), **event}
        await self._firings.plan(trigger, event, over)
        key = f"hand:{request.request_id or uuid.uuid4()}"
        firing = NewFiring(key, msgspec.json.encode(event).decode(), over)

        def answer(made: Firing) -> pb.FireTriggerResponse:
            return pb.FireTriggerResponse(firing=convert.firing_message(made))

        made = await self._store.firings.add(trigger, firing, now_ms, self._answers.keep(answer))
        self._firings.wake()
        return answer(made)

    async def ListFirings(self, request: pb.ListFiringsRequest, context: Any) -> pb.ListFiringsResponse:
        backfill, size = 0, page_size(request.page_size)
        if request.backfill_id and not request.trigger:
            found, trigger = await self._access.find_backfill(request.backfill_id)
            backfill = found.number
        else:
            trigger = await self._access.find(request.trigger)
            if request.backfill_id:
                backfill = (await self._access.find_backfill(request.backfill_id))[0].number
        states = [convert.value_of(convert.FIRING_STATES, one, "states") for one in request.states]
        key = f"firings {trigger.number} {states} {backfill}".encode()
        before = int(decode_token(request.page_token, key) or FIRST)
        rows = await self._store.firings.page(trigger.number, states, backfill, before, size + 1)
        token = encode_token(str(rows[size - 1].number), key) if len(rows) > size else ""
        shown = [convert.firing_message(row) for row in rows[:size]]
        return pb.ListFiringsResponse(firings=shown, next_page_token=token)

    async def CreateBackfill(
        self, request: pb.CreateBackfillRequest, context: Any
    ) -> pb.CreateBackfillResponse:
        return await self._backfills.create(request)

    async def GetBackfill(self, request: pb.GetBackfillRequest, context: Any) -> pb.GetBackfillResponse:
        return await self._backfills.get(request)

    async def ListBackfills(self, request: pb.ListBackfillsRequest, context: Any) -> pb.ListBackfillsResponse:
        return await self._backfills.list(request)

    async def CancelBackfill(
        self, request: pb.CancelBackfillRequest, context: Any
    ) -> pb.CancelBackfillResponse:
        return await self._backfills.cancel(request)

    def _require_kind(self, trigger: RunTrigger, path: str) -> None:
        kind = path.partition(".")[0]
        if kind in ("cron", "webhook", "artifact", "model") and kind != kind_of(trigger.wish.source):
            raise TriggerInvalid(
                f"{trigger.name} is fired by {kind_of(trigger.wish.source)}, which stays", field="update_mask",
                next_step="make another trigger",
            )  # fmt: skip

    async def _position(self, trigger: RunTrigger, now_ms: int) -> Position:
        """From now on."""
        source = trigger.wish.source
        if isinstance(source, CronSource):
            return Position(now_ms, of_trigger(trigger).next(now_ms))
        return Position(await self._watching.position(trigger.account, source))

    async def _try(self, trigger: RunTrigger) -> None:
        """Raises what would refuse its runs, where that is known before the event is."""
        wish: Wish = trigger.wish
        event: dict[str, object] = {}
        if isinstance(wish.source, CronSource):
            event = events.at_time(of_trigger(trigger), self._clock.now_ms() // 1000 * 1000, None)
        elif wish.event_params:
            return
        try:
            await self._firings.plan(trigger, event, "")
        except Unavailable:
            # Not the trigger's fault: it is tried when it fires.
            return

    async def _shown(self, trigger: RunTrigger) -> pb.RunTrigger:
        message = convert.trigger_message(trigger, self._url)
        message.running_count, message.waiting_count = await self._store.firings.counts(trigger.number)
        for last in await self._store.firings.page(trigger.number, (), 0, FIRST, 1):
            message.last_firing.CopyFrom(convert.firing_message(last))
        return message
