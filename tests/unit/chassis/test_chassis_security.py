"""Secrets, the memory of tokens, the rules."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from services.chassis.access.admission import Access
from services.chassis.security import (
    ADMIN,
    ANONYMOUS,
    NOBODY,
    ROLES,
    USER,
    Principal,
    RoleNotAllowed,
    RpcWithoutRule,
    SecretUnsafe,
    TokenInvalid,
    TokenMissing,
    ensure_secret,
    hash_secret,
    make_secret,
    principal,
)
from tests.support.echo_service import USER_TOKEN, FewTokens

RULES = {"/x.X/Read": frozenset({ADMIN, USER}), "/x.X/Write": frozenset({ADMIN})}


def test_secret_has_256_bits_and_a_recognisable_prefix() -> None:
    assert re.fullmatch(r"yard_user_[A-Za-z0-9_-]{43}", make_secret("user"))
    assert make_secret("user") != make_secret("user")
    assert len(hash_secret("x")) == 32


def test_secret_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "admin.token"
    secret = ensure_secret(path, "admin")
    assert ensure_secret(path, "admin") == secret
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [item.name for item in path.parent.iterdir()] == ["admin.token"]


def test_secret_made_by_many_at_once_is_one(tmp_path: Path) -> None:
    found: list[str] = []
    path = tmp_path / "a.token"
    threads = [threading.Thread(target=lambda: found.append(ensure_secret(path, "x"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(found)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_secret_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.token"
    ensure_secret(path, "x")
    path.chmod(mode)
    with pytest.raises(SecretUnsafe, match="chmod 600"):
        ensure_secret(path, "x")


def test_secret_that_is_empty_or_unreadable_is_refused_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.token"
    path.touch(0o600)
    with pytest.raises(SecretUnsafe, match="empty"):
        ensure_secret(path, "x")
    assert path.read_text() == ""
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(SecretUnsafe, match="cannot read"):
        ensure_secret(folder, "x")


def test_principal_outside_of_a_call_is_anonymous() -> None:
    assert principal() == NOBODY


def test_rules_allow_only_what_they_name() -> None:
    access = Access(FewTokens(), RULES)
    access.authorise("/x.X/Read", Principal(USER))
    with pytest.raises(RoleNotAllowed):
        access.authorise("/x.X/Write", Principal(USER))
    with pytest.raises(RpcWithoutRule):
        access.authorise("/x.X/Other", Principal(ADMIN))
    with pytest.raises(TokenMissing):
        access.authorise("/x.X/Read", NOBODY)


def test_rules_of_the_chassis_let_anonymous_only_check_health() -> None:
    access = Access(FewTokens(), {})
    assert [method for method, roles in access._rules.items() if ANONYMOUS in roles] == [
        "/grpc.health.v1.Health/Check"
    ]
    audit = access._rules["/modelyard.v1.AuditService/ListAuditEntries"]
    assert audit == {ADMIN}
    assert all(roles >= ROLES for roles in access._rules.values() if roles != audit)


@pytest.mark.asyncio
async def test_token_is_remembered_by_hash_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("services.chassis.access.admission.time.monotonic", lambda: now[0])
    tokens = FewTokens()
    access = Access(tokens, RULES)
    authorization = f"Bearer {USER_TOKEN}"
    assert access.known(authorization) is None
    caller = await access.identify(authorization)
    assert access.known(authorization) == caller
    assert USER_TOKEN not in repr(access._remembered)
    now[0] += 10.1
    assert access.known(authorization) is None


@pytest.mark.asyncio
async def test_token_revoked_while_it_was_checked_is_checked_again() -> None:
    class Slow(FewTokens):
        async def authenticate(self, secret: str) -> Principal:
            found = await super().authenticate(secret)
            self.revoke(secret)
            return found

    access = Access(Slow(), RULES)
    with pytest.raises(TokenInvalid):
        await access.identify(f"Bearer {USER_TOKEN}")
    assert access.known(f"Bearer {USER_TOKEN}") is None
