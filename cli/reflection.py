"""Methods of a server by gRPC reflection: what there is, and calling it with plain values.

Owns a descriptor pool per server, so that the command line can call methods newer than itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cli.errors import UsageError
from modelyard.errors import YardError, from_rpc_error

_HIDDEN = ("grpc.reflection.",)


class Reflection:
    """One server's methods."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._pool = descriptor_pool.DescriptorPool()
        self._added: set[str] = set()
        self._names: list[str] | None = None

    async def methods(self) -> list[str]:
        """Every method as "Service/Method", with a mark for streams. Raises YardError."""
        lines = []
        for full_name in await self._services():
            for method in (await self._service(full_name)).methods:
                marks = (" (client stream)" if method.client_streaming else "") + (
                    " (stream)" if method.server_streaming else ""
                )
                lines.append(f"{_short(full_name)}/{method.name}{marks}")
        return lines

    async def find(self, service: str, name: str) -> MethodDescriptor | None:
        """A method by the last part of its service's name, and its own; None if this server has none."""
        for full_name in await self._services():
            if service in ("", _short(full_name), full_name):
                found = (await self._service(full_name)).methods_by_name.get(name)
                if found is not None:
                    return found  # type: ignore[no-any-return]
        return None

    async def call(self, method: MethodDescriptor, document: dict[str, Any]) -> AsyncIterator[Message]:
        """The answers to one request. Raises UsageError for a request that does not fit, YardError."""
        request = message_factory.GetMessageClass(method.input_type)()
        try:
            json_format.ParseDict(document, request, descriptor_pool=self._pool)
        except json_format.ParseError as error:
            raise UsageError(f"the request does not fit {method.input_type.full_name}: {error}") from error
        kind = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        path = f"/{method.containing_service.full_name}/{method.name}"
        answer_class = message_factory.GetMessageClass(method.output_type)
        rpc: Any = kind(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer_class.FromString,
        )
        try:
            if method.server_streaming:
                async for answer in rpc(request):
                    yield answer
            else:
                yield await rpc(request)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def _services(self) -> list[str]:
        if self._names is None:
            answer = await self._ask(reflection_pb2.ServerReflectionRequest(list_services=""))
            names = [service.name for service in answer.list_services_response.service]
            self._names = [name for name in names if not name.startswith(_HIDDEN)]
        return self._names

    async def _service(self, full_name: str) -> Any:
        request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=full_name)
        await self._add(await self._ask(request))
        return self._pool.FindServiceByName(full_name)

    async def _add(self, answer: reflection_pb2.ServerReflectionResponse) -> None:
        """Puts the files into the pool, dependencies first."""
        for serialised in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(serialised)
            if file.name in self._added:
                continue
            for dependency in file.dependency:
                if dependency not in self._added:
                    request = reflection_pb2.ServerReflectionRequest(file_by_filename=dependency)
                    await self._add(await self._ask(request))
            self._pool.Add(file)
            self._added.add(file.name)

    async def _ask(
        self, request: reflection_pb2.ServerReflectionRequest
    ) -> reflection_pb2.ServerReflectionResponse:
        call = reflection_pb2_grpc.ServerReflectionStub(self._channel).ServerReflectionInfo()
        try:
            await call.write(request)
            answer = await call.read()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        finally:
            call.cancel()
        if not isinstance(answer, reflection_pb2.ServerReflectionResponse):
            raise YardError("the server ended the reflection stream", code="UNAVAILABLE")
        if answer.HasField("error_response"):
            raise YardError(answer.error_response.error_message, code="NOT_FOUND")
        return answer


def _short(full_name: str) -> str:
    return full_name.rpartition(".")[2]
