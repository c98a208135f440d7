"""How this node proves who it is: credentials from a join token, kept in files, renewed in time.

Owns credentials/{token,cert.pem,key.pem,ca.pem,expire}. cryptography is loaded only with TLS.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from modelyard.channel import connect
from modelyard.v1 import agent_link_pb2 as pb
from modelyard.v1.agent_link_pb2_grpc import AgentLinkServiceStub
from services.agent.config import AgentConfig
from services.chassis.errors import StartRefused
from services.chassis.logs import get_logger
from services.chassis.state_dir import write_atomically

_log = get_logger("agent.join")
RENEW_AT = 0.67
"""The share of their lifetime after which credentials are renewed."""


class JoinRefused(StartRefused):
    """The scheduler does not let this machine in."""


class AuthorityMismatch(StartRefused):
    """The certificate of the authority is not the one that was announced."""


@dataclass
class Lifetime:
    """When credentials were given and when they end, wall clock; 0: never."""

    given_ms: int = 0
    expire_ms: int = 0

    def renew_in_s(self, now_ms: int) -> float | None:
        """Seconds until they are to be renewed; None: they never are."""
        if not self.expire_ms:
            return None
        due_ms = self.given_ms + RENEW_AT * (self.expire_ms - self.given_ms)
        return max(1.0, (due_ms - now_ms) / 1000)


class Credentials:
    """Of one node."""

    def __init__(self, directory: Path, node: str, config: AgentConfig) -> None:
        self._directory = directory
        self._node = node
        self._config = config
        self.must_join = False
        """The scheduler has refused what is here."""
        self._pending_key: bytes = b""

    def prepare(self) -> None:
        """Makes the directory and pins the authority. Raises AuthorityMismatch, or JoinRefused where there
        is nothing to join with."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._path("token").exists():
            self._join_token()
        if not self._config.ca_file:
            return
        try:
            pem = Path(self._config.ca_file).expanduser().read_bytes()
            found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).hexdigest()
        except (OSError, ValueError) as error:
            raise AuthorityMismatch(f"ca_file: {self._config.ca_file} cannot be read: {error}") from error
        if self._config.ca_hash and found != self._config.ca_hash.removeprefix("sha256:"):
            raise AuthorityMismatch(
                f"the certificate in {self._config.ca_file} has the hash {found}, not the announced one;"
                " somebody may be in between: get a new join line with yard nodes token"
            )
        write_atomically(self._directory / "ca.pem", pem)

    async def channel(self, address: str) -> grpc.aio.Channel:
        """A channel with the present credentials; joins first if there are none.

        Raises JoinRefused, or AioRpcError if the scheduler cannot be reached.
        """
        if self.must_join or not self._path("token").exists():
            await self._join()
        return self.open_channel(address)

    def open_channel(self, address: str) -> grpc.aio.Channel:
        """A channel with the present credentials, which must exist."""
        return connect(
            address,
            token=self._path("token").read_text().strip(),
            ca_file=self._ca_file(),
            cert_file=self._file("cert.pem"),
            key_file=self._file("key.pem"),
        )

    def lifetime(self) -> Lifetime:
        """Of the present credentials."""
        path = self._path("expire")
        try:
            given, expire = path.read_text().split()
            return Lifetime(int(given), int(expire))
        except (FileNotFoundError, ValueError):
            return Lifetime()

    def renewal(self) -> pb.RenewCredentials:
        """What to ask for; the key of the request is used once its certificate comes."""
        return pb.RenewCredentials(certificate_request_pem=self._request())

    def store(self, credentials: pb.NodeCredentials, now_ms: int) -> None:
        """Keeps what the scheduler has given. The token last: it makes the rest count."""
        if credentials.certificate_pem:
            if self._pending_key:
                write_atomically(self._path("key.pem"), self._pending_key)
            write_atomically(self._path("cert.pem"), credentials.certificate_pem.encode())
        expire_ms = credentials.expire_time.ToMilliseconds() if credentials.HasField("expire_time") else 0
        write_atomically(self._path("expire"), f"{now_ms} {expire_ms}\n".encode())
        if credentials.token:
            write_atomically(self._path("token"), f"{credentials.token}\n".encode())
        self.must_join = False

    async def _join(self) -> None:
        secret = self._join_token()
        request = pb.JoinRequest(join_token=secret, node=self._node, certificate_request_pem=self._request())
        channel = connect(self._config.scheduler, ca_file=self._ca_file())
        try:
            answer = await AgentLinkServiceStub(channel).Join(request)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            raise JoinRefused(
                f"the scheduler at {self._config.scheduler} refused the join token: {error.details()};"
                " get a new one with yard nodes token"
            ) from error
        finally:
            await channel.close()
        if answer.node != self._node:
            raise JoinRefused(
                f"the join token is for the node {answer.node!r}; start this agent with --node {answer.node}"
            )
        self.store(answer.credentials, _now_ms())
        _log.info("node_joined", node=answer.node)

    def _join_token(self) -> str:
        if not self._config.join_token_file:
            raise JoinRefused(
                f"node {self._node!r} has no credentials and no join token;"
                " get one with yard nodes token and pass it with --join-token-file"
            )
        try:
            return Path(self._config.join_token_file).expanduser().read_text().strip()
        except OSError as error:
            raise JoinRefused(
                f"join_token_file: {self._config.join_token_file} cannot be read: {error.strerror}"
            ) from error

    def _request(self) -> str:
        if self._ca_file() is None:
            return ""
        from services.chassis.tls import make_request

        request, self._pending_key = make_request(self._node)
        return request.decode()

    def _ca_file(self) -> Path | None:
        return self._file("ca.pem")

    def _file(self, name: str) -> Path | None:
        path = self._path(name)
        return path if path.exists() else None

    def _path(self, name: str) -> Path:
        return self._directory / name


def _now_ms() -> int:
    from services.chassis.clock import SystemClock

    return SystemClock().now_ms()
