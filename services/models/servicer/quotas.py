"""ModelQuotaService: what accounts may have in the catalogue and under way, and what they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc.aio

from modelyard.errors import from_rpc_error
from modelyard.v1 import account_pb2, account_pb2_grpc, model_pb2_grpc
from modelyard.v1 import model_pb2 as pb
from services.chassis.errors import InvalidArgument, NotFound, PermissionDenied
from services.chassis.logs import get_logger
from services.chassis.peers.sessions import on_behalf_of
from services.chassis.requests.answers import Answers
from services.chassis.security import ADMIN, account_of, principal
from services.models.calls.flights import Flights
from services.models.catalogue import effects as e
from services.models.catalogue import events as ev
from services.models.catalogue import wording
from services.models.catalogue.engine import Engine
from services.models.catalogue.machine import check_room
from services.models.quotas import FIELDS, NO_QUOTA, NOTHING, changed

ACCOUNTS_MOST = 1_000
ASK_S = 5.0
_log = get_logger("models.quotas")


class QuotaNotYours(PermissionDenied):
    """The quota of another account is for administrators to see."""


class QuotaAccountUnknown(NotFound):
    """There is no such account."""


class QuotaRequestInvalid(InvalidArgument):
    """The request does not say which account, or what is to change."""


class ModelQuotaServicer(model_pb2_grpc.ModelQuotaServiceServicer):
    """Users see their own; administrators see and set all."""

    def __init__(
        self, engine: Engine, flights: Flights, answers: Answers, scheduler: grpc.aio.Channel
    ) -> None:
        self._engine = engine
        self._flights = flights
        self._answers = answers
        self._accounts = account_pb2_grpc.AccountServiceStub(scheduler)

    async def ListModelQuotas(
        self, request: pb.ListModelQuotasRequest, context: Any
    ) -> pb.ListModelQuotasResponse:
        caller = principal()
        wanted = list(request.accounts) or [account_of(caller)]
        if len(wanted) > ACCOUNTS_MOST:
            raise QuotaRequestInvalid(
                f"{len(wanted)} accounts are more than {ACCOUNTS_MOST}", field="accounts"
            )
        if caller.role != ADMIN:
            for number, account in enumerate(wanted):
                if account != caller.account:
                    raise QuotaNotYours(f"{account[:80]} is not your account", field=f"accounts[{number}]")
        async with self._engine.quiet:
            return pb.ListModelQuotasResponse(quotas=self._messages(wanted))

    async def UpdateModelQuota(
        self, request: pb.UpdateModelQuotaRequest, context: Any
    ) -> pb.UpdateModelQuotaResponse:
        given = {field.name: value for field, value in request.ListFields() if field.name in FIELDS}
        if not given:
            raise QuotaRequestInvalid(
                "nothing is to change", field="max_versions", next_step=f"set one of {', '.join(FIELDS)}"
            )
        changed(NO_QUOTA, given)
        await self._check_account(request.account)
        if request.validate_only:
            return await self._as_it_would_be(request.account, given)
        made: list[pb.UpdateModelQuotaResponse] = []
        keep = self._answers.keep(lambda answer: made[0])

        def kept(connection: Any, answer: e.Answer) -> None:
            made[:] = [pb.UpdateModelQuotaResponse(quota=self._messages([request.account])[0])]
            keep(connection, answer)

        reply, answer = self._engine.new_reply(kept)
        self._engine.post(ev.QuotaSet(reply, account=request.account, given=given))
        await answer
        return made[0]

    async def _as_it_would_be(self, account: str, given: dict[str, int]) -> pb.UpdateModelQuotaResponse:
        async with self._engine.quiet:
            [now] = self._messages([account])
        for name, value in given.items():
            setattr(now.quota, name, value)
        return pb.UpdateModelQuotaResponse(quota=now)

    async def CheckModelQuota(
        self, request: pb.CheckModelQuotaRequest, context: Any
    ) -> pb.CheckModelQuotaResponse:
        account = account_of(principal())
        name = wording.check_model_name(request.model)
        if request.size_bytes < 0:
            raise QuotaRequestInvalid(f"{request.size_bytes} bytes are no size", field="size_bytes")
        model = self._engine.state.models.get(name)
        latest = self._engine.state.find(name, model.last_number) if model is not None else None
        if latest is None or not request.digest or latest.version.digest != request.digest:
            check_room(self._engine.state, account, request.size_bytes)
        return pb.CheckModelQuotaResponse()

    def _messages(self, accounts: Sequence[str]) -> list[pb.AccountModelQuota]:
        holdings, quotas = self._engine.state.holdings(), self._engine.state.quotas
        found = []
        for account in accounts:
            quota, holding = quotas.get(account, NO_QUOTA), holdings.get(account, NOTHING)
            found.append(
                pb.AccountModelQuota(
                    account=account,
                    quota=pb.ModelQuota(**{name: getattr(quota, name) for name in FIELDS}),
                    usage=pb.ModelQuotaUsage(
                        version_count=holding.version_count, component_bytes=holding.component_bytes,
                        call_count=self._flights.count(account),
                    ),
                )
            )  # fmt: skip
        return found

    async def _check_account(self, account: str) -> None:
        """Raises QuotaAccountUnknown. A scheduler that does not answer is no hindrance: the word may be said ahead."""
        if not account or len(account) > 100 or not account.isprintable():
            raise QuotaRequestInvalid(
                f"{account[:80]!r} is no account", field="account", next_step="yard accounts ls"
            )
        try:
            await self._accounts.GetAccount(
                account_pb2.GetAccountRequest(name=account), metadata=on_behalf_of(account), timeout=ASK_S
            )
        except grpc.aio.AioRpcError as error:
            refusal = from_rpc_error(error)
            if refusal.code == "NOT_FOUND":
                raise QuotaAccountUnknown(
                    f"there is no account {account!r}", field="account", next_step="yard accounts ls"
                ) from error
            _log.warning("account_not_checked", account=account, reason=refusal.reason)
