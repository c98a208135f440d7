"""A service without a domain, to test the chassis: `python -m tests.support.echo_service --state DIR`.

Its four methods, one of each kind, take and give texts. Some texts make it misbehave.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.wrappers_pb2 import StringValue

from services.chassis import security
from services.chassis.errors import NotFound
from services.chassis.process.bootstrap import run
from services.chassis.process.config import ServiceConfig, load, option
from services.chassis.process.supervise import Loops
from services.chassis.security import ADMIN, AGENT, USER, VIEWER, Principal, RuleTable, TokenInvalid
from tests.support.wait import wait_until

NAME = "test.Echo"
TOKENS: Mapping[str, Principal] = {
    "yard_user_" + "a" * 43: Principal(USER, account="alice"),
    "yard_viewer_" + "v" * 43: Principal(VIEWER, account="alice"),
}
USER_TOKEN, VIEWER_TOKEN = TOKENS
_MAY = frozenset({ADMIN, USER, AGENT})
RULES: RuleTable = {f"/{NAME}/{method}": _MAY for method in ("One", "WaitOne", "Down", "Up", "Both")}


class EchoNotFound(NotFound):
    """There is no such echo."""


class EchoServicer:
    """One of each kind of method. `log` keeps what happened to those that hang, and to the streams."""

    def __init__(self, peer: grpc.aio.Channel | None = None) -> None:
        self.peer = peer
        self.log: list[str] = []

    async def one(self, request: StringValue, context: grpc.aio.ServicerContext[Any, Any]) -> StringValue:
        return StringValue(value=await self._answer(request.value))

    async def down(
        self, request: StringValue, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[StringValue]:
        try:
            for word in request.value.split():
                yield StringValue(value=await self._answer(word))
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise
        finally:
            self.log.append("closed")

    async def up(
        self, requests: AsyncIterator[StringValue], context: grpc.aio.ServicerContext[Any, Any]
    ) -> StringValue:
        return StringValue(value=" ".join([await self._answer(item.value) async for item in requests]))

    async def both(
        self, requests: AsyncIterator[StringValue], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        async for item in requests:
            await context.write(StringValue(value=await self._answer(item.value)))

    async def _answer(self, text: str) -> str:
        match text:
            case "refuse":
                raise EchoNotFound(field="value", next_step="say something else", metadata={"echo": "x"})
            case "crash":
                raise LookupError("an echo went missing, with yard_user_" + "s" * 43)
            case "long":
                raise EchoNotFound("y" * 100_000 + "\ud800")
            case "hang":
                self.log.append("hangs")
                await asyncio.Event().wait()
            case "peer":
                assert self.peer is not None
                return (await call_one(self.peer, "refuse")).value
            case "who":
                caller = security.principal()
                return f"{caller.role}/{caller.account}/{caller.node}"
        return text


def add_to(server: grpc.aio.Server, servicer: EchoServicer) -> Sequence[str]:
    """Register the echo service by hand, as generated code does."""
    codec = {
        "request_deserializer": StringValue.FromString,
        "response_serializer": StringValue.SerializeToString,
    }
    handlers = {
        "One": grpc.unary_unary_rpc_method_handler(servicer.one, **codec),
        "WaitOne": grpc.unary_unary_rpc_method_handler(servicer.one, **codec),
        "WithoutRule": grpc.unary_unary_rpc_method_handler(servicer.one, **codec),
        "Down": grpc.unary_stream_rpc_method_handler(servicer.down, **codec),
        "Up": grpc.stream_unary_rpc_method_handler(servicer.up, **codec),
        "Both": grpc.stream_stream_rpc_method_handler(servicer.both, **codec),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
    return [NAME]


def method(channel: grpc.aio.Channel, name: str, kind: str = "unary_unary") -> Any:
    """The stub of one method; `encode` lets bytes pass as they are."""
    return getattr(channel, kind)(
        f"/{NAME}/{name}", request_serializer=_encode, response_deserializer=StringValue.FromString
    )


async def call_one(channel: grpc.aio.Channel, text: str | bytes, name: str = "One", **options: Any) -> Any:
    """Call a unary method."""
    return await method(channel, name)(text, **options)


def _encode(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else StringValue(value=text).SerializeToString()


class FewTokens:
    """An Authenticator over a table, which counts how often it is asked."""

    recheck_s = 600.0

    def __init__(self) -> None:
        self.generation = 0
        self.asked = 0
        self.listeners: list[Callable[[], None]] = []
        self.tokens = dict(TOKENS)

    async def authenticate(self, secret: str) -> Principal:
        self.asked += 1
        if secret not in self.tokens:
            raise TokenInvalid
        return self.tokens[secret]

    def revoke(self, secret: str) -> None:
        """Of a token that is revoked already nothing changes."""
        if self.tokens.pop(secret, None) is None:
            return
        self.generation += 1
        for listener in self.listeners:
            listener()

    def subscribe(self, listener: Callable[[], None]) -> None:
        self.listeners.append(listener)


@dataclass(frozen=True, kw_only=True)
class EchoConfig(ServiceConfig):
    """Options of the echo service."""

    misbehave: str = option(
        "",
        "what goes wrong",
        choices=("", "crash_loop", "crash_open", "hang_open", "hang_drain", "hang_close"),
    )
    api_key: str = option("", "a secret", secret=True)


class EchoService:
    """The service around it."""

    name = "echo"
    rules = RULES

    def __init__(self, config: EchoConfig, loops: Loops) -> None:
        self._config = config
        self._loops = loops

    async def open(self) -> None:
        if self._config.misbehave == "crash_open":
            raise LookupError("cannot open")
        await self._hang_if("hang_open")
        if self._config.misbehave == "crash_loop":
            self._loops.start("doomed", self._crash())

    async def _crash(self) -> None:
        ready = self._config.state_dir / "run" / "echo.json"
        await wait_until(ready.exists, "the service serves")
        raise LookupError("the loop fell")

    def authenticator(self) -> FewTokens:
        return FewTokens()

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        return add_to(server, EchoServicer())

    async def drain(self) -> None:
        await self._hang_if("hang_drain")

    async def close(self) -> None:
        await self._hang_if("hang_close")

    async def _hang_if(self, kind: str) -> None:
        if self._config.misbehave == kind:
            await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(run(EchoService, load(EchoConfig, sys.argv[1:], os.environ, "yard-echo")))
