"""TriggerService: triggers are made, seen, changed and fired; back-fills are begun, seen and ended."""

from __future__ import annotations

import re
import uuid
from typing import Any

import msgspec

from modelyard.v1 import trigger_pb2 as pb
from modelyard.v1 import trigger_pb2_grpc
from services.chassis.answers import Answers
from services.chassis.clock import Clock
from services.chassis.errors import ResourceExhausted, Unavailable
from services.chassis.masks import check_paths, copy_paths, set_paths
from services.chassis.paging import decode_token, encode_token, page_size
from services.chassis.security import ADMIN, USER, Principal, principal
from services.graph import parameters
from services.graph.access import account_of, require_role
from services.graph.convert import trigger as convert
from services.graph.convert.project import time_message
from services.graph.engine import Engine
from services.graph.events import CancelAsked
from services.graph.model import ProjectForbidden, ProjectNotFound, Role
from services.graph.projects import Project, Projects, number_of
from services.graph.triggers import events, signature
from services.graph.triggers.filling import fill, of_trigger
from services.graph.triggers.firing import Firings
from services.graph.triggers.model import (
    Backfill,
    BackfillNotFound,
    CronSource,
    Firing,
    NewFiring,
    NoWebhook,
    RunTrigger,
    TriggerChanged,
    TriggerForbidden,
    TriggerInvalid,
    TriggerNotFound,
    WebhookSource,
    Wish,
    kind_of,
)
from services.graph.triggers.sealing import Sealing
from services.graph.triggers.store import Position, missing
from services.graph.triggers.watching import Watching

