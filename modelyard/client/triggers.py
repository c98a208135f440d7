"""`client.triggers`: what starts runs by itself, and runs for the times of a schedule that have passed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from modelyard.client.connection import Connection, new_request_id
from modelyard.client.specs import InvalidSpecification
from modelyard.v1 import trigger_pb2 as pb
from modelyard.v1 import trigger_pb2_grpc

CONCURRENCY = {
    "allow": pb.TRIGGER_CONCURRENCY_ALLOW,
    "forbid": pb.TRIGGER_CONCURRENCY_FORBID,
    "queue": pb.TRIGGER_CONCURRENCY_QUEUE,
}
FORMS = {"standard": pb.WEBHOOK_FORM_STANDARD, "github": pb.WEBHOOK_FORM_GITHUB}
CATCH_UP = {"none": pb.CATCH_UP_NONE, "last": pb.CATCH_UP_LAST, "all": pb.CATCH_UP_ALL}
REPROCESS = {"none": pb.REPROCESS_NONE, "failed": pb.REPROCESS_FAILED, "all": pb.REPROCESS_ALL}
ORDERS = {"oldest": pb.BACKFILL_ORDER_OLDEST, "newest": pb.BACKFILL_ORDER_NEWEST}


def cron(
    expression: str, time_zone: str = "", *, catch_up: str = "last", catch_up_most: int = 0
) -> pb.CronSource:
    """Times by the clock of a place. ``catch_up``: what becomes of those that pass while the service is down."""
    return pb.CronSource(
        expression=expression, time_zone=time_zone, catch_up=_word(CATCH_UP, catch_up, "catch_up"),
        catch_up_most=catch_up_most,
    )  # fmt: skip


def webhook(form: str = "standard") -> pb.WebhookSource:
    """Signed deliveries over HTTP. ``form``: "standard" (Standard Webhooks), or "github", as GitHub signs."""
    return pb.WebhookSource(form=_word(FORMS, form, "form"))


Source = pb.CronSource | pb.WebhookSource | pb.ArtifactSource | pb.ModelSource
_FIELDS: dict[type[Any], str] = {
    pb.CronSource: "cron", pb.WebhookSource: "webhook", pb.ArtifactSource: "artifact", pb.ModelSource: "model"
}  # fmt: skip


class Triggers:
    """Triggers of the caller's account, and of projects that it may see: by id, one's own by name too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _stub(self) -> trigger_pb2_grpc.TriggerServiceAsyncStub:
        return trigger_pb2_grpc.TriggerServiceStub(self._connection.graph())

    async def create(
        self,
        name: str,
        project: str,
        source: Source,
        *,
        version: int = 0,
        params: Mapping[str, Any] | None = None,
        event_params: Mapping[str, str] | None = None,
        concurrency: str = "allow",
        max_running: int = 0,
        max_waiting: int = 0,
        comment: str = "",
        validate_only: bool = False,
        request_id: str = "",
    ) -> pb.CreateTriggerResponse:
        """A new trigger, with a webhook's secret, which is shown here only, and the times that come next.

        ``event_params``: parameter of the run → field of the event, for example ``{"day": "date"}``.
        """
        wanted = pb.RunTrigger(
            name=name, project_id=project, version=version, params_json=json.dumps(params) if params else "",
            event_params=event_params or {}, concurrency=_word(CONCURRENCY, concurrency, "concurrency"),
            max_running=max_running, max_waiting=max_waiting, comment=comment,
        )  # fmt: skip
        _set_source(wanted, source)
        request = pb.CreateTriggerRequest(
            request_id=request_id or new_request_id(), trigger=wanted, validate_only=validate_only
        )
        return await self._connection.unary(self._stub.CreateTrigger, request)

    async def get(self, trigger: str) -> pb.GetTriggerResponse:
        """As it is now, with the times that come next."""
        return await self._connection.unary(self._stub.GetTrigger, pb.GetTriggerRequest(trigger=trigger))

    async def list(
        self, page_size: int = 0, page_token: str = "", project: str = ""
    ) -> pb.ListTriggersResponse:
        """Newest first."""
        request = pb.ListTriggersRequest(page_size=page_size, page_token=page_token, project_id=project)
        return await self._connection.unary(self._stub.ListTriggers, request)

    async def pause(self, trigger: str) -> pb.RunTrigger:
        """It fires no more until it is resumed; what waits goes on. What comes meanwhile is left out."""
        return await self._update(trigger, pb.RunTrigger(paused=True), ["paused"])

    async def resume(self, trigger: str) -> pb.RunTrigger:
        """It fires from now on."""
        return await self._update(trigger, pb.RunTrigger(paused=False), ["paused"])

    async def modify(
        self,
        trigger: str,
        *,
        source: Source | None = None,
        version: int | None = None,
        params: Mapping[str, Any] | None = None,
        event_params: Mapping[str, str] | None = None,
        concurrency: str | None = None,
        max_running: int | None = None,
        max_waiting: int | None = None,
        comment: str | None = None,
        revision: int = 0,
    ) -> pb.RunTrigger:
        """Changes what is given. What fires it may change, not of which kind that is."""
        changes, paths = pb.RunTrigger(revision=revision), []
        plain = {
            "version": version,
            "max_running": max_running,
            "max_waiting": max_waiting,
            "comment": comment,
        }
        for name, value in plain.items():
            if value is not None:
                setattr(changes, name, value)
                paths.append(name)
        if params is not None:
            changes.params_json = json.dumps(params)
            paths.append("params_json")
        if event_params is not None:
            changes.event_params.update(event_params)
            paths.append("event_params")
        if concurrency is not None:
            changes.concurrency = _word(CONCURRENCY, concurrency, "concurrency")
            paths.append("concurrency")
        if source is not None:
            _set_source(changes, source)
            paths.append(_FIELDS[type(source)])
        return await self._update(trigger, changes, paths)

    async def _update(self, trigger: str, changes: pb.RunTrigger, paths: Sequence[str]) -> pb.RunTrigger:
        request = pb.UpdateTriggerRequest(request_id=new_request_id(), trigger=trigger, changes=changes)
        request.update_mask.paths.extend(paths)
        return (await self._connection.unary(self._stub.UpdateTrigger, request)).trigger

    async def delete(self, trigger: str) -> None:
        """With its firings and back-fills; its runs stay."""
        request = pb.DeleteTriggerRequest(request_id=new_request_id(), trigger=trigger)
        await self._connection.unary(self._stub.DeleteTrigger, request)

    async def rotate_secret(
        self, trigger: str, overlap_s: int | None = None
    ) -> pb.RotateTriggerSecretResponse:
        """A new secret of a webhook, shown here only; the old one counts for so long, None: a day."""
        request = pb.RotateTriggerSecretRequest(request_id=new_request_id(), trigger=trigger)
        if overlap_s is not None:
            request.overlap.FromSeconds(overlap_s)
        return await self._connection.unary(self._stub.RotateTriggerSecret, request)

    async def fire(
        self,
        trigger: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        request_id: str = "",
    ) -> pb.Firing:
        """Fires by hand, also while it is paused. The answer means that the firing is on disk."""
        request = pb.FireTriggerRequest(
            request_id=request_id or new_request_id(), trigger=trigger,
            params_json=json.dumps(params) if params else "", body_json=json.dumps(body) if body else "",
        )  # fmt: skip
        return (await self._connection.unary(self._stub.FireTrigger, request)).firing

    async def firings(
        self,
        trigger: str = "",
        *,
        backfill: str = "",
        states: Sequence[pb.FiringState.ValueType] = (),
        page_size: int = 0,
        page_token: str = "",
    ) -> pb.ListFiringsResponse:
        """What a trigger, or a back-fill of it, has fired; newest first."""
        request = pb.ListFiringsRequest(
            trigger=trigger, backfill_id=backfill, states=states, page_size=page_size, page_token=page_token
        )
        return await self._connection.unary(self._stub.ListFirings, request)

    async def backfill(
        self,
        trigger: str,
        begin: datetime,
        end: datetime | None = None,
        *,
        max_running: int = 0,
        order: str = "oldest",
        again: str = "none",
        params: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        request_id: str = "",
    ) -> pb.CreateBackfillResponse:
        """Runs for the times of a schedule from ``begin`` to before ``end`` (None: now) that have none yet.

        ``again``: "failed" or "all" of those that have one too. ``dry_run``: says what it would do.
        """
        request = pb.CreateBackfillRequest(
            request_id=request_id or new_request_id(), trigger=trigger, max_running=max_running,
            order=_word(ORDERS, order, "order"), reprocess=_word(REPROCESS, again, "again"), validate_only=dry_run,
            params_json=json.dumps(params) if params else "",
        )  # fmt: skip
        request.from_time.FromDatetime(begin)
        if end is not None:
            request.to_time.FromDatetime(end)
        return await self._connection.unary(self._stub.CreateBackfill, request)

    async def get_backfill(self, backfill: str) -> pb.Backfill:
        """As it is now."""
        request = pb.GetBackfillRequest(backfill_id=backfill)
        return (await self._connection.unary(self._stub.GetBackfill, request)).backfill

    async def backfills(
        self, trigger: str = "", *, page_size: int = 0, page_token: str = ""
    ) -> pb.ListBackfillsResponse:
        """Of a trigger, or of all that the caller may see; newest first, each with how far it has come."""
        request = pb.ListBackfillsRequest(page_size=page_size, page_token=page_token, trigger=trigger)
        return await self._connection.unary(self._stub.ListBackfills, request)

    async def cancel_backfill(self, backfill: str, *, cancel_runs: bool = False) -> pb.Backfill:
        """Starts no further run of it; ``cancel_runs``: those that go on end too."""
        request = pb.CancelBackfillRequest(
            request_id=new_request_id(), backfill_id=backfill, cancel_runs=cancel_runs
        )
        return (await self._connection.unary(self._stub.CancelBackfill, request)).backfill


def _set_source(message: pb.RunTrigger, source: Source) -> None:
    field = getattr(message, _FIELDS[type(source)])
    field.CopyFrom(source)
    field.SetInParent()


def _word(words: Mapping[str, Any], word: str, field: str) -> Any:
    if word not in words:
        raise InvalidSpecification(f"{word!r} is no {field}; choose {' or '.join(words)}", field)
    return words[word]
