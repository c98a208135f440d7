"""How this node proves who it is: credentials from a join token, kept in files, renewed in time.

Owns credentials/: ca.pem, the pinned authority; node.pem, key and certificate in one file, so that they
always belong together; node.json, the token, its times and the agents' port, written last: it makes the
rest count. cryptography is loaded only with TLS.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import grpc.aio
import msgspec

from modelyard.channel import connect, is_local
from modelyard.v1 import agent_link_pb2 as pb
from modelyard.v1.agent_link_pb2_grpc import AgentLinkServiceStub
from services.agent.config import AgentConfig
from services.agent.link.authority import AuthorityMismatch, check_authority, fetch_authority
from services.chassis.errors import StartRefused
from services.chassis.logs import get_logger
from services.chassis.process.state_dir import write_atomically

_log = get_logger("agent.join")
RENEW_AT = 0.67
"""The share of their lifetime after which credentials are renewed."""
SOONEST_S = 0.5


class JoinRefused(StartRefused):
    """The scheduler does not let this machine in."""


class SchedulerUnreachable(Exception):
    """Nobody answers at the scheduler's address; it may come later."""


class Record(msgspec.Struct, frozen=True):
    """What node.json holds. Times are wall clock; expire_ms 0: never. agent_port 0: the scheduler's own."""

    token: str
    given_ms: int = 0
    expire_ms: int = 0
    agent_port: int = 0

    def renew_in_s(self, now_ms: int) -> float | None:
        """Seconds until the credentials are to be renewed; None: they never are."""
        if not self.expire_ms:
            return None
        due_ms = self.given_ms + RENEW_AT * (self.expire_ms - self.given_ms)
        return max(SOONEST_S, (due_ms - now_ms) / 1000)


