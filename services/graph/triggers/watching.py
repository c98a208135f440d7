"""What other services have that is new: artefacts of an account, versions and aliases of a model.

Looked for from a cursor that is on disk; a thing fires once by its key. So nothing is missed over restarts of either
side, and nothing comes twice. Owns the loop and the calls.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

import grpc.aio
import msgspec

from modelyard.errors import YardError, from_rpc_error
from modelyard.v1 import artifact_pb2, artifact_pb2_grpc, model_pb2, model_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.errors import ServiceError
from services.chassis.logs import get_logger
from services.chassis.peers.passing import passed_on
from services.chassis.peers.sessions import on_behalf_of
from services.graph.triggers.events import text_of
from services.graph.triggers.firing import Firings
from services.graph.triggers.model import (
    ArtifactSource,
    ModelSource,
    NewFiring,
    RunTrigger,
    Source,
    WatchUnavailable,
)
from services.graph.triggers.store import Position

LOOK_S = 1.0
CALL_S = 20.0
OVERLAP_MS = 30_000
"""Artefacts are looked for again so far back: what was begun before others may be on disk after them."""
PAGE = 500
PAGES_MOST = 40
_GOING_ON = frozenset({
    model_pb2.MODEL_VERSION_STATE_INSPECTING, model_pb2.MODEL_VERSION_STATE_PROBING,
    model_pb2.MODEL_VERSION_STATE_NEEDS_ANSWER,
})  # fmt: skip

T = TypeVar("T")
_encode = msgspec.json.Encoder().encode
_log = get_logger("graph.triggers")


class Watching:
    """`models` None: the yard has no models service."""

    def __init__(
        self, firings: Firings, store: grpc.aio.Channel, models: grpc.aio.Channel | None, clock: Clock
    ) -> None:
        self._firings = firings
        self._artifacts = artifact_pb2_grpc.ArtifactServiceStub(store)
        self._models = model_pb2_grpc.ModelServiceStub(models) if models is not None else None
        self._clock = clock
        self._seen: dict[int, frozenset[str]] = {}
        """By trigger: what the last look found; it is on disk."""
        self._silent: set[int] = set()
        """Triggers whose last look failed, so that it is told once."""

    async def run(self) -> None:
        """For ever."""
        while True:
            for trigger in await self._firings.store.watching():
                try:
                    await self._look(trigger)
                    self._silent.discard(trigger.number)
                except (YardError, ServiceError) as error:
                    if trigger.number not in self._silent:
                        _log.warning(
                            "trigger_cannot_look",
                            trigger=trigger.id,
                            reason=error.reason,
                            message=error.message,
                        )
                    self._silent.add(trigger.number)
            await self._clock.sleep(LOOK_S)

    async def position(self, account: str, source: Source) -> int:
        """Where a look begins that wants only what comes from now on. Raises what refuses the source."""
        if isinstance(source, ModelSource):
            return await self._latest(account, source)
        return self._clock.now_ms()

    async def _look(self, trigger: RunTrigger) -> None:
        source = trigger.wish.source
        if isinstance(source, ArtifactSource):
            cursor, found = await self._new_artifacts(trigger.account, source, trigger.cursor)
        elif isinstance(source, ModelSource) and source.alias:
            cursor, found = await self._moves(trigger.account, source, trigger.cursor)
        else:
            assert isinstance(source, ModelSource)
            cursor, found = await self._new_versions(trigger.account, source, trigger.cursor)
        keys = frozenset(one.key for one in found)
        if cursor == trigger.cursor and keys <= self._seen.get(trigger.number, frozenset()):
            return
        if await self._firings.store.advance(trigger, Position(cursor), found, self._clock.now_ms()):
            self._firings.wake()
        self._seen[trigger.number] = keys

    async def _new_artifacts(
        self, account: str, source: ArtifactSource, since_ms: int
    ) -> tuple[int, list[NewFiring]]:
        request = artifact_pb2.ListArtifactsRequest(
            account=account, name_prefix=source.name_prefix, page_size=PAGE
        )
        request.since_time.FromMilliseconds(since_ms)
        found, newest = [], since_ms
        async for answer in _pages(self._artifacts.ListArtifacts, request, account):
            for one in answer.artifacts:
                time_ms = one.create_time.ToMilliseconds()
                newest = max(newest, time_ms)
                if one.name:
                    event = {
                        "kind": "artifact", "time": text_of(time_ms), "digest": one.digest, "name": one.name,
                        "media_type": one.media_type, "size_bytes": one.size_bytes,
                    }  # fmt: skip
                    found.append(NewFiring(f"artifact:{one.digest}", _encode(event).decode()))
        return max(since_ms, newest - OVERLAP_MS), found[::-1]

    async def _new_versions(
        self, account: str, source: ModelSource, floor: int
    ) -> tuple[int, list[NewFiring]]:
        request = model_pb2.ListModelVersionsRequest(model=source.model, page_size=PAGE)
        found, newest, open_ = [], floor, []
        async for answer in _pages(self._stub().ListModelVersions, request, account):
            for one in answer.versions:
                if one.version <= floor:
                    break
                newest = max(newest, one.version)
                if one.state in _GOING_ON:
                    open_.append(one.version)
                elif one.state == model_pb2.MODEL_VERSION_STATE_READY:
                    event = {
                        "kind": "version", "time": text_of(one.ready_time.ToMilliseconds()), "model": one.model,
                        "version": one.version, "account": one.account, "labels": dict(one.labels),
                    }  # fmt: skip
                    found.append(NewFiring(f"version:{one.version}", _encode(event).decode()))
            if answer.versions and answer.versions[-1].version <= floor:
                break
        return min(open_) - 1 if open_ else newest, found[::-1]

    async def _moves(self, account: str, source: ModelSource, after: int) -> tuple[int, list[NewFiring]]:
        request = model_pb2.ListAliasHistoryRequest(model=source.model, alias=source.alias, page_size=PAGE)
        found, newest = [], after
        async for answer in _pages(self._stub().ListAliasHistory, request, account):
            for one in answer.changes:
                if one.sequence <= after:
                    break
                newest = max(newest, one.sequence)
                if one.to_version:
                    event = {
                        "kind": "alias", "time": text_of(one.time.ToMilliseconds()), "model": source.model,
                        "alias": one.alias, "version": one.to_version, "from_version": one.from_version,
                        "account": one.account, "comment": one.comment,
                    }  # fmt: skip
                    found.append(NewFiring(f"alias:{one.sequence}", _encode(event).decode()))
            if answer.changes and answer.changes[-1].sequence <= after:
                break
        return newest, found[::-1]

    async def _latest(self, account: str, source: ModelSource) -> int:
        if source.alias:
            history = model_pb2.ListAliasHistoryRequest(model=source.model, alias=source.alias, page_size=1)
            moved = await self._asked(self._stub().ListAliasHistory(history, **_for(account)))
            return moved.changes[0].sequence if moved.changes else 0
        request = model_pb2.ListModelVersionsRequest(model=source.model, page_size=1)
        answer = await self._asked(self._stub().ListModelVersions(request, **_for(account)))
        return answer.versions[0].version if answer.versions else 0

    async def _asked(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise passed_on(from_rpc_error(error), "trigger.model.model") from error

    def _stub(self) -> Any:
        if self._models is None:
            raise WatchUnavailable(
                "this yard has no models service", field="trigger.model", next_step="yard up --models"
            )
        return self._models


def _for(account: str) -> dict[str, Any]:
    return {"metadata": on_behalf_of(account), "timeout": CALL_S}


async def _pages(method: Any, request: Any, account: str) -> AsyncIterator[Any]:
    """Pages until there are no more. Raises YardError."""
    for _ in range(PAGES_MOST):
        try:
            answer = await method(request, **_for(account))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        yield answer
        request.page_token = answer.next_page_token
        if not request.page_token:
            return
