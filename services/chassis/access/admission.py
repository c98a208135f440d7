"""Who may call what, for one server: authentication with a short memory, the rule table, and the
watch over open streams.

Owns the memory of tokens (by hash, a few seconds) and nothing durable. The rules of health,
reflection and the audit log are added here, because every server has those services.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from services.chassis.errors import Unauthenticated
from services.chassis.logs import get_logger
from services.chassis.security import (
    ADMIN,
    AGENT,
    ANONYMOUS,
    NOBODY,
    ON_BEHALF,
    ROLES,
    SERVICE,
    TASK,
    Authenticator,
    BehalfMissing,
    Principal,
    Revoking,
    RoleNotAllowed,
    RpcWithoutRule,
    RuleTable,
    TokenMissing,
    hash_secret,
)

REMEMBER_S = 10.0
STREAM_CHECK_FAR_S = 60.0
"""How old the last check of an open stream's token may become, where revocations are known only by asking."""
STREAM_LOOK_S = 15.0
"""How often it is looked at how old the last check of an open stream is."""
_REMEMBERED_MOST = 10_000

_CHASSIS_RULES: Mapping[str, frozenset[str]] = {
    "/modelyard.v1.AuditService/ListAuditEntries": frozenset({ADMIN}),
    "/grpc.health.v1.Health/Check": ROLES | {ANONYMOUS},
    "/grpc.health.v1.Health/List": ROLES,
    "/grpc.health.v1.Health/Watch": ROLES,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": ROLES,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": ROLES,
}

_NODE_URI = b"modelyard:node:"

_log = get_logger("chassis.access")


class Access:
    """The guard of one server."""

    def __init__(
        self, authenticator: Authenticator, rules: RuleTable, *, stream_look_s: float = STREAM_LOOK_S
    ) -> None:
        self.stream_look_s = stream_look_s
        self._authenticator = authenticator
        self._revoking = authenticator if isinstance(authenticator, Revoking) else None
        self.stream_check_s = STREAM_CHECK_FAR_S
        self._rules = {**_CHASSIS_RULES, **rules}
        self._remembered: dict[bytes, tuple[Principal, float]] = {}
        self._generation = self.generation
        self._watches: set[StreamWatch] = set()
        if self._revoking is not None:
            self.stream_check_s = self._revoking.recheck_s
            self._revoking.subscribe(self._revoked)

    @property
    def generation(self) -> int:
        """Changes when tokens were revoked."""
        return self._revoking.generation if self._revoking is not None else 0

    def known(self, authorization: str) -> Principal | None:
        """The caller, if the token was checked a moment ago; costs no await."""
        if not authorization:
            return None
        if self.generation != self._generation:
            self._generation = self.generation
            self._remembered.clear()
        found = self._remembered.get(hash_secret(authorization))
        if found is None or found[1] < time.monotonic():
            return None
        return found[0]

    async def identify(self, authorization: str, context: Any = None) -> Principal:
        """The caller by token, else by client certificate, else nobody. Raises Unauthenticated leaves."""
        if not authorization:
            return _by_certificate(context) or NOBODY
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise TokenMissing
        while True:
            generation = self.generation
            caller = await self._authenticator.authenticate(secret.strip())
            if generation == self.generation:
                self._remember(authorization, caller)
                return caller
            # It may have been revoked meanwhile.

    def _remember(self, authorization: str, caller: Principal) -> None:
        if caller.role == TASK:
            # Its attempt may be over at any moment, and nobody says so: it is asked for each time.
            return
        if len(self._remembered) >= _REMEMBERED_MOST:
            self._remembered.clear()
        self._remembered[hash_secret(authorization)] = (caller, time.monotonic() + REMEMBER_S)

    def authorise(self, method: str, caller: Principal) -> None:
        """Raise unless the rule table lets the caller's role make this call."""
        allowed = self._rules.get(method)
        if allowed is not None:
            if caller.role in allowed:
                return
            if caller.role == SERVICE and ON_BEHALF in allowed:
                if caller.account:
                    return
                raise BehalfMissing(metadata={"rpc": method})
        if caller.role == ANONYMOUS:
            raise TokenMissing(
                next_step="yard up writes a token for this user; yard tokens create makes more"
            )
        if allowed is None:
            raise RpcWithoutRule(metadata={"rpc": method})
        raise RoleNotAllowed(
            f"the role {caller.role!r} may not call {method}",
            next_step=f"use a token with one of the roles: {', '.join(sorted(allowed - {ON_BEHALF})) or 'none'}",
            metadata={"rpc": method, "role": caller.role},
        )

    def watch(self, authorization: str) -> StreamWatch | None:
        """Watch the stream that the current task serves; None when it has no token to lose."""
        if not authorization:
            return None
        watch = StreamWatch(self, authorization, on_stop=self._watches.discard)
        self._watches.add(watch)
        return watch

    def _revoked(self) -> None:
        """Tokens were revoked: every open stream's is checked again, now."""
        for watch in tuple(self._watches):
            watch.look()


class StreamWatch:
    """Cancels a stream's task once its token is revoked; `refusal` then says so."""

    def __init__(self, access: Access, authorization: str, *, on_stop: Callable[[StreamWatch], None]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.refusal: Unauthenticated | None = None
        self._access = access
        self._authorization = authorization
        self._on_stop = on_stop
        self._stream = task
        self._loop = asyncio.get_running_loop()
        self._checked = (access.generation, self._loop.time())
        self._check: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(access.stream_look_s, self.look)

    def stop(self) -> None:
        """The stream has ended."""
        self._on_stop(self)
        self._timer.cancel()
        if self._check is not None:
            self._check.cancel()

    def look(self) -> None:
        """Check the token again if tokens were revoked or the last check is old."""
        if self._check is not None:  # under way; when it is done it finds out whether it came too early
            return
        self._timer.cancel()
        generation, checked_at = self._checked
        if (
            generation != self._access.generation
            or self._loop.time() - checked_at >= self._access.stream_check_s
        ):
            self._check = self._loop.create_task(self._authenticate(), name="stream-token-check")
        else:
            self._again(self._access.stream_look_s)

    def _again(self, delay_s: float) -> None:
        self._timer = self._loop.call_later(delay_s, self.look)

    async def _authenticate(self) -> None:
        generation = self._access.generation
        try:
            await self._access.identify(self._authorization)
        except Unauthenticated as refusal:
            self.refusal = refusal
            self._stream.cancel()
            return
        except Exception as error:  # the stream outlives an authenticator that cannot answer
            _log.warning("stream_token_check_failed", reason=f"{type(error).__name__}: {error}")
        else:
            self._checked = (generation, self._loop.time())
        self._check = None
        self._again(self._access.stream_look_s if generation == self._access.generation else 0)


def _by_certificate(context: Any) -> Principal | None:
    """The node that a verified client certificate names. Only a port that demands one can show it."""
    if context is None:
        return None
    node = certified_node(context)
    return Principal(AGENT, node=node) if node else None


def certified_node(context: Any) -> str:
    """The node that the connection's client certificate names; "" without one."""
    names: list[bytes] = context.auth_context().get("x509_subject_alternative_name", [])
    found = (name[len(_NODE_URI) :].decode() for name in names if name.startswith(_NODE_URI))
    return next(found, "")
