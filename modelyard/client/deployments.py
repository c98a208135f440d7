"""`client.deployments`: what is served under which name, and where it is loaded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import cached_property
from typing import Any

from modelyard.client.connection import Connection, new_request_id
from modelyard.client.models import reference
from modelyard.v1 import deployment_pb2 as pb
from modelyard.v1 import deployment_pb2_grpc

PAGE = 500


def route(text: str) -> pb.DeploymentRoute:
    """From "iris", "iris:champion", "iris:3=90": model, version, weight. Raises ValueError."""
    words, _, weight = text.partition("=")
    model, version = reference(words)
    if not model or (weight and not weight.isdecimal()):
        raise ValueError(f"{text!r}: a route is MODEL, MODEL:VERSION or MODEL:VERSION=WEIGHT")
    return pb.DeploymentRoute(model=model, version=version, weight=int(weight) if weight else 1)


class Deployments:
    """Deployments, and frames: components that are loaded. `version` is a number, an alias, or "" for the champion,
    else the latest that is READY."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _stub(self) -> deployment_pb2_grpc.DeploymentServiceAsyncStub:
        return deployment_pb2_grpc.DeploymentServiceStub(self._connection.models())

    async def deploy(
        self,
        routes: Sequence[str | pb.DeploymentRoute],
        *,
        name: str = "",
        mirror: pb.DeploymentMirror | None = None,
        sticky_parameter: str = "",
        settings: pb.ServingSettings | None = None,
        validate_only: bool = False,
        request_id: str = "",
    ) -> pb.Deployment:
        """Serves these versions under a name; the answer means that it is on disk, not yet that they are loaded.
        Under a name that is there it takes the place of what was."""
        request = pb.DeployRequest(
            request_id=request_id or new_request_id(), name=name, routes=_routes(routes), mirror=mirror,
            sticky_parameter=sticky_parameter, settings=settings, validate_only=validate_only,
        )  # fmt: skip
        return (await self._connection.unary(self._stub.Deploy, request)).deployment

    async def modify(
        self,
        name: str,
        *,
        routes: Sequence[str | pb.DeploymentRoute] = (),
        mirror: pb.DeploymentMirror | None = None,
        without_mirror: bool = False,
        sticky_parameter: str | None = None,
        settings: pb.ServingSettings | None = None,
        revision: int = 0,
        comment: str = "",
        request_id: str = "",
    ) -> pb.Deployment:
        """Changes what is said, from the next call on. `revision`: on which it is based; 0: any."""
        request = pb.ModifyDeploymentRequest(
            request_id=request_id or new_request_id(), name=name, revision=revision, routes=_routes(routes),
            mirror=mirror, without_mirror=without_mirror, settings=settings, comment=comment,
        )  # fmt: skip
        if sticky_parameter is not None:
            request.sticky_parameter = sticky_parameter
        return (await self._connection.unary(self._stub.ModifyDeployment, request)).deployment

    async def roll_back(self, name: str, comment: str = "", *, request_id: str = "") -> pb.Deployment:
        """The weights as they were before their last change, from the next call on."""
        request = pb.RollBackDeploymentRequest(
            request_id=request_id or new_request_id(), name=name, comment=comment
        )
        return (await self._connection.unary(self._stub.RollBackDeployment, request)).deployment

    async def undeploy(self, name: str, *, request_id: str = "") -> pb.Deployment:
        """Nothing is kept warm for it any more."""
        request = pb.UndeployRequest(request_id=request_id or new_request_id(), name=name)
        return (await self._connection.unary(self._stub.Undeploy, request)).deployment

    async def get(self, name: str) -> pb.GetDeploymentResponse:
        """It, and the frames of its versions."""
        return await self._connection.unary(self._stub.GetDeployment, pb.GetDeploymentRequest(name=name))

    async def list(
        self, page_size: int = 0, page_token: str = "", *, all_accounts: bool = False
    ) -> pb.ListDeploymentsResponse:
        """One page, by name."""
        request = pb.ListDeploymentsRequest(
            page_size=page_size, page_token=page_token, all_accounts=all_accounts
        )
        return await self._connection.unary(self._stub.ListDeployments, request)

    async def watch(self, name: str, revision: int = 0) -> AsyncGenerator[pb.WatchDeploymentResponse, None]:
        """Every change from a revision on, until it is undeployed; goes on over a lost connection."""

        def begin() -> Any:
            return self._stub.WatchDeployment(pb.WatchDeploymentRequest(name=name, revision=revision))

        async with aclosing(self._connection.stream(begin)) as responses:
            async for response in responses:
                revision = response.revision
                yield response

    async def frames(
        self,
        page_size: int = 0,
        page_token: str = "",
        *,
        model: str = "",
        node: str = "",
        with_ended: bool = False,
        all_accounts: bool = False,
    ) -> pb.ListFramesResponse:
        """One page, newest first; with_ended: those of the last day as well."""
        request = pb.ListFramesRequest(
            page_size=page_size, page_token=page_token, model=model, node=node, with_ended=with_ended,
            all_accounts=all_accounts,
        )  # fmt: skip
        return await self._connection.unary(self._stub.ListFrames, request)

    async def load(
        self, model: str, version: str = "", *, node: str = "", timeout_s: float = 120.0, request_id: str = ""
    ) -> pb.Frame:
        """A frame that is loaded; raises what it cannot be loaded for. It stays until it is unloaded, or its memory is
        needed."""
        request = pb.LoadModelRequest(
            request_id=request_id or new_request_id(), model=model, version=version, node=node
        )
        return (await self._connection.unary(self._stub.LoadModel, request, timeout_s=timeout_s)).frame

    async def unload(
        self, model: str, version: str = "", *, node: str = "", request_id: str = ""
    ) -> Sequence[pb.Frame]:
        """Frames that end once they have answered what they have."""
        request = pb.UnloadModelRequest(
            request_id=request_id or new_request_id(), model=model, version=version, node=node
        )
        return (await self._connection.unary(self._stub.UnloadModel, request)).frames

    async def explain(
        self, name: str, version: str = "", *, sticky_value: str = ""
    ) -> pb.ExplainModelCallResponse:
        """Why a call would be answered where it would, or would wait."""
        request = pb.ExplainModelCallRequest(name=name, version=version, sticky_value=sticky_value)
        return await self._connection.unary(self._stub.ExplainModelCall, request)


def _routes(routes: Sequence[str | pb.DeploymentRoute]) -> list[pb.DeploymentRoute]:
    return [route(one) if isinstance(one, str) else one for one in routes]
