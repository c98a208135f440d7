"""ModelService: models, their versions, how each is configured."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc.aio
from google.protobuf.message import Message

from modelyard.v1 import model_pb2 as pb
from modelyard.v1 import model_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.errors import InvalidArgument, OutOfRange
from services.chassis.requests.answers import Answers
from services.chassis.requests.paging import decode_token, encode_token, page_size
from services.chassis.security import ADMIN, account_of, principal
from services.models.catalogue import access, component, wording
from services.models.catalogue import effects as e
from services.models.catalogue import events as ev
from services.models.catalogue.describing import Describing
from services.models.catalogue.engine import Engine
from services.models.catalogue.model import ConfigNotFound, ModelNameTaken, Role, VersionInUse, VersionState
from services.models.catalogue.origins import Origins
from services.models.catalogue.state import Live, Model
from services.models.catalogue.usage import DAY_MS, Usage
from services.models.catalogue.versions import Catalogue
from services.models.convert.model import (
    ROLES_BACK,
    STATES,
    change_messages,
    lineage_of,
    model_message,
    revision_message,
    version_message,
)

DAYS, DAYS_MOST = 30, 3_660
_LAST = (1 << 62) - 1
M = TypeVar("M", bound=Message)
_STATES = {int(value): state for state, value in STATES.items()}


class ModelStateUnknown(InvalidArgument):
    """There is no such state."""


class ModelRoleUnknown(InvalidArgument):
    """There is no such role."""


class AccessInvalid(InvalidArgument):
    """Access is given to an account, or to * for all."""


class DaysInvalid(InvalidArgument):
    """Days are counted back from now."""


class ModelRevisionUnknown(OutOfRange):
    """The version has not come to this revision."""


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    """What its owner may do with a model, administrators may too."""

    def __init__(
        self,
        engine: Engine,
        catalogue: Catalogue,
        usage: Usage,
        answers: Answers,
        clock: Clock,
        store: grpc.aio.Channel,
        origins: Origins,
        describing: Describing,
    ) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._usage = usage
        self._answers = answers
        self._clock = clock
        self._store = store
        self._origins = origins
        self._describing = describing

    # Versions are made

    async def CreateModelVersion(
        self, request: pb.CreateModelVersionRequest, context: Any
    ) -> pb.CreateModelVersionResponse:
        caller = principal()
        account = account_of(caller)
        name = wording.check_model_name(request.model)
        model = self._engine.state.models.get(name)
        if model is not None and caller.role != ADMIN:
            if access.role_of(account, model) is None:
                raise ModelNameTaken(
                    f"another account has a model {name}",
                    field="model",
                    next_step="yard model push FILE --name ANOTHER",
                )
            access.require(caller, model, name, Role.MANAGER)
        component.check(request.files)
        wording.check_config(request.config, name)
        labels = wording.check_labels(request.labels)
        summary = wording.check_text(request.summary, "summary")
        await self._origins.check(account, request.lineage)
        files = await component.known(self._store, account, request.files)
        if request.validate_only:
            made = pb.ModelVersion(model=name, account=account, labels=labels)
            made.component.digest = component.tree_digest(files)
            return pb.CreateModelVersionResponse(version=made)
        return await self._ask(
            lambda reply: ev.VersionCreated(
                reply, model=name, account=account, files=files, digest=component.tree_digest(files),
                declared=request.config, labels=labels, lineage=lineage_of(request.lineage), summary=summary,
            ),
            lambda answer: pb.CreateModelVersionResponse(
                version=version_message(self._live(answer).version), was_there=answer.was_there
            ),
        )  # fmt: skip

    async def DescribeComponent(
        self, request: pb.DescribeComponentRequest, context: Any
    ) -> pb.DescribeComponentResponse:
        account = account_of(principal())
        component.check(request.files)
        files = await component.known(self._store, account, request.files)
        return await self._describing.describe(account, files, request.config)

    # Read

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:
        async with self._engine.quiet:
            return pb.GetModelResponse(model=self._message(self._require(request.name, Role.VIEWER)))

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        caller, size = principal(), page_size(request.page_size)
        account = account_of(caller)
        everybody = request.all_accounts and caller.role == ADMIN
        labels = request.labels.items()
        key = f"{sorted(labels)} {request.name_prefix} {everybody} {account}".encode()
        after = decode_token(request.page_token, key)
        async with self._engine.quiet:
            found = [
                model
                for name, model in sorted(self._engine.state.models.items())
                if name > after
                and name.startswith(request.name_prefix)
                and (everybody or access.may(account, model, Role.VIEWER))
                and labels <= model.labels.items()
            ]
            token = encode_token(found[size - 1].name, key) if len(found) > size else ""
            return pb.ListModelsResponse(models=map(self._message, found[:size]), next_page_token=token)

    async def GetModelVersion(
        self, request: pb.GetModelVersionRequest, context: Any
    ) -> pb.GetModelVersionResponse:
        model = self._require(request.model, Role.VIEWER)
        totals = await self._usage.totals(model.name)
        async with self._engine.quiet:
            return pb.GetModelVersionResponse(
                version=self._shown(self._catalogue.find(model, request.version), totals)
            )

    async def ListModelVersions(
        self, request: pb.ListModelVersionsRequest, context: Any
    ) -> pb.ListModelVersionsResponse:
        model, size = self._require(request.model, Role.VIEWER), page_size(request.page_size)
        for state in request.states:
            if state not in _STATES:
                raise ModelStateUnknown(f"{state} is no state of a version", field="states")
        wanted = {_STATES[state] for state in request.states} or set(VersionState)
        key = f"versions {model.name} {sorted(request.states)}".encode()
        before = int(decode_token(request.page_token, key) or _LAST)
        totals = await self._usage.totals(model.name)
        async with self._engine.quiet:
            versions = self._engine.state.versions.get(model.name, {})
            found = [
                versions[number]
                for number in sorted(versions, reverse=True)
                if number < before and versions[number].version.state in wanted
            ]
            token = encode_token(str(found[size - 1].version.version), key) if len(found) > size else ""
            shown = [self._shown(live, totals) for live in found[:size]]
        return pb.ListModelVersionsResponse(versions=shown, next_page_token=token)

    async def WatchModelVersion(
        self, request: pb.WatchModelVersionRequest, context: Any
    ) -> AsyncIterator[pb.WatchModelVersionResponse]:
        model = self._require(request.model, Role.VIEWER)
        number = self._catalogue.find(model, str(request.version) if request.version else "").version.version
        position = request.revision
        if not 0 <= position <= self._engine.state.revision:
            raise ModelRevisionUnknown(
                f"{position} is no revision of {model.name}:{number}", field="revision"
            )
        with self._engine.watch((model.name, number)) as changed:
            while True:
                changed.clear()
                async with self._engine.quiet:
                    live = self._catalogue.find(model, str(number))
                    # Of what is told now: the version may go on while the answer is on its way.
                    is_last, revision = live.version.work is None, live.version.revision
                    message = self._shown(live, {})
                if revision > position or not position:
                    position = revision
                    yield pb.WatchModelVersionResponse(version=message)
                if is_last:
                    return
                await changed.wait()

    async def GetModelConfig(
        self, request: pb.GetModelConfigRequest, context: Any
    ) -> pb.GetModelConfigResponse:
        model = self._require(request.model, Role.VIEWER)
        live = self._catalogue.find(model, request.version)
        one = live.version
        wanted = request.revision or one.config_revision or one.last_config
        found = await self._engine.store.config(model.name, one.version, wanted) if wanted > 0 else None
        if found is None:
            raise ConfigNotFound(
                f"the configuration of {model.name}:{one.version} has no revision {wanted}; the latest is"
                f" {one.last_config}", field="revision",
            )  # fmt: skip
        of = (model.name, one.version, found.revision)
        return pb.GetModelConfigResponse(config=revision_message(found, of, self._engine.state.runtimes))

    async def ListAliasHistory(
        self, request: pb.ListAliasHistoryRequest, context: Any
    ) -> pb.ListAliasHistoryResponse:
        model, size = self._require(request.model, Role.VIEWER), page_size(request.page_size)
        key = f"history {model.name} {request.alias}".encode()
        before = int(decode_token(request.page_token, key) or _LAST)
        found = await self._engine.store.history(model.name, request.alias, before, size + 1)
        token = encode_token(str(found[size - 1].number), key) if len(found) > size else ""
        return pb.ListAliasHistoryResponse(changes=change_messages(found[:size]), next_page_token=token)

    async def ListModelUsage(
        self, request: pb.ListModelUsageRequest, context: Any
    ) -> pb.ListModelUsageResponse:
        model = self._require(request.model, Role.VIEWER)
        if not 0 <= request.days <= DAYS_MOST or request.version < 0:
            raise DaysInvalid(f"days: {request.days}; 1 to {DAYS_MOST}, or 0 for {DAYS}", field="days")
        since_ms = self._clock.now_ms() - ((request.days or DAYS) - 1) * DAY_MS
        response = pb.ListModelUsageResponse()
        for day in await self._usage.days(model.name, request.version, since_ms):
            message = response.usage.add(
                version=day.version, account=day.account, call_count=day.calls, failure_count=day.failures,
                compute_s=day.compute_s,
            )  # fmt: skip
            message.day_time.FromMilliseconds(day.begin_ms)
        return response

    # Changed

    async def UpdateModel(self, request: pb.UpdateModelRequest, context: Any) -> pb.UpdateModelResponse:
        model = self._require(request.name, Role.MANAGER, "name")
        labels = wording.check_labels(request.labels)
        if request.access:
            access.require_owner(principal(), model)
        given: dict[str, Role | None] = {}
        for number, one in enumerate(request.access):
            if one.role and one.role not in ROLES_BACK:
                raise ModelRoleUnknown(f"{one.role} is no role", field=f"access[{number}].role")
            if not one.account or len(one.account) > 100 or not one.account.isprintable():
                raise AccessInvalid(field=f"access[{number}].account")
            given[one.account] = ROLES_BACK.get(one.role)
        summary = wording.check_text(request.summary, "summary") if request.HasField("summary") else None
        return await self._ask(
            lambda reply: ev.ModelUpdated(
                reply,
                model=model.name,
                revision=request.revision,
                summary=summary,
                labels=labels,
                access=given,
            ),
            lambda answer: pb.UpdateModelResponse(
                model=self._message(self._engine.state.models[answer.model])
            ),
        )

    async def DeleteModelVersion(
        self, request: pb.DeleteModelVersionRequest, context: Any
    ) -> pb.DeleteModelVersionResponse:
        model = self._require(request.model, Role.MANAGER)
        named = self._catalogue.named_by(model.name, request.version)
        if named:
            raise VersionInUse(
                f"{model.name}:{request.version} is what {', '.join(named[:8])} serves", field="version",
                next_step=f"yard model undeploy {named[0]}, or point it at another version",
            )  # fmt: skip
        return await self._ask(
            lambda reply: ev.VersionDeleted(reply, model=model.name, version=request.version),
            lambda answer: pb.DeleteModelVersionResponse(),
        )

    async def UpdateModelConfig(
        self, request: pb.UpdateModelConfigRequest, context: Any
    ) -> pb.UpdateModelConfigResponse:
        model = self._require(request.model, Role.MANAGER)
        live = self._catalogue.find(model, str(request.version) if request.version else "")
        number = live.version.version
        wording.check_config(request.document, model.name, "document")
        inspection = live.inspection or await self._engine.store.finding(model.name, number)
        if request.validate_only:
            return pb.UpdateModelConfigResponse(
                config=self._describing.preview(live, request.document, inspection)
            )
        return await self._ask(
            lambda reply: ev.ConfigPut(
                reply, model=model.name, version=number, document=request.document,
                account=account_of(principal()), based_on=request.revision, inspection=inspection,
            ),
            lambda answer: pb.UpdateModelConfigResponse(config=self._latest(answer)),
        )  # fmt: skip

    async def SetAlias(self, request: pb.SetAliasRequest, context: Any) -> pb.SetAliasResponse:
        model, caller = self._require(request.model, Role.MANAGER), principal()
        alias, comment = wording.check_alias(request.alias), wording.check_text(request.comment, "comment")
        return await self._ask(
            lambda reply: ev.AliasSet(
                reply, model=model.name, alias=alias, version=request.version, account=account_of(caller),
                from_version=request.from_version, comment=comment,
            ),
            lambda answer: pb.SetAliasResponse(model=self._message(self._engine.state.models[answer.model])),
        )  # fmt: skip

    async def DeleteAlias(self, request: pb.DeleteAliasRequest, context: Any) -> pb.DeleteAliasResponse:
        model, caller = self._require(request.model, Role.MANAGER), principal()
        comment = wording.check_text(request.comment, "comment")
        return await self._ask(
            lambda reply: ev.AliasDeleted(
                reply,
                model=model.name,
                alias=request.alias,
                account=account_of(caller),
                comment=comment,
            ),
            lambda answer: pb.DeleteAliasResponse(
                model=self._message(self._engine.state.models[answer.model])
            ),
        )

    # What these have in common

    def _require(self, name: str, role: Role, field: str = "model") -> Model:
        return access.require(principal(), self._engine.state.models.get(name), name, role)

    def _message(self, model: Model) -> pb.Model:
        return model_message(model, self._catalogue.latest(model.name))

    def _live(self, answer: e.Answer) -> Live:
        live = self._engine.state.find(answer.model, answer.version)
        assert live is not None
        return live

    def _latest(self, answer: e.Answer) -> pb.ModelConfigRevision:
        latest = self._live(answer).latest
        assert latest is not None
        of = (answer.model, answer.version, latest.revision)
        return revision_message(latest, of, self._engine.state.runtimes)

    def _shown(self, live: Live, totals: dict[int, tuple[int, int]]) -> pb.ModelVersion:
        one = live.version
        calls, last_ms = totals.get(one.version, (0, 0))
        return version_message(
            one, nodes=self._catalogue.loaded_on(one.model, one.version), calls=calls, last_ms=last_ms,
            trust=self._engine.state.trusted,
        )  # fmt: skip

    async def _ask(self, event_of: Callable[[int], ev.Event], message_of: Callable[[e.Answer], M]) -> M:
        """The answer as it lies on disk with what was asked for."""
        made: list[M] = []
        keep = self._answers.keep(lambda answer: made[0])

        def kept(connection: Any, answer: e.Answer) -> None:
            made[:] = [message_of(answer)]
            keep(connection, answer)

        reply, answer = self._engine.new_reply(kept)
        self._engine.post(event_of(reply))
        await answer
        return made[0]
