"""GRPCInferenceService: the Open Inference Protocol at the edge. Decides nothing; calls/ does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message_factory import GetMessageClass

from modelyard.oip.v2 import inference_pb2 as pb
from modelyard.version import VERSION
from services.chassis.errors import FailedPrecondition, NotFound, ServiceError, Unimplemented
from services.chassis.security import ADMIN, principal
from services.models.calls.calls import Calls
from services.models.calls.messages import Request, decode
from services.models.calls.replies import reply
from services.models.calls.streaming import answers
from services.models.calls.telling import Telling
from services.models.convert import inference as convert

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
EXTENSIONS = (
    "model_repository", "model_repository(unload_dependents)", "model_configuration", "statistics", "schedule_policy",
    "binary_tensor_data", "parameters", "streaming",
)  # fmt: skip
LOAD_S = 120.0
"""So long a load without a deadline is waited for."""


class LoadParametersRefused(Unimplemented):
    """Versions are not made by loading them here."""


class InferenceServicer:
    """Requests of ModelInfer and ModelStreamInfer arrive as `calls.messages.Request`, and leave as bytes."""

    def __init__(self, calls: Calls, telling: Telling) -> None:
        self._calls = calls
        self._telling = telling

    async def ModelInfer(self, request: Request, context: Any) -> bytes:
        served, message = await self._telling.infer(principal(), request, context.time_remaining())
        return reply(served, request, message)

    async def ModelStreamInfer(self, requests: AsyncIterator[Request], context: Any) -> AsyncIterator[bytes]:
        metadata = context.invocation_metadata() or ()
        fails_whole = any(key == "triton_grpc_error" and value == "true" for key, value in metadata)
        served = answers(self._telling, principal(), requests, context.time_remaining, fails_whole)
        async with aclosing(served):
            async for answer in served:
                yield answer

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Any) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Any) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=True)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Any
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="modelyard", version=VERSION, extensions=EXTENSIONS)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Any) -> pb.ModelReadyResponse:
        try:
            self._calls.routed(principal(), request.name, request.version, role="viewer")
        except (NotFound, FailedPrecondition):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Any) -> pb.ModelMetadataResponse:
        served = self._calls.routed(principal(), request.name, request.version, role="viewer").served
        versions = {str(key.version) for key in self._calls.loaded() if key.model == served.key.model}
        response = convert.metadata(served.config, sorted(versions | {str(served.key.version)}))
        response.name = request.name
        return response

    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Any) -> pb.ModelConfigResponse:
        served = self._calls.routed(principal(), request.name, request.version, role="viewer").served
        config = convert.config_of(served.config)
        config.name = request.name
        return pb.ModelConfigResponse(config=config)

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: Any
    ) -> pb.ModelStatisticsResponse:
        caller = principal()
        response = pb.ModelStatisticsResponse()
        ledger = self._calls.ledger
        if request.name:
            key = self._calls.routed(caller, request.name, request.version, role="viewer").served.key
            chosen = {key.version} if request.version else {
                version for (model, version), _ in ledger.items() if model == key.model
            } | {key.version}  # fmt: skip
            for version in sorted(chosen):
                known = ledger.of(key.model, version)
                response.model_stats.append(convert.statistics(key.model, version, known))
            return response
        for (model, version), known in ledger.items():
            if caller.role == ADMIN or self._calls.versions.may(caller.account, model, "viewer"):
                response.model_stats.append(convert.statistics(model, version, known))
        return response

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: Any
    ) -> pb.RepositoryIndexResponse:
        response = pb.RepositoryIndexResponse()
        loaded = self._calls.loaded()
        for model in self._calls.versions.models(principal().account):
            found: dict[str, tuple[str, str]] = {}
            try:
                version = str(self._calls.versions.served(model).key.version)
                found[version] = ("UNAVAILABLE", "not loaded: the first call loads it")
            except ServiceError as error:
                found[""] = ("UNAVAILABLE", error.message)
            found.update({str(key.version): ("READY", "") for key in loaded if key.model == model})
            for version, (state, reason) in sorted(found.items()):
                if state == "READY" or not request.ready:
                    response.models.add(name=model, version=version, state=state, reason=reason)
        return response

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Any
    ) -> pb.RepositoryModelLoadResponse:
        # Clients differ: in some the model's name is the first field.
        name = request.model_name or request.repository_name
        if request.parameters:
            raise LoadParametersRefused(
                "a version is not made by loading it",
                field="parameters",
                next_step="make one with yard model push, or with CreateModelVersion, then load it",
            )
        route = self._calls.routed(principal(), name, "", role="caller")
        left_s = context.time_remaining()
        await self._calls.source.wanted(route, LOAD_S if left_s is None else left_s)
        return pb.RepositoryModelLoadResponse(model_name=name, is_loaded=True)

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Any
    ) -> pb.RepositoryModelUnloadResponse:
        name = request.model_name or request.repository_name
        key = self._calls.routed(principal(), name, "", role="manager").served.key
        await self._calls.source.unload(key.model, "")
        return pb.RepositoryModelUnloadResponse(model_name=name, is_unloaded=True)


def add_to_server(servicer: InferenceServicer, server: grpc.aio.Server) -> str:
    """Adds it with its own way of reading and writing tensors; the service's full name."""
    handlers = {method.name: _handler(servicer, method) for method in SERVICE.methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, handlers),))
    return SERVICE.full_name


def _handler(servicer: InferenceServicer, method: Any) -> Any:
    behaviour: Callable[..., Any] = getattr(servicer, method.name)
    if method.name == "ModelInfer":
        return grpc.unary_unary_rpc_method_handler(behaviour, decode, None)
    if method.name == "ModelStreamInfer":
        return grpc.stream_stream_rpc_method_handler(behaviour, decode, None)
    request = GetMessageClass(method.input_type)
    return grpc.unary_unary_rpc_method_handler(
        behaviour, request.FromString, lambda answer: answer.SerializeToString()
    )
