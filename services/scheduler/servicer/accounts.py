"""AccountService: accounts, tokens, and whose token this is."""

from collections.abc import AsyncIterator
from typing import Any

from modelyard.v1 import account_pb2 as pb
from modelyard.v1 import account_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.requests.marks import unmarked
from services.chassis.requests.paging import decode_token, encode_token, page_size
from services.chassis.security import (
    ADMIN,
    TASK,
    USER,
    VIEWER,
    Authenticator,
    Principal,
    make_secret,
    principal,
)
from services.scheduler.access.accounts import AccountRow, Accounts, TokenRow
from services.scheduler.engine import Engine
from services.scheduler.intake.answers import Answers
from services.scheduler.intake.specs import NAME
from services.scheduler.intake.submission import check_request_id
from services.scheduler.queues.shares import AccountSettings
from services.scheduler.refusals import InvalidRequest, NotYourAccount, TokenNotFound
from services.scheduler.requests.sharing import merged
from services.scheduler.servicer import terms
from services.scheduler.state.events import AccountChanged, AccountClosed, AccountOpened

REMEMBER_S = 60
MOST_TTL_MS = 10 * 365 * 86_400_000
_ROLES = {pb.ROLE_ADMIN: ADMIN, pb.ROLE_USER: USER, pb.ROLE_VIEWER: VIEWER}