class Credentials:
    """Of one node."""

    def __init__(self, directory: Path, node: str, config: AgentConfig) -> None:
        self._directory = directory
        self._node = node
        self._config = config
        self.must_join = False
        """The scheduler has refused what is here."""
        self._pending_key: bytes = b""
        self._record: Record | None = None
        self._is_of_before = False
        """The certificate was made when nodes were not dialled yet: a new one is asked for."""

    def prepare(self) -> None:
        """Makes the directory and pins the configured authority. Raises AuthorityMismatch, or JoinRefused
        where there is nothing to join with."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._record = self._read()
        self._is_of_before = self._record is not None and not self._serves()
        announced = self._config.ca_hash.removeprefix("sha256:")
        if self._record is None:
            announced = announced or _announced(self._join_token())
        if not self._config.ca_file:
            return
        try:
            pem = Path(self._config.ca_file).expanduser().read_bytes()
            check_authority(pem, announced)
        except (OSError, ValueError) as error:
            raise AuthorityMismatch(f"ca_file: {self._config.ca_file} cannot be read: {error}") from error
        write_atomically(self._directory / "ca.pem", pem)

    async def agent_channel(self) -> grpc.aio.Channel:
        """To the scheduler as this node, with token and certificate; joins first if need be.

        Raises JoinRefused, AuthorityMismatch, SchedulerUnreachable, or AioRpcError.
        """
        if self.must_join or self._record is None:
            await self._join()
        record = self._present()
        host, _, port = self._config.scheduler.rpartition(":")
        identity = self._file("node.pem")
        return connect(
            f"{host}:{record.agent_port or port}",
            token=record.token,
            ca_file=self._file("ca.pem"),
            cert_file=identity,
            key_file=identity,
        )

    @property
    def ca_file(self) -> str:
        """Of the yard's authority, as tasks are told; empty: it has none."""
        return str(self._file("ca.pem") or "")

    @property
    def identity_file(self) -> str:
        """Of the node itself: key and certificate; empty: it has none."""
        return str(self._file("node.pem") or "")

    def store_channel(self) -> grpc.aio.Channel:
        """To the store, with the node's token. The node must have joined."""
        record = self._present()
        return connect(self._config.store_address, token=record.token, ca_file=self._file("ca.pem"))

    def trainer_channel(self, address: str) -> grpc.aio.Channel:
        """To a trainer, as to the store. Raises JoinRefused before the node has joined."""
        record, identity = self._present(), self._file("node.pem")
        return connect(
            address,
            token=record.token,
            ca_file=self._file("ca.pem"),
            cert_file=identity,
            key_file=identity,
        )

    def renew_in_s(self, now_ms: int) -> float | None:
        """Seconds until the present credentials are to be renewed; None: they never are."""
        if self._is_of_before:
            return SOONEST_S
        return self._present().renew_in_s(now_ms)

    def renewal(self) -> pb.RenewCredentials:
        """What to ask for; the key of the request is used once its certificate comes."""
        return pb.RenewCredentials(certificate_request_pem=self._request())

    def store(self, credentials: pb.NodeCredentials, now_ms: int, agent_port: int | None = None) -> None:
        """Keeps what the scheduler has given; without agent_port that stays as it is."""
        if credentials.certificate_pem and self._pending_key:
            pem = self._pending_key + credentials.certificate_pem.encode()
            write_atomically(self._path("node.pem"), pem)
        known = self._record
        record = Record(
            credentials.token or (known.token if known else ""),
            now_ms,
            credentials.expire_time.ToMilliseconds() if credentials.HasField("expire_time") else 0,
            (known.agent_port if known else 0) if agent_port is None else agent_port,
        )
        write_atomically(self._path("node.json"), msgspec.json.encode(record) + b"\n")
        self._record = record
        self.must_join = False
        # Whatever came: an older scheduler gives no other, and is not to be asked again and again.
        self._is_of_before = False

    async def _join(self) -> None:
        secret = self._join_token()
        await self._pin(_announced(secret))
        if self._file("ca.pem") is None and not is_local(self._config.scheduler):
            raise JoinRefused(
                f"the join token names no authority, and {self._config.scheduler} is another machine: it would"
                " be sent in the clear; serve the yard with TLS and get a join line with yard nodes token"
            )
        request = pb.JoinRequest(join_token=secret, node=self._node, certificate_request_pem=self._request())
        channel = connect(self._config.scheduler, ca_file=self._file("ca.pem"))
        try:
            answer = await AgentLinkServiceStub(channel).Join(request)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            is_named_wrong = error.code() is grpc.StatusCode.INVALID_ARGUMENT
            refused = "to take this node" if is_named_wrong else "the join token"
            remedy = (
                "name it by --node, with a letter first"
                if is_named_wrong
                else "get a new one with yard nodes token"
            )
            raise JoinRefused(
                f"the scheduler at {self._config.scheduler} refused {refused}: {error.details()}; {remedy}"
            ) from error
        finally:
            await channel.close()
        if answer.node != self._node:
            raise JoinRefused(
                f"the join token is for the node {answer.node!r}; start this agent with --node {answer.node}"
            )
        self.store(answer.credentials, _now_ms(), answer.agent_port)
        _log.info("node_joined", node=answer.node, certificate=bool(answer.credentials.certificate_pem))

    async def _pin(self, announced: str) -> None:
        """Makes sure of the authority that the join token names, before the token is shown to anybody."""
        if not announced or self._config.ca_file:
            return
        address = self._config.scheduler
        try:
            pem = await asyncio.to_thread(fetch_authority, address, announced)
        except OSError as error:
            raise SchedulerUnreachable(f"{address}: {error.strerror or error}") from error
        write_atomically(self._path("ca.pem"), pem)

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
        if self._file("ca.pem") is None:
            return ""
        from services.chassis.process.tls import make_request

        request, self._pending_key = make_request(self._node)
        return request.decode()

    def _serves(self) -> bool:
        path = self._file("node.pem")
        if path is None:
            return True
        from services.chassis.process.tls import serves

        try:
            return serves(path.read_bytes())
        except ValueError:
            # Its use will say what is wrong.
            return True

    def _present(self) -> Record:
        if self._record is None:
            raise JoinRefused(f"node {self._node!r} has not joined")
        return self._record

    def _read(self) -> Record | None:
        try:
            return msgspec.json.decode(self._path("node.json").read_bytes(), type=Record)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise JoinRefused(
                f"{self._path('node.json')} is damaged: {error}; remove it and let the node join again"
            ) from error

    def _file(self, name: str) -> Path | None:
        path = self._path(name)
        return path if path.exists() else None

    def _path(self, name: str) -> Path:
        return self._directory / name


def _announced(join_token: str) -> str:
    """The authority's sha256 that the token carries behind its dot; "": none."""
    return join_token.partition(".")[2]


def _now_ms() -> int:
    from services.chassis.clock import SystemClock

    return SystemClock().now_ms()
