"""`client.accounts` and `client.tokens`: who may ask for what."""

from __future__ import annotations

from functools import cached_property
from typing import Unpack

from modelyard.client.connection import Connection, new_request_id
from modelyard.client.sharing import QuotaChanges, fill
from modelyard.client.specs import InvalidSpecification, duration
from modelyard.v1 import account_pb2, account_pb2_grpc

ROLES = {
    "user": account_pb2.ROLE_USER,
    "viewer": account_pb2.ROLE_VIEWER,
    "admin": account_pb2.ROLE_ADMIN,
}


class Accounts:
    """The accounts; for administrators."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _stub(self) -> account_pb2_grpc.AccountServiceAsyncStub:
        return account_pb2_grpc.AccountServiceStub(self._connection.scheduler())

    async def add(self, name: str) -> account_pb2.Account:
        """Makes an account."""
        request = account_pb2.CreateAccountRequest(request_id=new_request_id(), name=name)
        return (await self._connection.unary(self._stub.CreateAccount, request)).account

    async def get(self, name: str = "") -> account_pb2.Account:
        """An account with its quota and what it holds; unnamed: the caller's own."""
        request = account_pb2.GetAccountRequest(name=name)
        return (await self._connection.unary(self._stub.GetAccount, request)).account

    async def set(
        self, name: str, *, validate_only: bool = False, **changes: Unpack[QuotaChanges]
    ) -> account_pb2.Account:
        """Changes weight and quota as far as they are named here; the rest stays. `validate_only`: only checks."""
        request = account_pb2.UpdateAccountRequest(
            request_id=new_request_id(),
            account=account_pb2.Account(name=name),
            validate_only=validate_only,
        )
        request.update_mask.paths.extend(fill(request.account, changes))
        return (await self._connection.unary(self._stub.UpdateAccount, request)).account

    async def list(self, *, page_size: int = 0, page_token: str = "") -> account_pb2.ListAccountsResponse:
        """One page of accounts."""
        request = account_pb2.ListAccountsRequest(page_size=page_size, page_token=page_token)
        return await self._connection.unary(self._stub.ListAccounts, request)

    async def remove(self, name: str) -> None:
        """Ends an account and its tokens. Refused while it has unfinished tasks."""
        request = account_pb2.DeleteAccountRequest(request_id=new_request_id(), name=name)
        await self._connection.unary(self._stub.DeleteAccount, request)

    async def identity(self) -> account_pb2.Identity:
        """Who the caller is."""
        request = account_pb2.GetIdentityRequest()
        return (await self._connection.unary(self._stub.GetIdentity, request)).identity


class Tokens:
    """The secrets that speak for accounts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _stub(self) -> account_pb2_grpc.AccountServiceAsyncStub:
        return account_pb2_grpc.AccountServiceStub(self._connection.scheduler())

    async def add(
        self,
        account: str = "",
        *,
        role: str = "user",
        ttl: float | str | None = None,
        comment: str = "",
    ) -> account_pb2.CreateTokenResponse:
        """Makes a token; its secret is in this answer and nowhere else."""
        if role not in ROLES:
            raise InvalidSpecification(f"{role!r} is no role; choose {', '.join(ROLES)}", "role")
        request = account_pb2.CreateTokenRequest(
            request_id=new_request_id(), account=account, role=ROLES[role], comment=comment
        )
        if ttl is not None:
            request.ttl.CopyFrom(duration(ttl, "ttl"))
        return await self._connection.unary(self._stub.CreateToken, request)

    async def list(
        self, account: str = "", *, page_size: int = 0, page_token: str = ""
    ) -> account_pb2.ListTokensResponse:
        """One page of tokens, without their secrets."""
        request = account_pb2.ListTokensRequest(account=account, page_size=page_size, page_token=page_token)
        return await self._connection.unary(self._stub.ListTokens, request)

    async def remove(self, token_id: str) -> None:
        """Ends a token at once."""
        request = account_pb2.RevokeTokenRequest(request_id=new_request_id(), token_id=token_id)
        await self._connection.unary(self._stub.RevokeToken, request)
