"""Who is calling, and what each role may call.

Owns principals, secrets and the form of the rule tables. Knows no gRPC and no database: the
interceptor asks an `Authenticator`, which a service provides.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from services.chassis.errors import InvalidArgument, PermissionDenied, StartRefused, Unauthenticated

ADMIN = "admin"
USER = "user"
VIEWER = "viewer"
AGENT = "agent"
SERVICE = "service"
TASK = "task"
ANONYMOUS = "anonymous"
ON_BEHALF = "service on behalf"
"""In rule tables: a service that names the account for which it calls. SERVICE alone admits it with or without one."""

ROLES = frozenset({ADMIN, USER, VIEWER, AGENT, SERVICE, TASK})
"""Every role that a token or a certificate can give; anonymous is the lack of one."""

RuleTable = Mapping[str, frozenset[str]]
"""Full method ("/modelyard.v1.TaskService/GetTask") -> the roles that may call it."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of one RPC. `node` is set for agents, `task_id` for tasks."""

    role: str
    account: str = ""
    node: str = ""
    task_id: str = ""
    token_id: str = ""


NOBODY = Principal(ANONYMOUS)

_current: ContextVar[Principal] = ContextVar("yard_principal", default=NOBODY)


def principal() -> Principal:
    """The caller of the RPC that this code runs for; anonymous outside of one."""
    return _current.get()


def account_of(caller: Principal) -> str:
    """On whose behalf something is made or listed. Raises AccountRequired."""
    if not caller.account:
        raise AccountRequired(next_step="send the metadata x-yard-account, or use the token of an account")
    return caller.account


def set_principal(caller: Principal) -> None:
    """For the interceptor: from here on this asyncio task runs for `caller`."""
    _current.set(caller)


class TokenMissing(Unauthenticated):
    """This call needs a token: send the metadata 'authorization: Bearer <token>'."""


class TokenInvalid(Unauthenticated):
    """The token is not known, has expired or was revoked."""


class TokenStale(Unauthenticated):
    """The attempt that this token belongs to is over: the task has ended, or another attempt has taken its place."""


class RoleNotAllowed(PermissionDenied):
    """The caller's role may not make this call."""


class BehalfForbidden(PermissionDenied):
    """Only services call on behalf of an account: leave the metadata 'x-yard-account' away."""


class BehalfMissing(PermissionDenied):
    """Services make this call on behalf of an account: name it in the metadata 'x-yard-account'."""


class AccountRequired(InvalidArgument):
    """Agents and services have to say on behalf of which account they act."""


class RpcWithoutRule(PermissionDenied):
    """This call has no access rule, so nobody may make it."""


def on_behalf(caller: Principal, account: str) -> Principal:
    """The service as it acts for `account`. Raises BehalfForbidden for everybody else."""
    if caller.role != SERVICE:
        raise BehalfForbidden
    return replace(caller, account=account)


class Authenticator(Protocol):
    """Turns a bearer token into a principal."""

    async def authenticate(self, secret: str) -> Principal:
        """The principal of `secret`; raises TokenInvalid (or another Unauthenticated leaf)."""
        ...


@runtime_checkable
class Revoking(Protocol):
    """An authenticator that knows when tokens were revoked.

    The guard of a server remembers answers for a few seconds; it forgets all of them, and checks the
    open streams again, as soon as `generation` has another value.
    """

    recheck_s: float
    """How old the last check of an open stream's token may become while nobody says that one was revoked."""

    @property
    def generation(self) -> int:
        """Another number after each revocation."""
        ...

    def subscribe(self, listener: Callable[[], None]) -> None:
        """`listener` is called on the loop after each change of `generation`."""
        ...


def make_secret(kind: str) -> str:
    """A new 256-bit token, `yard_<kind>_<43 url-safe characters>`, which scanners can recognise."""
    return f"yard_{kind}_{secrets.token_urlsafe(32)}"


def hash_secret(secret: str) -> bytes:
    """What is stored of a token. Unsalted on purpose: 256 random bits cannot be guessed."""
    return hashlib.sha256(secret.encode()).digest()


class SecretUnsafe(StartRefused):
    """A secret's file cannot be trusted or read."""


def ensure_secret(path: Path, kind: str) -> str:
    """The secret in `path`, made (mode 0600) if the file is absent; safe when two processes race.

    Raises SecretUnsafe if others may read the file, or if it cannot be read or is empty: there is
    no fallback to another secret.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create(path, make_secret(kind))
        return _read(path)
    except OSError as error:
        raise SecretUnsafe(f"cannot read the secret {path}: {error.strerror}") from error


def _create(path: Path, secret: str) -> None:
    """Write beside and link: whoever comes second finds a complete file, never an empty one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _read(path: Path) -> str:
    with path.open() as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise SecretUnsafe(f"others may read the secret {path} (mode {mode:04o}); run: chmod 600 {path}")
        secret = file.read().strip()
    if not secret:
        raise SecretUnsafe(f"the secret {path} is empty; remove the file to have a new one made")
    return secret