class AccountServicer(account_pb2_grpc.AccountServiceServicer):
    """Administrators manage accounts; users the tokens of their own."""

    def __init__(
        self,
        engine: Engine,
        accounts: Accounts,
        answers: Answers,
        authenticator: Authenticator,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._answers = answers
        self._accounts = accounts
        self._authenticator = authenticator
        self._clock = clock

    async def CreateAccount(self, request: pb.CreateAccountRequest, context: Any) -> pb.CreateAccountResponse:
        check_request_id(request.request_id)
        if not NAME.fullmatch(request.name):
            raise InvalidRequest(
                f"{request.name[:80]!r} is not an account's name", field="name",
                next_step="letters, digits, '_', '-' and '.', beginning with a letter",
            )  # fmt: skip
        kept = self._answers.keep(_created)
        row = await self._accounts.create(request.name, kept)
        self._engine.post(AccountOpened(row.name))
        return _created(row)

    async def GetAccount(self, request: pb.GetAccountRequest, context: Any) -> pb.GetAccountResponse:
        name = _own_account(principal(), request.name)
        return pb.GetAccountResponse(account=self._view(await self._accounts.require(name, "name")))

    async def ListAccounts(self, request: pb.ListAccountsRequest, context: Any) -> pb.ListAccountsResponse:
        size = page_size(request.page_size)
        rows = await self._accounts.list(decode_token(request.page_token, b"accounts"), size + 1)
        token = encode_token(rows[size - 1].name, b"accounts") if len(rows) > size else ""
        return pb.ListAccountsResponse(
            accounts=[self._view(row) for row in rows[:size]], next_page_token=token
        )

    async def UpdateAccount(self, request: pb.UpdateAccountRequest, context: Any) -> pb.UpdateAccountResponse:
        check_request_id(request.request_id)
        row = await self._accounts.require(request.account.name, "account.name")
        wanted = terms.account_settings(request.account)
        paths = terms.meant_paths(request.account, request.update_mask, terms.ACCOUNT_PATHS)
        known = self._engine.state.waiting.tenancy.accounts.get(row.name)
        settings = known.settings if known is not None else AccountSettings()
        terms.check_quota(merged(settings, wanted, paths).quota, "account.quota")
        if request.validate_only:
            return pb.UpdateAccountResponse(account=self._view(row))
        reply, answer = self._engine.new_reply()
        self._engine.post(AccountChanged(reply, row.name, paths, wanted))
        await answer
        return pb.UpdateAccountResponse(account=self._view(row))

    def _view(self, row: AccountRow) -> pb.Account:
        view = _account(row)
        terms.fill_account(view, self._engine.state)
        return view

    async def DeleteAccount(self, request: pb.DeleteAccountRequest, context: Any) -> pb.DeleteAccountResponse:
        check_request_id(request.request_id)
        await self._accounts.require(request.name, "name")
        if request.name == principal().account:
            raise InvalidRequest("this is your own account", field="name")
        reply, answer = self._engine.new_reply()
        with unmarked():
            self._engine.post(AccountClosed(reply, request.name))
        await answer
        kept = self._answers.keep(lambda _: pb.DeleteAccountResponse())
        await self._accounts.delete(request.name, kept)
        return pb.DeleteAccountResponse()

    async def CreateToken(self, request: pb.CreateTokenRequest, context: Any) -> pb.CreateTokenResponse:
        check_request_id(request.request_id)
        caller = principal()
        account = _own_account(caller, request.account)
        await self._accounts.require(account, "account")
        role = _ROLES.get(request.role)
        if role is None or (role == ADMIN and caller.role != ADMIN):
            raise InvalidRequest(
                "role must be ROLE_USER or ROLE_VIEWER, or ROLE_ADMIN from an administrator", field="role"
            )
        expire_ms = 0
        if request.HasField("ttl"):
            ttl_ms = request.ttl.seconds * 1000
            if not 0 < ttl_ms <= MOST_TTL_MS:
                raise InvalidRequest("ttl is not within 10 years", field="ttl")
            expire_ms = self._clock.now_ms() + ttl_ms
        secret = make_secret(role)

        def response(row: TokenRow) -> pb.CreateTokenResponse:
            return pb.CreateTokenResponse(token=_token(row), secret=secret)

        row = await self._accounts.put_token(
            secret,
            account,
            role,
            comment=request.comment[:200],
            expire_ms=expire_ms,
            kept=self._answers.keep(response),
        )
        return response(row)

    async def ListTokens(self, request: pb.ListTokensRequest, context: Any) -> pb.ListTokensResponse:
        caller = principal()
        account = request.account or (None if caller.role == ADMIN else caller.account)
        if account is not None:
            _own_account(caller, account)
        size = page_size(request.page_size)
        key = (account or "").encode()
        rows = await self._accounts.list_tokens(account, decode_token(request.page_token, key), size + 1)
        token = encode_token(rows[size - 1].id, key) if len(rows) > size else ""
        return pb.ListTokensResponse(tokens=[_token(row) for row in rows[:size]], next_page_token=token)

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Any) -> pb.RevokeTokenResponse:
        check_request_id(request.request_id)
        caller = principal()
        row = await self._accounts.get_token(request.token_id)
        if caller.role != ADMIN and row.account != caller.account:
            raise TokenNotFound(f"there is no token {request.token_id!r}", field="token_id")
        if caller.role != ADMIN and row.role == ADMIN:
            raise NotYourAccount("administrators' tokens are ended by administrators", field="token_id")
        kept = self._answers.keep(lambda _: pb.RevokeTokenResponse())
        await self._accounts.revoke(request.token_id, kept)
        return pb.RevokeTokenResponse()

    async def GetIdentity(self, request: pb.GetIdentityRequest, context: Any) -> pb.GetIdentityResponse:
        return pb.GetIdentityResponse(identity=_identity(principal()))

    async def ResolveToken(self, request: pb.ResolveTokenRequest, context: Any) -> pb.ResolveTokenResponse:
        caller = await self._authenticator.authenticate(request.secret)
        response = pb.ResolveTokenResponse(identity=_identity(caller))
        # An attempt may be over at any moment, and then must not write any more.
        response.valid_for.FromSeconds(0 if caller.role == TASK else REMEMBER_S)
        return response

    async def WatchRevocations(
        self, request: pb.WatchRevocationsRequest, context: Any
    ) -> AsyncIterator[pb.WatchRevocationsResponse]:
        revocations = self._accounts.revocations
        with revocations.watch() as changed:
            while True:
                changed.clear()
                yield pb.WatchRevocationsResponse(revision=revocations.revision)
                await changed.wait()


def _own_account(caller: Principal, asked: str) -> str:
    if asked and asked != caller.account and caller.role != ADMIN:
        raise NotYourAccount(f"{asked} is not your account", field="account")
    return asked or caller.account


def _created(row: AccountRow) -> pb.CreateAccountResponse:
    return pb.CreateAccountResponse(account=_account(row))


def _account(row: AccountRow) -> pb.Account:
    view = pb.Account(name=row.name)
    view.create_time.FromMilliseconds(row.create_ms)
    return view


def _role(name: str) -> pb.Role.ValueType:
    return pb.Role.Value(f"ROLE_{name.upper()}")


def _token(row: TokenRow) -> pb.Token:
    view = pb.Token(id=row.id, account=row.account, role=_role(row.role), comment=row.comment)
    view.create_time.FromMilliseconds(row.create_ms)
    if row.expire_ms:
        view.expire_time.FromMilliseconds(row.expire_ms)
    return view


def _identity(caller: Principal) -> pb.Identity:
    return pb.Identity(
        role=_role(caller.role), account=caller.account, node=caller.node, task_id=caller.task_id,
        token_id=caller.token_id,
    )  # fmt: skip
