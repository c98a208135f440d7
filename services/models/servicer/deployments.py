"""DeploymentService: what is to be served, what is loaded, and why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc.aio

from modelyard.v1 import deployment_pb2 as pb
from modelyard.v1 import deployment_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.errors import NotFound, ServiceError
from services.chassis.requests.answers import Answers, repeatable
from services.chassis.requests.paging import decode_token, encode_token, page_size
from services.chassis.security import ADMIN, Principal, account_of, principal
from services.models.catalogue.access import missing_model
from services.models.catalogue.model import ModelForbidden
from services.models.convert.deployment import (
    deployment_message,
    frame_message,
    mirror_of,
    routes_of,
    settings_of,
)
from services.models.frames import events as ev
from services.models.frames.engine import FrameEngine
from services.models.frames.model import (
    DeploymentNotFound,
    DeploymentState,
    RouteInvalid,
    Settings,
    WeightsGone,
)
from services.models.frames.shapes import targets_of, with_minimum
from services.models.frames.source import Frames
from services.models.frames.state import Deployment, Frame, MirrorWish, RouteWish, Target
from services.models.seams import Versions
from services.models.servicer.explaining import Explaining

CALLER, MANAGER = "caller", "manager"
LOAD_S = 25.0
"""So long `LoadModel` waits where its caller says no deadline."""
LISTED_MS = 24 * 3_600_000
_NAME_MOST = 128


class FrameNotFound(NotFound):
    """Nothing of the model is loaded."""


class DeploymentServicer(deployment_pb2_grpc.DeploymentServiceServicer):
    """Who may manage a model may deploy it; a deployment is its account's, and administrators'."""

    def __init__(
        self,
        engine: FrameEngine,
        frames: Frames,
        versions: Versions,
        explaining: Explaining,
        answers: Answers,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._frames = frames
        self._versions = versions
        self._explaining = explaining
        self._answers = answers
        self._clock = clock

    # What is to be served

    async def Deploy(self, request: pb.DeployRequest, context: Any) -> pb.DeployResponse:
        account = account_of(principal())
        routes = routes_of(request.routes)
        mirror = mirror_of(request.mirror) if request.HasField("mirror") else None
        self._require_routes(routes, mirror)
        settings = settings_of(request.settings)
        targets, served = targets_of(self._versions, routes, mirror, settings)
        settings = with_minimum(settings, served)
        targets, served = targets_of(self._versions, routes, mirror, settings)
        name = request.name or routes[0].model
        self._require_name(name, routes)
        if request.validate_only:
            shown = Deployment(
                name=name, account=account, routes=routes, mirror=mirror, sticky=request.sticky_parameter,
                settings=settings, targets=targets,
            )  # fmt: skip
            return pb.DeployResponse(deployment=deployment_message(shown))
        for one in served:
            self._engine.known.note(one)
        made = await self._ask(
            name,
            lambda reply: ev.Deployed(
                reply=reply, name=name, account=account, routes=routes, mirror=mirror,
                sticky=request.sticky_parameter, settings=settings, targets=targets,
            ),
            pb.DeployResponse,
        )  # fmt: skip
        return pb.DeployResponse(deployment=made)

    async def ModifyDeployment(
        self, request: pb.ModifyDeploymentRequest, context: Any
    ) -> pb.ModifyDeploymentResponse:
        found = self._require(request.name)
        routes = routes_of(request.routes) if request.routes else None
        mirror = mirror_of(request.mirror) if request.HasField("mirror") else None
        if mirror is not None and request.without_mirror:
            raise RouteInvalid("a mirror, and none: which?", field="without_mirror")
        self._require_routes(routes or (), mirror)
        said = settings_of(request.settings) if request.HasField("settings") else None
        settings = found.settings if said is None else said.over(found.settings)
        then = None if request.without_mirror else mirror or found.mirror
        targets = self._targets(routes or found.routes, then, settings)
        sticky = request.sticky_parameter if request.HasField("sticky_parameter") else None
        made = await self._ask(
            found.name,
            lambda reply: ev.Modified(
                reply=reply, name=found.name, account=found.account, revision=request.revision, routes=routes,
                mirror=mirror, without_mirror=request.without_mirror, sticky=sticky, settings=said,
                targets=targets, comment=request.comment[:2_000],
            ),
            pb.ModifyDeploymentResponse,
        )  # fmt: skip
        return pb.ModifyDeploymentResponse(deployment=made)

    async def RollBackDeployment(
        self, request: pb.RollBackDeploymentRequest, context: Any
    ) -> pb.RollBackDeploymentResponse:
        found = self._require(request.name)
        before = found.before or found.weights
        targets = self._targets(before.routes, before.mirror, found.settings)
        gone = [one.problem for one in targets[: len(before.routes)] if one.shape is None]
        if gone:
            raise WeightsGone(
                f"{found.name} cannot go back: {gone[0]}", field="name",
                next_step=f"yard model modify {found.name} sets other weights",
            )  # fmt: skip
        comment = request.comment[:2_000]
        made = await self._ask(
            found.name,
            lambda reply: ev.RolledBack(reply, found.name, found.account, comment, targets),
            pb.RollBackDeploymentResponse,
        )
        return pb.RollBackDeploymentResponse(deployment=made)

    async def Undeploy(self, request: pb.UndeployRequest, context: Any) -> pb.UndeployResponse:
        found = self._require(request.name)
        made = await self._ask(
            found.name, lambda reply: ev.Undeployed(reply, found.name, found.account), pb.UndeployResponse
        )
        return pb.UndeployResponse(deployment=made)

    async def GetDeployment(self, request: pb.GetDeploymentRequest, context: Any) -> pb.GetDeploymentResponse:
        found = self._require(request.name, CALLER)
        return pb.GetDeploymentResponse(
            deployment=await self._shown(found.name), frames=map(frame_message, self._frames_of(found))
        )

    async def ListDeployments(
        self, request: pb.ListDeploymentsRequest, context: Any
    ) -> pb.ListDeploymentsResponse:
        caller, size = principal(), page_size(request.page_size)
        everybody = request.all_accounts and caller.role == ADMIN
        key = b"deployments" + bytes([everybody])
        after = decode_token(request.page_token, key)
        names = sorted(
            name
            for name, one in self._engine.state.deployments.items()
            if name > after and (everybody or one.account == caller.account)
        )
        token = encode_token(names[size - 1], key) if len(names) > size else ""
        async with self._engine.quiet:
            live = self._engine.state.deployments
            shown = [deployment_message(live[name]) for name in names[:size] if name in live]
        return pb.ListDeploymentsResponse(deployments=shown, next_page_token=token)

    async def WatchDeployment(
        self, request: pb.WatchDeploymentRequest, context: Any
    ) -> AsyncIterator[pb.WatchDeploymentResponse]:
        name = self._require(request.name, CALLER).name
        position, told = request.revision, request.revision
        with self._engine.watch(name) as changed:
            while True:
                changed.clear()
                async with self._engine.quiet:
                    found = self._engine.state.deployments.get(name)
                    revision = self._engine.state.revision
                    frames = [] if found is None else self._frames_of(found)
                    news = [one for one in frames if one.revision > position]
                    is_new = found is not None and (found.revision > told or not told or bool(news))
                    message = deployment_message(found) if found is not None else None
                    messages = [frame_message(one) for one in news]
                if found is None:
                    yield pb.WatchDeploymentResponse(revision=revision, deployment=await self._shown(name))
                    return
                if is_new:
                    yield pb.WatchDeploymentResponse(revision=revision, deployment=message, frames=messages)
                position = told = max(revision, 1)
                await changed.wait()

    # What is loaded

    async def ListFrames(self, request: pb.ListFramesRequest, context: Any) -> pb.ListFramesResponse:
        caller, size = principal(), page_size(request.page_size)
        everybody = request.all_accounts and caller.role == ADMIN
        key = f"frames {request.model} {request.node} {request.with_ended} {everybody}".encode()
        before = int(decode_token(request.page_token, key) or 1 << 60)
        async with self._engine.quiet:
            found = [*self._engine.state.frames.values()]
        if request.with_ended:
            found += await self._engine.store.ended(self._clock.now_ms() - LISTED_MS)
        kept = {
            one.number: one
            for one in found
            if one.number < before
            and request.model in ("", one.key.model)
            and request.node in ("", one.at_node, one.node)
            and (everybody or self._sees(caller, one))
        }
        rows = [kept[number] for number in sorted(kept, reverse=True)]
        token = encode_token(str(rows[size - 1].number), key) if len(rows) > size else ""
        return pb.ListFramesResponse(frames=map(frame_message, rows[:size]), next_page_token=token)

    async def LoadModel(self, request: pb.LoadModelRequest, context: Any) -> pb.LoadModelResponse:
        self._require_model(request.model, MANAGER)
        served = self._versions.served(request.model, request.version)
        left_s = context.time_remaining() if context is not None else None
        deadline_s = max(0.1, left_s - 0.25) if left_s is not None else LOAD_S
        ready = await self._frames.load(served, deadline_s, node=request.node, is_held=True)
        frame = self._engine.state.frames.get(ready.number)
        if frame is None:
            raise FrameNotFound(f"f-{ready.number} has ended meanwhile", next_step="load it again")
        return pb.LoadModelResponse(frame=frame_message(frame))

    async def UnloadModel(self, request: pb.UnloadModelRequest, context: Any) -> pb.UnloadModelResponse:
        self._require_model(request.model, MANAGER)
        wanted = 0
        if request.version:
            wanted = self._versions.served(request.model, request.version).key.version
        frames = [
            one
            for one in self._engine.state.frames.values()
            if one.key.model == request.model
            and wanted in (0, one.key.version)
            and request.node in ("", one.at_node, one.node)
            and one.state.serves
        ]
        numbers = tuple(one.number for one in frames)
        await self._engine.ask(lambda reply: ev.UnloadWanted(reply, numbers))
        return pb.UnloadModelResponse(frames=map(frame_message, frames))

    async def ExplainModelCall(
        self, request: pb.ExplainModelCallRequest, context: Any
    ) -> pb.ExplainModelCallResponse:
        caller = principal()
        deployment = self._engine.state.deployments.get(request.name) if not request.version else None
        for model in {route.model for route in deployment.routes} if deployment else {request.name}:
            self._require_model(model, CALLER)
        sticky = request.sticky_value or caller.account
        return await self._explaining.explain(request.name, request.version, sticky)

    # What they have in common

    async def _ask(self, name: str, event_of: Any, response: Any) -> pb.Deployment:
        """As it was when what was asked for came to the disk: the answer that lies with it."""
        made: list[pb.Deployment] = []

        def first_answer(name: str) -> Any:
            made.append(self._present(name))
            return response(deployment=made[0])

        await self._engine.ask(event_of, self._answers.keep(first_answer), name)
        return made[0] if made else await self._shown(name)

    def _present(self, name: str) -> pb.Deployment:
        """Within its transaction."""
        state = self._engine.state
        found = state.deployments.get(name) or state.undeployed.get(name)
        return deployment_message(found) if found is not None else pb.Deployment(name=name)

    async def _shown(self, name: str) -> pb.Deployment:
        """As it is by now, or was when it was undeployed."""
        async with self._engine.quiet:
            found = self._engine.state.deployments.get(name)
            if found is not None:
                return deployment_message(found)
        row = await self._engine.store.deployment(name)
        return deployment_message(row) if row is not None else pb.Deployment(name=name)

    def _frames_of(self, found: Deployment) -> list[Frame]:
        keys = {target.key for target in found.targets} | set(found.standby.values())
        return [one for one in self._engine.state.frames.values() if one.key in keys]

    def _targets(
        self, routes: Sequence[RouteWish], mirror: MirrorWish | None, settings: Settings
    ) -> tuple[Target, ...]:
        targets, served = targets_of(self._versions, routes, mirror, settings)
        for one in served:
            self._engine.known.note(one)
        return targets

    def _require(self, name: str, role: str = MANAGER) -> Deployment:
        """The deployment, if it is the caller's. Raises DeploymentNotFound."""
        caller, found = principal(), self._engine.state.deployments.get(name)
        is_own = found is not None and (caller.role == ADMIN or caller.account == found.account)
        if found is not None and not is_own and role == CALLER:
            is_own = all(self._versions.may(caller.account, one.model, CALLER) for one in found.routes)
        if found is None or not is_own or found.state is DeploymentState.UNDEPLOYED:
            raise DeploymentNotFound(
                f"there is no deployment {name[:80]!r}, or it is not yours", field="name",
                next_step="yard model deployments lists yours",
            )  # fmt: skip
        return found

    def _require_routes(self, routes: Sequence[RouteWish], mirror: MirrorWish | None) -> None:
        """Every version is there, and the caller may deploy it. Raises what `served` raises, with its field."""
        wishes = [(one.model, one.version, f"routes[{n}]") for n, one in enumerate(routes)]
        if mirror is not None:
            wishes.append((mirror.model, mirror.version, "mirror"))
        for model, version, field in wishes:
            self._require_model(model, MANAGER, f"{field}.model")
            try:
                self._versions.served(model, version)
            except ServiceError as error:
                error.field = field
                raise

    def _require_model(self, model: str, role: str, field: str = "model") -> None:
        """Raises ModelForbidden, or what there is to say of a model that is not there."""
        caller = principal()
        if not self._versions.may(caller.account, model, "viewer") and caller.role != ADMIN:
            # As if it were not there.
            raise missing_model(model, field)
        if caller.role != ADMIN and not self._versions.may(caller.account, model, role):
            raise ModelForbidden(
                f"account {caller.account} is no {role} of {model}", field=field,
                next_step=f"ask the owner of {model} for access",
            )  # fmt: skip

    def _require_name(self, name: str, routes: Sequence[RouteWish]) -> None:
        if len(name) > _NAME_MOST or not name.isprintable() or "/" in name:
            raise RouteInvalid(f"{name[:80]!r} is not a name", field="name")
        models = {one.model for one in routes}
        if name not in models:
            # Calls by the name of a model are for that model.
            try:
                self._versions.served(name, "")
            except NotFound:
                return
            except ServiceError:
                pass
            raise RouteInvalid(
                f"{name!r} is a model's name, and none of the routes is of that model", field="name",
                next_step="give the deployment another name",
            )  # fmt: skip

    def _sees(self, caller: Principal, frame: Frame) -> bool:
        if caller.role == ADMIN and not caller.account:
            return True
        own = frame.shape.account == caller.account
        return own or self._versions.may(caller.account, frame.key.model, "viewer")


def add_to_server(servicer: DeploymentServicer, answers: Answers, server: grpc.aio.Server) -> str:
    """Adds it; the service's full name."""
    file = pb.DESCRIPTOR
    deployment_pb2_grpc.add_DeploymentServiceServicer_to_server(repeatable(servicer, file, answers), server)
    return file.services_by_name["DeploymentService"].full_name
