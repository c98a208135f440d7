"""`client.models.call`: a model is called with values, and answers with values (S2.5).

Speaks the Open Inference Protocol, as any stock client may. A call is sent once: whether it may be computed twice is
for its model to say, and the service repeats it where that is so.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import grpc.aio

from modelyard.client.connection import Connection
from modelyard.client.tensors import (
    InputUnfit,
    Tensor,
    parameters_of,
    put_inputs,
    put_parameters,
    tensor,
    tensors_of,
)
from modelyard.errors import YardError, from_rpc_error
from modelyard.oip.v2 import inference_pb2 as pb
from modelyard.oip.v2 import inference_pb2_grpc

CALL_TIMEOUT_S = 120.0
"""Of a call that says none; long enough for a model that has to be loaded first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered."""

    model: str
    version: str
    outputs: Mapping[str, Tensor]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """The value of an output: lists, or bytes. `outputs[name].array()` is numpy's."""
        return self.outputs[name].value

    @property
    def drawing_error(self) -> str:
        """Which drawings failed, and why; empty: none. The values are right all the same."""
        return str(self.parameters.get("viz_error", ""))

    @property
    def notice(self) -> str:
        """What the message to the call's contact is about, as deliveries name it; empty: there is none."""
        return str(self.parameters.get("notice", ""))

    @property
    def contact_error(self) -> str:
        """Why the contact is not told, or not sent a drawing; empty: it is."""
        return str(self.parameters.get("contact_error", ""))


class Calling:
    """A part of `Models`."""

    _connection: Connection

    @cached_property
    def _inference(self) -> inference_pb2_grpc.GRPCInferenceServiceAsyncStub:
        return inference_pb2_grpc.GRPCInferenceServiceStub(self._connection.calls())

    @cached_property
    def _known(self) -> dict[tuple[str, str], pb.ModelMetadataResponse]:
        return {}

    async def metadata(self, model: str, version: str | int = "") -> pb.ModelMetadataResponse:
        """What goes into a model, or a deployment, and what comes out."""
        request = pb.ModelMetadataRequest(name=model, version=str(version))
        return await self._connection.unary(self._inference.ModelMetadata, request)

    async def call(
        self,
        model: str,
        inputs: Mapping[str, Any] | Sequence[Tensor],
        *,
        version: str | int = "",
        parameters: Mapping[str, Any] | None = None,
        outputs: Sequence[str] = (),
        priority: int = 0,
        contact: str = "",
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Answer:
        """Calls a model, or a deployment, by its name; it is loaded first where it is not.

        ``inputs``: values by name (numbers, texts, bytes, lists, arrays), which become what the model's metadata say,
        or tensors as they are. ``outputs``: only these; ``viz:<name>`` is a drawing. ``priority``: 1 goes first.
        ``contact``: a contact of the account that is told the result, drawings included; ``Answer.notice`` names the
        message, which is on disk by then. Raises InputUnfit, YardError.
        """
        if contact:
            parameters = {**(parameters or {}), "contact": contact}
        request = await self._request(model, inputs, str(version), parameters or {}, outputs, priority)
        return answer_of(await self.infer(request, timeout_s))

    async def infer(
        self, request: pb.ModelInferRequest, timeout_s: float = CALL_TIMEOUT_S
    ) -> pb.ModelInferResponse:
        """A call as the protocol has it. Raises YardError."""
        try:
            return await self._inference.ModelInfer(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            # What goes in may have changed with the version that answers.
            self._known.clear()
            raise from_rpc_error(error) from None

    async def stream_call(
        self,
        model: str,
        inputs: Mapping[str, Any] | Sequence[Tensor],
        *,
        version: str | int = "",
        parameters: Mapping[str, Any] | None = None,
        outputs: Sequence[str] = (),
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> AsyncGenerator[Answer, None]:
        """The answers of a model that gives them part by part. To stop early is to cancel the call."""
        request = await self._request(model, inputs, str(version), parameters or {}, outputs, 0)
        async for response in self.infer_stream([request], timeout_s):
            yield answer_of(response)

    async def infer_stream(
        self, requests: Sequence[pb.ModelInferRequest], timeout_s: float = CALL_TIMEOUT_S
    ) -> AsyncGenerator[pb.ModelInferResponse, None]:
        """The answers to several calls on one stream, in the order of the calls. Raises YardError at the first that
        fails."""
        stream = self._inference.ModelStreamInfer(iter(requests), timeout=timeout_s)
        try:
            async for response in stream:
                if response.error_message:
                    raise _refused(response)
                yield response.infer_response
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        finally:
            stream.cancel()

    async def _request(
        self,
        model: str,
        inputs: Mapping[str, Any] | Sequence[Tensor],
        version: str,
        parameters: Mapping[str, Any],
        outputs: Sequence[str],
        priority: int,
    ) -> pb.ModelInferRequest:
        request = pb.ModelInferRequest(model_name=model, model_version=version)
        put_parameters(request.parameters, parameters)
        if priority:
            request.parameters["priority"].uint64_param = priority
        for name in outputs:
            request.outputs.add(name=name)
        put_inputs(request, await self._tensors(model, version, inputs))
        return request

    async def _tensors(
        self, model: str, version: str, inputs: Mapping[str, Any] | Sequence[Tensor]
    ) -> Sequence[Tensor]:
        if not isinstance(inputs, Mapping):
            return inputs
        found = self._known.get((model, version))
        if found is None:
            found = self._known[model, version] = await self.metadata(model, version)
        specs = {spec.name: spec for spec in found.inputs}
        for name in inputs:
            if name not in specs:
                raise InputUnfit(
                    f"{model} has no input {name!r}; it has {', '.join(specs) or 'none'}",
                    code="INVALID_ARGUMENT", reason="INPUT_UNFIT", field=name,
                )  # fmt: skip
        return [tensor(specs[name], value) for name, value in inputs.items()]


def answer_of(response: pb.ModelInferResponse) -> Answer:
    """Of a raw response."""
    return Answer(
        response.model_name, response.model_version, tensors_of(response), parameters_of(response.parameters)
    )


def _refused(response: pb.ModelStreamInferResponse) -> YardError:
    """Of one call of a stream, as unary calls have it."""
    said = parameters_of(response.infer_response.parameters)
    return YardError(
        response.error_message,
        code=str(said.get("code", "UNKNOWN")), reason=str(said.get("reason", "")),
        field=str(said.get("field", "")), next_step=str(said.get("next_step", "")),
    )  # fmt: skip