TRIGGERS_MOST = 1_000
OVERLAP_S, OVERLAP_MOST_S = 86_400, 30 * 86_400
RUNNING, RUNNING_MOST = 4, 100
_FIRST = 1 << 60
_ID = re.compile(r"(tr|b)-([0-9]{1,15})")
PATHS = (
    "version", "params_json", "event_params", "concurrency", "max_running", "max_waiting", "paused", "comment",
    "cron.expression", "cron.time_zone", "cron.catch_up", "cron.catch_up_most", "artifact.name_prefix", "model.model",
    "model.alias",
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
        self._engine = engine
        self._answers = answers
        self._sealing = sealing
        self._clock = clock
        self._url = url

    async def CreateTrigger(self, request: pb.CreateTriggerRequest, context: Any) -> pb.CreateTriggerResponse:
        account, asked = account_of(principal()), request.trigger
        name, wish = convert.name_of(asked.name), convert.wish_of(asked)
        project = await self._projects.get(number_of(asked.project_id))
        require_role(principal(), project, Role.RUNNER)
        self._require_runnable(account, project)
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
        trigger = await self._find(request.trigger)
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
        before = int(decode_token(request.page_token, key) or _FIRST)
        rows = await self._store.page(account, project, before, size + 1)
        token = encode_token(str(rows[size - 1].number), key) if len(rows) > size else ""
        shown = [await self._shown(row) for row in rows[:size]]
        return pb.ListTriggersResponse(triggers=shown, next_page_token=token)

    async def UpdateTrigger(self, request: pb.UpdateTriggerRequest, context: Any) -> pb.UpdateTriggerResponse:
        trigger = await self._find(request.trigger)
        await self._require_manager(trigger)
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
        trigger = await self._find(request.trigger)
        await self._require_manager(trigger)
        async with self._firings.quiet:
            await self._store.delete(trigger.number, self._answers.keep(lambda _: pb.DeleteTriggerResponse()))
        return pb.DeleteTriggerResponse()

    async def RotateTriggerSecret(
        self, request: pb.RotateTriggerSecretRequest, context: Any
    ) -> pb.RotateTriggerSecretResponse:
        trigger = await self._find(request.trigger)
        await self._require_manager(trigger)
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
        trigger = await self._find(request.trigger)
        await self._require_runner(trigger)
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

        made = await self._store.add(trigger, firing, now_ms, self._answers.keep(answer))
        self._firings.wake()
        return answer(made)

    async def ListFirings(self, request: pb.ListFiringsRequest, context: Any) -> pb.ListFiringsResponse:
        backfill, size = 0, page_size(request.page_size)
        if request.backfill_id and not request.trigger:
            found, trigger = await self._find_backfill(request.backfill_id)
            backfill = found.number
        else:
            trigger = await self._find(request.trigger)
            if request.backfill_id:
                backfill = (await self._find_backfill(request.backfill_id))[0].number
        states = [convert.value_of(convert.FIRING_STATES, one, "states") for one in request.states]
        key = f"firings {trigger.number} {states} {backfill}".encode()
        before = int(decode_token(request.page_token, key) or _FIRST)
        rows = await self._store.firings(trigger.number, states, backfill, before, size + 1)
        token = encode_token(str(rows[size - 1].number), key) if len(rows) > size else ""
        shown = [convert.firing_message(row) for row in rows[:size]]
        return pb.ListFiringsResponse(firings=shown, next_page_token=token)

    async def CreateBackfill(
        self, request: pb.CreateBackfillRequest, context: Any
    ) -> pb.CreateBackfillResponse:
        trigger, now_ms = await self._find(request.trigger), self._clock.now_ms()
        project = await self._require_runner(trigger)
        self._require_runnable(trigger.account, project)
        wanted = self._backfill(request, trigger, now_ms)
        async with self._firings.quiet:
            filling = await fill(
                self._store,
                trigger,
                wanted.from_ms,
                wanted.to_ms,
                wanted.reprocess,
                wanted.sequence,
                wanted.params,
            )
            wanted = msgspec.structs.replace(wanted, kept_count=filling.kept_count)
            times = [
                pb.BackfillTime(
                    logical_time=time_message(one.time_ms), runs=one.runs, run_id=f"r-{one.run}" if one.run else "",
                    run_state=convert.run_state(one.state),
                )
                for one in filling.times
            ]  # fmt: skip
            counts = {("waiting", ""): len(filling.firings)}

            def answer(made: Backfill) -> pb.CreateBackfillResponse:
                shown = convert.backfill_message(made, counts)
                return pb.CreateBackfillResponse(backfill=shown, times=times)

            if request.validate_only:
                return answer(wanted)
            kept = self._answers.keep(answer)
            made = await self._store.create_backfill(trigger, wanted, filling.firings, now_ms, kept)
        self._firings.wake()
        return answer(made)

    async def GetBackfill(self, request: pb.GetBackfillRequest, context: Any) -> pb.GetBackfillResponse:
        backfill, _ = await self._find_backfill(request.backfill_id)
        counts = await self._store.backfill_counts(backfill.number)
        return pb.GetBackfillResponse(backfill=convert.backfill_message(backfill, counts))

    async def CancelBackfill(
        self, request: pb.CancelBackfillRequest, context: Any
    ) -> pb.CancelBackfillResponse:
        backfill, trigger = await self._find_backfill(request.backfill_id)
        await self._require_runner(trigger)
        async with self._firings.quiet:
            live = await self._store.cancel_backfill(backfill.number, lambda c, made: None)
        if request.cancel_runs:
            for run in live:
                reply, ended = self._engine.new_reply()
                self._engine.post(CancelAsked(reply, run, f"its back-fill {backfill.id} was cancelled"))
                await ended
        backfill, _ = await self._find_backfill(request.backfill_id)
        counts = await self._store.backfill_counts(backfill.number)
        return pb.CancelBackfillResponse(backfill=convert.backfill_message(backfill, counts))

    # Who may, and what is meant

    async def _find(self, name: str) -> RunTrigger:
        """By id or by the caller's own name. Raises TriggerNotFound to who may not see it."""
        caller, match = principal(), _ID.fullmatch(name)
        if match is not None and match[1] == "tr":
            number: int | None = int(match[2])
        else:
            number = await self._store.number_of(account_of(caller), name)
        if number is None:
            raise missing(name)
        trigger = await self._store.get(number)
        if caller.role != ADMIN and caller.account != trigger.account:
            try:
                require_role(caller, await self._projects.get(trigger.project), Role.VIEWER)
            except ProjectNotFound as error:
                raise missing(name) from error
        return trigger

    async def _find_backfill(self, name: str) -> tuple[Backfill, RunTrigger]:
        match = _ID.fullmatch(name)
        found = await self._store.backfill(int(match[2])) if match is not None and match[1] == "b" else None
        if found is not None:
            try:
                return found, await self._find(f"tr-{found.trigger}")
            except TriggerNotFound:
                pass
        raise BackfillNotFound(
            f"there is no back-fill {name[:40]!r}, or it is not yours to see", field="backfill_id",
            next_step="yard trigger backfill … says its id when it begins",
        )  # fmt: skip

    async def _require_runner(self, trigger: RunTrigger) -> Project:
        project = await self._projects.get(trigger.project)
        require_role(principal(), project, Role.RUNNER)
        return project

    async def _require_manager(self, trigger: RunTrigger) -> None:
        caller = principal()
        if caller.role == ADMIN or caller.account == trigger.account:
            return
        project = await self._projects.get(trigger.project)
        if caller.account != project.account:
            raise TriggerForbidden(
                f"{trigger.id} is {trigger.account}'s, the project {project.account}'s", field="trigger",
                next_step=f"ask {trigger.account} to do it",
            )  # fmt: skip

    def _require_runnable(self, account: str, project: Project) -> None:
        """Its runs are the account's, whoever makes it."""
        try:
            require_role(Principal(USER, account), project, Role.RUNNER)
        except (ProjectForbidden, ProjectNotFound) as error:
            raise TriggerForbidden(
                f"its runs would be {account}'s, which may not run {project.id}", field="trigger.project_id",
                next_step=f"yard graph share {project.id} {account} runner",
            ) from error  # fmt: skip

    def _require_kind(self, trigger: RunTrigger, path: str) -> None:
        kind = path.partition(".")[0]
        if kind in ("cron", "artifact", "model") and kind != kind_of(trigger.wish.source):
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

    def _backfill(self, request: pb.CreateBackfillRequest, trigger: RunTrigger, now_ms: int) -> Backfill:
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

    async def _shown(self, trigger: RunTrigger) -> pb.RunTrigger:
        message = convert.trigger_message(trigger, self._url)
        message.running_count, message.waiting_count = await self._store.counts(trigger.number)
        for last in await self._store.firings(trigger.number, (), 0, _FIRST, 1):
            message.last_firing.CopyFrom(convert.firing_message(last))
        return message
