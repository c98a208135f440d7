"""The one place that makes gRPC channels, so that both sides agree on sizes and keepalive.

Owns what every outgoing call carries: the bearer token (also on plaintext loopback, where gRPC's
call credentials do not work), `x-request-id`, and a deadline that is never later than that of the
call it is made for. Knows no service.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from modelyard.addresses import is_loopback
from modelyard.errors import InsecureAddress

MESSAGE_BYTES_MOST = 4 * 1024 * 1024
CALL_BYTES_MOST = 256 * 1024 * 1024
"""Of a call to a model, and of its answer: tensors travel whole."""
METADATA_BYTES_MOST = 16 * 1024
KEEPALIVE_MS = 30_000
KEEPALIVE_TIMEOUT_MS = 10_000
UNARY_TIMEOUT_S = 30.0
"""The deadline of a unary call that sets none."""

REQUEST_ID_KEY = "x-request-id"
ACCOUNT_KEY = "x-yard-account"
"""For services: the account on whose behalf they call."""

incoming: ContextVar[tuple[str, float] | None] = ContextVar("yard_incoming", default=None)
"""(request id, deadline on the event loop's clock or infinity) of the RPC being served, set by servers."""

_SIZES = ("grpc.max_receive_message_length", "grpc.max_send_message_length")
CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MOST),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MOST),
    ("grpc.max_metadata_size", METADATA_BYTES_MOST),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A restarted service is found again quickly. The second is no pause, in spite of its name, but how long it may take
    # until a server has answered on a new connection: a busy one takes its time.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A proxy of the environment must never see a yard's calls.
    ("grpc.enable_http_proxy", 0),
)


def connect(
    address: str,
    *,
    token: str = "",
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
    is_apart: bool = False,
    message_bytes_most: int = MESSAGE_BYTES_MOST,
) -> grpc.aio.Channel:
    """A channel to `address` ("host:port"); close it when done. Nothing is dialled before the first call.

    With `ca_file` it speaks TLS and trusts only that authority, and shows `cert_file`/`key_file` if
    given; without, it is plaintext, which is for loopback only. Must be called on the event loop that
    will use it. Channels to one address share a connection, on which a server bounds the calls at a
    time; one that `is_apart` has its own, for many that last long. Raises OSError if a file cannot be
    read and InsecureAddress where plaintext would show the token to the network.
    """
    options = [(name, message_bytes_most if name in _SIZES else value) for name, value in CHANNEL_OPTIONS]
    if is_apart or message_bytes_most != MESSAGE_BYTES_MOST:
        options.append(("grpc.use_local_subchannel_pool", 1))
    if ca_file is None:
        if (token or cert_file) and not is_local(address):
            raise InsecureAddress(
                f"calling {address} without TLS would show the token to the network",
                next_step="set ca_file to the certificate of the yard's authority",
            )
        inner = grpc.aio.insecure_channel(address, options=options)
    else:
        credentials = grpc.ssl_channel_credentials(
            root_certificates=ca_file.read_bytes(),
            private_key=key_file.read_bytes() if key_file else None,
            certificate_chain=cert_file.read_bytes() if cert_file else None,
        )
        inner = grpc.aio.secure_channel(address, credentials, options=options)
    return _Channel(inner, token)


def is_local(address: str) -> bool:
    """Whether only this machine can read along: loopback or a Unix socket."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    return is_loopback(address.rpartition(":")[0])


class _Channel(grpc.aio.Channel):
    """Adds metadata and deadline before each call; an interceptor would cost every call a task."""

    def __init__(self, inner: grpc.aio.Channel, token: str) -> None:
        self._inner = inner
        self._bearer = (("authorization", f"Bearer {token}"),) if token else ()

    async def __aenter__(self) -> _Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        return self._unary(self._inner.unary_unary(*arguments, **options))

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        return self._streaming(self._inner.unary_stream(*arguments, **options))

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        return self._streaming(self._inner.stream_unary(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        return self._streaming(self._inner.stream_stream(*arguments, **options))

    def _unary(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def unary(
            request: Any,
            *,
            timeout: float | None = None,
            metadata: Sequence[tuple[str, str | bytes]] | None = None,
            **options: Any,
        ) -> Any:
            request_id, remaining_s = _inherited()
            timeout = min(UNARY_TIMEOUT_S if timeout is None else timeout, remaining_s)
            return call(request, timeout=timeout, metadata=self._metadata(request_id, metadata), **options)

        return unary

    def _streaming(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def streaming(
            *request: Any, metadata: Sequence[tuple[str, str | bytes]] | None = None, **options: Any
        ) -> Any:
            request_id, _ = _inherited()
            return call(*request, metadata=self._metadata(request_id, metadata), **options)

        return streaming

    def _metadata(
        self, request_id: str, given: Sequence[tuple[str, str | bytes]] | None
    ) -> tuple[tuple[str, str | bytes], ...]:
        own = (*self._bearer, (REQUEST_ID_KEY, request_id))
        return (*own, *given) if given else own


def _inherited() -> tuple[str, float]:
    """The request id to pass on (or a new one), and the seconds that the served RPC has left."""
    served = incoming.get()
    if served is None:
        return os.urandom(8).hex(), float("inf")
    request_id, deadline = served
    return request_id, max(0.0, deadline - asyncio.get_running_loop().time())
