"""The channels of one client, and unary calls over them.

Owns when a channel is opened, how long an unreachable server is tried again, and the translation of RPC
errors into YardError. Every mutation of the contract carries a request id: repeating a call is always safe.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

import grpc

from modelyard.channel import CALL_BYTES_MOST, MESSAGE_BYTES_MOST, connect
from modelyard.errors import ConnectionFailed, YardError, from_rpc_error
from modelyard.settings import Settings

RequestT = TypeVar("RequestT", contravariant=True)
ResponseT = TypeVar("ResponseT", covariant=True)

SERVICES = ("scheduler", "store", "graph", "trainer", "models")
ALWAYS = ("scheduler", "store")
"""A yard has these."""
UNARY_TIMEOUT_S = 30.0
THERE_S = 10.0
STATE_WAIT_S = 0.5


class UnaryMethod(Protocol[RequestT, ResponseT]):
    """A unary RPC of a generated asyncio stub."""

    def __call__(self, request: RequestT, *, timeout: float | None = None) -> Awaitable[ResponseT]: ...


def new_request_id() -> str:
    """A fresh id for a mutation."""
    return str(uuid.uuid4())


def broke_off(error: YardError) -> bool:
    """Whether the connection failed and not the call; a service names its own reasons, gRPC's INTERNAL has none."""
    return error.code == "UNAVAILABLE" or error.reason == "GRPC_INTERNAL"


class Connection:
    """The channels to the services, each opened when first needed."""

    def __init__(
        self,
        settings: Settings,
        *,
        first_patience_s: float,
        patience_s: float,
        refusal_is_final: bool = False,
    ) -> None:
        self.settings = settings
        self.first_patience_s = first_patience_s
        self.patience_s = patience_s
        self.refusal_is_final = refusal_is_final
        self.reached = False
        self._channels: dict[tuple[str, int], grpc.aio.Channel] = {}

    def scheduler(self) -> grpc.aio.Channel:
        """Raises SettingsError when the token cannot be read."""
        return self._channel(self.settings.endpoint)

    def store(self) -> grpc.aio.Channel:
        """Raises SettingsError when the token cannot be read."""
        return self._channel(self.settings.store)

    def graph(self) -> grpc.aio.Channel:
        """Raises SettingsError when the token cannot be read."""
        return self._channel(self.settings.graph)

    def trainer(self) -> grpc.aio.Channel:
        """Raises SettingsError when the token cannot be read."""
        return self._channel(self.settings.trainer)

    def models(self) -> grpc.aio.Channel:
        """Raises SettingsError when the token cannot be read."""
        return self._channel(self.settings.models)

    def service(self, name: str) -> grpc.aio.Channel:
        """By its name, one of SERVICES. Raises SettingsError as the others do."""
        return self._channel(self.settings.endpoint if name == "scheduler" else self.settings[name])

    async def is_there(self, name: str) -> bool:
        """Whether a service takes connections: those for graphs, training and models need not run."""
        channel = self.service(name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(THERE_S):
                while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                    if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                        return False
                    await channel.wait_for_state_change(state)
                return True
        return False

    def calls(self) -> grpc.aio.Channel:
        """To the models service too, for tensors: its messages may be large. Raises SettingsError as the others do."""
        return self._channel(self.settings.models, CALL_BYTES_MOST)

    def _channel(self, address: str, message_bytes_most: int = MESSAGE_BYTES_MOST) -> grpc.aio.Channel:
        key = (address, message_bytes_most)
        channel = self._channels.get(key)
        if channel is None:
            token, ca_file = self.settings.token(), self.settings.ca_file
            channel = self._channels[key] = connect(
                address, token=token, ca_file=ca_file, message_bytes_most=message_bytes_most
            )
        return channel

    async def reach(self) -> None:
        """Returns when the scheduler can be reached; raises ConnectionFailed when it cannot.

        After it, a call that breaks may have been carried out.
        """
        channel = self.scheduler()
        began = time.monotonic()
        state = channel.get_state(try_to_connect=True)
        while state != grpc.ChannelConnectivity.READY:
            failing = state == grpc.ChannelConnectivity.TRANSIENT_FAILURE
            if failing and self.gives_up(time.monotonic() - began, await self._refusal()):
                raise ConnectionFailed(
                    f"nothing answers at {self.settings.endpoint}",
                    code="UNAVAILABLE",
                    reason="CONNECTION_FAILED",
                )
            # Between two attempts the channel's state stands still, and patience runs on.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(channel.wait_for_state_change(state), STATE_WAIT_S)
            state = channel.get_state(try_to_connect=True)
        self.reached = True

    async def _refusal(self) -> str:
        """What the scheduler's port says to a plain connection; gRPC's state does not tell."""
        host, _, port = self.settings.endpoint.rpartition(":")
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host.strip("[]"), int(port)), 1.0)
        except ConnectionRefusedError:
            return "connection refused"
        except (OSError, ValueError) as error:
            return str(error)
        writer.close()
        await writer.wait_closed()
        return ""

    def gives_up(self, failing_s: float, message: str) -> bool:
        """Whether a server that fails for so long is not tried again: patience is longer once it was reached,
        and a port that nobody listens on ends it at once where a person waits for the answer."""
        if not self.reached and self.refusal_is_final and "refused" in message:
            return True
        return failing_s > (self.patience_s if self.reached else self.first_patience_s)

    async def unary(
        self,
        method: UnaryMethod[RequestT, ResponseT],
        request: RequestT,
        timeout_s: float = UNARY_TIMEOUT_S,
    ) -> ResponseT:
        """Calls, and calls again while the server cannot be reached. Raises YardError."""
        began, delay_s = time.monotonic(), 0.05
        while True:
            try:
                response = await method(request, timeout=timeout_s)
                self.reached = True
                return response
            except grpc.aio.AioRpcError as error:
                refusal = from_rpc_error(error)
                over = self.gives_up(time.monotonic() - began + delay_s, error.details() or "")
                if not broke_off(refusal) or over:
                    raise refusal from None
            await asyncio.sleep(delay_s * (0.5 + random.random() / 2))
            delay_s = min(delay_s * 2, 2.0)

    async def stream(self, begin: Callable[[], Any]) -> AsyncGenerator[Any, None]:
        """The messages of a server stream that `begin` opens; `begin` is called again, and must resume, when
        the connection breaks. Raises YardError."""
        failing_since, delay_s = time.monotonic(), 0.05
        while True:
            call = begin()
            try:
                async for message in call:
                    self.reached = True
                    failing_since, delay_s = time.monotonic(), 0.05
                    yield message
                return
            except grpc.aio.AioRpcError as error:
                refusal = from_rpc_error(error)
                over = self.gives_up(time.monotonic() - failing_since + delay_s, error.details() or "")
                if not broke_off(refusal) or over:
                    raise refusal from None
            finally:
                call.cancel()
            await asyncio.sleep(delay_s * (0.5 + random.random() / 2))
            delay_s = min(delay_s * 2, 2.0)

    async def close(self) -> None:
        """Closes the channels. Idempotent."""
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close()
