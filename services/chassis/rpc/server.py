"""The one place that makes gRPC servers: options, services that every server has, ports.

Owns sizes and keepalive (agreed with `modelyard.channel`), health and reflection. Knows no service.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from modelyard.channel import KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS, MESSAGE_BYTES_MOST, METADATA_BYTES_MOST
from services.chassis.access.admission import Access
from services.chassis.audit.log import AuditLog
from services.chassis.errors import StartRefused
from services.chassis.metrics.registry import Metrics
from services.chassis.rpc.interceptors import RpcInterceptor
from services.chassis.security import Authenticator, RuleTable

# Ten thousand agents have two streams each.
CALLS_AT_ONCE_MOST = 32_768
FRAME_BYTES_MOST = 1024 * 1024
STREAMS_PER_CONNECTION_MOST = 1_024

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MOST),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MOST),
    ("grpc.max_metadata_size", METADATA_BYTES_MOST),
    ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION_MOST),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 3),
    # A client that was stalled sends the pings that it owes all at once; that is no flood.
    ("grpc.http2.max_ping_strikes", 20),
    # Two servers on one port would share its calls silently.
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True)
class TlsFiles:
    """Paths of a server's own certificate and key, and of the authority that signs client certificates."""

    certificate: Path
    key: Path
    authority: Path

    def credentials(self, *, client_certificates: bool = False) -> grpc.ServerCredentials:
        """Credentials for a port; with `client_certificates` it refuses clients that show none."""
        return grpc.ssl_server_credentials(
            [(self.key.read_bytes(), self.certificate.read_bytes())],
            root_certificates=self.authority.read_bytes() if client_certificates else None,
            require_client_auth=client_certificates,
        )


class PortTaken(StartRefused):
    """The port is taken."""


class HostUnusable(StartRefused):
    """The address is not one that this process can listen on."""


@dataclass(frozen=True)
class Limits:
    """What a service allows its callers that others do not; a service that has any names them `limits`."""

    message_bytes_most: int = MESSAGE_BYTES_MOST
    long_calls: Mapping[str, float] = field(default_factory=dict)
    """The most seconds of unary RPCs, by full method."""


def make_server(
    authenticator: Authenticator,
    rules: RuleTable,
    metrics: Metrics | None = None,
    audit: AuditLog | None = None,
    limits: Limits | None = None,
) -> grpc.aio.Server:
    """A server without services and ports whose every call passes the interceptor."""
    limits = limits or Limits()
    access = Access(authenticator, rules)
    interceptor = RpcInterceptor(access, metrics, audit=audit, long_calls=limits.long_calls)
    return server_with(interceptor, limits.message_bytes_most)


def server_with(interceptor: RpcInterceptor, message_bytes_most: int = MESSAGE_BYTES_MOST) -> grpc.aio.Server:
    """`make_server` for an interceptor with other limits than the usual ones."""
    sizes = ("grpc.max_receive_message_length", "grpc.max_send_message_length")
    options = [(name, message_bytes_most if name in sizes else value) for name, value in SERVER_OPTIONS]
    if message_bytes_most > MESSAGE_BYTES_MOST:
        # In frames of 16 KiB, which is what peers take otherwise, large messages take several times as long.
        options.append(("grpc.http2.max_frame_size", FRAME_BYTES_MOST))
    return grpc.aio.server(
        interceptors=[interceptor],
        options=options,
        maximum_concurrent_rpcs=CALLS_AT_ONCE_MOST,
    )


def add_audit(server: grpc.aio.Server, audit: AuditLog, service: str) -> str:
    """Serve the audit log to administrators; the full name of the service that does."""
    from modelyard.v1 import audit_pb2, audit_pb2_grpc
    from services.chassis.audit.servicer import AuditServicer

    audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditServicer(audit, service), server)
    return str(audit_pb2.DESCRIPTOR.services_by_name["AuditService"].full_name)


async def add_health_and_reflection(server: grpc.aio.Server, services: Sequence[str]) -> HealthServicer:
    """Add both; the server and each service are SERVING from now on."""
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    for name in ("", *services):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    _add_reflection(server, services)
    return health


def _add_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
    from grpc_reflection.v1alpha._async import ReflectionServicer

    names = (*services, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(ReflectionServicer(names), server)


def bind(
    server: grpc.aio.Server,
    host: str,
    port: int,
    tls: TlsFiles | None = None,
    *,
    client_certificates: bool = False,
    flag: str = "--port",
) -> int:
    """Listen on host:port (0: any free one) and return the port.

    Raises PortTaken or HostUnusable, naming the flag that would change it.
    """
    _try(host, port, flag)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if tls is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, tls.credentials(client_certificates=client_certificates))
    except RuntimeError as error:
        raise HostUnusable(f"cannot listen on {address}: {error}") from error


def _try(host: str, port: int, flag: str) -> None:
    """Listen for an instant, because gRPC does not say why it cannot."""
    try:
        [(family, kind, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            trial.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"port {port} of {host} is taken; choose another with {flag}") from error
        why = (error.strerror or str(error)).lower()
        raise HostUnusable(f"cannot listen on {host}:{port}: {why}; see --host and {flag}") from error
