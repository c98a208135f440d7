"""What lets agents and tasks in: join tokens, node credentials, and the tokens of attempts.

A task's token is signed, not stored: it names one attempt, and is good while that attempt is the current one.
"""

import base64
import datetime
import hashlib
import hmac
from collections.abc import Collection
from pathlib import Path

from modelyard.v1 import agent_link_pb2 as pb
from services.chassis.clock import Clock
from services.chassis.security import TASK, Principal, TokenInvalid, TokenStale, hash_secret, make_secret
from services.scheduler.access.accounts import Accounts
from services.scheduler.model import format_task_id, parse_task_id
from services.scheduler.refusals import JoinRefused
from services.scheduler.state.state import State

JOIN_TTL_MS = 15 * 60_000


class Credentials:
    """Issues and checks them. Without ``tls`` no certificates are issued."""

    def __init__(
        self, accounts: Accounts, clock: Clock, key: bytes, state_dir: Path, *, tls: bool, node_ttl_s: float
    ) -> None:
        self._accounts = accounts
        self._clock = clock
        self._key = key
        self._state_dir = state_dir
        self._tls = tls
        self._node_ttl = datetime.timedelta(seconds=node_ttl_s)

    async def join(self, join_token: str, node: str, taken: Collection[str]) -> str:
        """Takes a join token in and returns the name of the node that it lets in.

        Raises `JoinRefused`, or `NodeNameTaken` for the name of another machine.
        """
        digest = hash_secret(join_token)
        allowed = await self._accounts.use_join_token(digest, node, self._clock.now_ms(), taken)
        if allowed is None:
            raise JoinRefused(next_step="make a new one on the yard: yard nodes token")
        return allowed

    async def issue(self, node: str, certificate_request_pem: str) -> pb.NodeCredentials:
        """A fresh token of a node, and a certificate where TLS is on; both live for ``node_ttl_s``."""
        secret = make_secret("agent")
        expire_ms = self._clock.now_ms() + round(self._node_ttl.total_seconds() * 1000)
        await self._accounts.put_agent_token(secret, node, expire_ms)
        credentials = pb.NodeCredentials(token=secret)
        credentials.expire_time.FromMilliseconds(expire_ms)
        if self._tls and certificate_request_pem:
            from services.chassis.process.tls import ensure_authority, sign_request

            authority = ensure_authority(self._state_dir)
            credentials.certificate_pem = sign_request(
                authority, certificate_request_pem.encode(), node, self._node_ttl
            ).decode()
        return credentials

    def sign_task(self, key: int, attempt: int, epoch: int, account: str) -> str:
        """The token of one attempt."""
        text = f"{format_task_id(key)}/{attempt}/{epoch}/{account}".encode()
        mac = hmac.digest(self._key, text, hashlib.sha256)
        return "yard_task_" + base64.urlsafe_b64encode(text + mac).decode().rstrip("=")

    def read_task_token(self, secret: str, state: State) -> Principal:
        """The principal of a task's token. Raises `TokenInvalid`, `TokenStale` (not the current attempt)."""
        encoded = secret.removeprefix("yard_task_")
        try:
            raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        except ValueError as error:
            raise TokenInvalid() from error
        text, mac = raw[:-32], raw[-32:]
        if not hmac.compare_digest(mac, hmac.digest(self._key, text, hashlib.sha256)):
            raise TokenInvalid()
        task_id, attempt, epoch, account = text.decode().split("/", 3)
        task = state.tasks.get(parse_task_id(task_id))
        if task is None or (task.attempt, task.epoch) != (int(attempt), int(epoch)):
            raise TokenStale(next_step="nothing: what this attempt still wants to keep is no longer wanted")
        return Principal(role=TASK, account=account, node=task.node, task_id=task_id)
