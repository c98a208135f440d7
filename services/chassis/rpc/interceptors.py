"""What happens around every RPC, in this order: request id, authentication, authorisation, deadline,
the handler, error mapping, one log line, metrics.

Owns the one interceptor of a server, which wraps each method's handler once. Unary calls pass through
it thousands of times a second, so the path without an error allocates little; streams pay once.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from modelyard.channel import ACCOUNT_KEY, REQUEST_ID_KEY, UNARY_TIMEOUT_S, incoming
from modelyard.errors import YardError
from services.chassis import logs
from services.chassis.access.admission import Access
from services.chassis.audit.entry import SOON, Entry, is_change, resources_of
from services.chassis.audit.log import AuditLog, Caller, set_current
from services.chassis.errors import Internal, ServiceError, Unavailable
from services.chassis.metrics.registry import Metrics, NoMetrics
from services.chassis.rpc import status
from services.chassis.rpc.deadline import Cap, too_long, uncancel
from services.chassis.rpc.decoding import MALFORMED, MalformedMessage, marking, refusing
from services.chassis.rpc.linger import let_finish
from services.chassis.security import ADMIN, NOBODY, USER, VIEWER, Principal, on_behalf, set_principal

__all__ = ["WAIT_TIMEOUT_S", "InternalError", "MalformedMessage", "PeerFailed", "RpcInterceptor"]

WAIT_TIMEOUT_S = 310.0
"""The most that a unary RPC whose name begins with Wait may take; others have UNARY_TIMEOUT_S."""

_NO_LONG_CALLS: Mapping[str, float] = {}
_INFINITY = float("inf")
# Probes come every second from every side.
_QUIET = "/grpc.health.v1.Health/"
# Thousands a second, each counted by whom it was and how it went: a line is written of those that failed.
_COUNTED = frozenset({"/inference.GRPCInferenceService/ModelInfer"})
_REQUEST_ID_CHARACTERS_MOST = 64
# What they change is in the audit log before the answer; services and agents note what they do within a second.
_PEOPLE = frozenset({ADMIN, USER, VIEWER})

_log = logs.get_logger("rpc")


class PeerFailed(Unavailable):
    """Another service that this call needs did not answer as it should; repeat in a moment."""


class InternalError(Internal):
    """The service made a mistake; quote the request id to an administrator, who finds it in the log."""

    reason = "INTERNAL"


Servicer = grpc.aio.ServicerContext[Any, Any]


class RpcInterceptor(grpc.aio.ServerInterceptor):
    """The only interceptor of a server."""

    def __init__(
        self,
        access: Access,
        metrics: Metrics | None = None,
        *,
        audit: AuditLog | None = None,
        unary_timeout_s: float = UNARY_TIMEOUT_S,
        long_calls: Mapping[str, float] = _NO_LONG_CALLS,
    ) -> None:
        """`long_calls`: the most seconds of unary RPCs that may take longer than the others, by full method."""
        self._access = access
        self._audit = audit
        self._unary_timeout_s = unary_timeout_s
        self._long_calls = long_calls
        self._metrics = metrics or NoMetrics()
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:  # gRPC answers UNIMPLEMENTED
                return None
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Any) -> Any:
        decode, encode = handler.request_deserializer, handler.response_serializer
        if not handler.request_streaming and not handler.response_streaming:
            behaviour = self._unary(method, handler.unary_unary)
            return grpc.unary_unary_rpc_method_handler(behaviour, marking(decode), encode)
        if not handler.request_streaming:
            behaviour = self._stream(method, handler.unary_stream)
            return grpc.unary_stream_rpc_method_handler(behaviour, marking(decode), encode)
        if not handler.response_streaming:
            behaviour = self._stream(method, handler.stream_unary, reads=True)
            return grpc.stream_unary_rpc_method_handler(behaviour, refusing(decode), encode)
        behaviour = self._stream(method, handler.stream_stream, reads=True)
        return grpc.stream_stream_rpc_method_handler(behaviour, refusing(decode), encode)

    def _unary(self, method: str, handler: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        audits = self._audit is not None and is_change(method)
        usual_s = WAIT_TIMEOUT_S if method.rpartition("/")[2].startswith("Wait") else self._unary_timeout_s
        most_s = self._long_calls.get(method, usual_s)

        async def unary(request: Any, context: Servicer) -> Any:
            call = _Call(method)
            if audits:
                call.is_change, call.request = True, request
            cap = None
            try:
                remaining_s = context.time_remaining()
                if remaining_s is None or remaining_s > most_s:
                    remaining_s = most_s
                    cap = Cap(most_s)
                await self._admit(call, context, remaining_s)
                if request is MALFORMED:
                    raise MalformedMessage
                if not audits:
                    return await handler(request, context)
                answer = await handler(request, context)
                await self._keep(call, context, answer)
                return answer
            except asyncio.CancelledError as error:
                if cap is None or not cap.fired:
                    call.code = "CANCELLED"
                    raise
                uncancel()
                await self._refuse(call, context, too_long(most_s), error)
            except Exception as error:  # every error has its status: a defect, too, is answered and logged
                await self._fail(call, context, error)
            finally:
                if cap is not None:
                    cap.release()
                self._finish(call, context)

        return unary

    def _stream(
        self, method: str, handler: Callable[..., Any], *, reads: bool = False
    ) -> Callable[..., Awaitable[Any]]:
        audits = self._audit is not None and is_change(method)
        serve = _writing(handler) if inspect.isasyncgenfunction(handler) else handler

        async def stream(request: Any, context: Servicer) -> Any:
            call = _Call(method)
            call.reads = reads
            call.is_change = audits
            try:
                await self._open_stream(call, request, context)
                return await serve(request, context)
            except asyncio.CancelledError as error:
                await self._cancelled(call, context, error)
            except Exception as error:  # every error has its status: a defect, too, is answered and logged
                await self._fail(call, context, error)
            finally:
                self._finish(call, context)

        return stream

    async def _open_stream(self, call: _Call, request: Any, context: Servicer) -> None:
        remaining_s = context.time_remaining()
        await self._admit(call, context, _INFINITY if remaining_s is None else remaining_s)
        if request is MALFORMED:
            raise MalformedMessage
        call.watch = self._access.watch(call.token)
        if self._audit is not None:
            set_current(self._audit, _caller(call, context))

    async def _admit(self, call: _Call, context: Servicer, remaining_s: float) -> None:
        """Name the call, then find out who calls and whether they may."""
        authorization = account = ""
        key: str
        value: Any
        for key, value in context.invocation_metadata() or ():
            if key == "authorization":
                authorization = value
            elif key == REQUEST_ID_KEY:
                call.request_id = value[:_REQUEST_ID_CHARACTERS_MOST]
            elif key == ACCOUNT_KEY:
                account = value
        if not call.request_id:
            call.request_id = os.urandom(8).hex()
        logs.request_id.set(call.request_id)
        incoming.set((call.request_id, call.loop_time + remaining_s))
        call.token = authorization
        caller = self._access.known(authorization)
        if caller is None:
            caller = await self._access.identify(authorization, context)
        if account:
            caller = on_behalf(caller, account)
        call.caller = caller
        self._access.authorise(call.method, caller)
        set_principal(caller)

    async def _cancelled(self, call: _Call, context: Servicer, error: asyncio.CancelledError) -> None:
        """A stream was cancelled: by the peer, by the server's stop, or because its token was revoked."""
        refusal = call.watch.refusal if call.watch is not None else None
        if refusal is None:
            call.code = "CANCELLED"
            raise error
        uncancel()
        await self._refuse(call, context, refusal, error)

    async def _fail(self, call: _Call, context: Servicer, error: Exception) -> None:
        """Answer with the status for `error`; always raises."""
        if isinstance(error, grpc.aio.AbortError):
            call.code, call.reason = _aborted(context)
            raise error
        if isinstance(error, ServiceError):
            await self._refuse(call, context, error, error)
        if isinstance(error, (grpc.aio.AioRpcError, YardError)):
            _log.warning("peer_failed", rpc=call.method, error=str(error))
            await self._refuse(call, context, PeerFailed(), error)
        _log.error("rpc_crashed", rpc=call.method, exc_info=error)
        await self._refuse(call, context, InternalError(), error)

    async def _refuse(
        self, call: _Call, context: Servicer, error: ServiceError, cause: BaseException
    ) -> None:
        code = status.grpc_code(error)
        call.code, call.reason = code.name, error.reason
        if call.caller is None or error.code == "PERMISSION_DENIED":
            self._metrics.denied(error.reason)
        if call.reads:
            await let_finish(context)
        await context.abort(code, status.shown(error.message), status.encode(error, call.request_id))

    async def _keep(self, call: _Call, context: Servicer, answer: Any) -> None:
        """A change that a person asked for is in the audit log before it is answered."""
        call.answer = answer
        role = call.caller.role if call.caller is not None else ""
        if self._audit is None or role not in _PEOPLE or call.method.rpartition("/")[2] in SOON:
            return
        if not getattr(call.request, "validate_only", False):
            call.is_kept = True
            await self._audit.keep(self._entry(self._audit, call, context, answer))

    def _entry(self, audit: AuditLog, call: _Call, context: Servicer, answer: Any = None) -> Entry:
        return audit.entry(
            call.method, _caller(call, context), resources_of(call.method, call.request, answer),
            code=call.code, reason=call.reason, request_id=str(getattr(call.request, "request_id", ""))[:64],
        )  # fmt: skip

    def _note(self, audit: AuditLog, call: _Call, context: Servicer) -> None:
        """What was refused, and what services and agents change. Who was not known is only counted, in the metrics."""
        is_noted = call.is_change or call.code == "PERMISSION_DENIED"
        if is_noted and call.caller is not None and not getattr(call.request, "validate_only", False):
            audit.note(self._entry(audit, call, context, call.answer))

    def _finish(self, call: _Call, context: Servicer) -> None:
        if self._audit is not None and not call.is_kept:
            self._note(self._audit, call, context)
        if call.watch is not None:
            call.watch.stop()
        duration_s = time.perf_counter() - call.start_s
        caller = call.caller or NOBODY
        is_quiet = call.method.startswith(_QUIET) or (call.method in _COUNTED and call.code == "OK")
        record = _log.debug if is_quiet else _log.info
        record(
            "rpc",
            rpc=call.method,
            code=call.code,
            reason=call.reason,
            duration_ms=round(duration_s * 1000, 3),
            role=caller.role,
            account=caller.account,
        )
        self._metrics.rpc(call.method, call.code, duration_s)


class _Call:
    """What is known of one RPC while it runs."""

    __slots__ = (
        "answer",
        "caller",
        "code",
        "is_change",
        "is_kept",
        "loop_time",
        "method",
        "reads",
        "reason",
        "request",
        "request_id",
        "start_s",
        "token",
        "watch",
    )

    def __init__(self, method: str) -> None:
        self.method = method
        self.start_s = time.perf_counter()
        self.loop_time = asyncio.get_running_loop().time()
        self.request_id = ""
        self.reads = False
        # Of a change that was made: what it made is named in the audit log.
        self.answer: Any = None
        self.token = ""
        self.caller: Principal | None = None
        self.code = "OK"
        self.reason = ""
        self.watch: Any = None
        # For the audit log: whether it changes something, what was asked, and whether its entry is on disk.
        self.is_change = False
        self.request: Any = None
        self.is_kept = False


def _caller(call: _Call, context: Servicer) -> Caller:
    return Caller(call.caller or NOBODY, str(context.peer()), call.request_id)


def _writing(handler: Callable[..., AsyncIterator[Any]]) -> Callable[..., Awaitable[None]]:
    """A generator's handler as one that writes, so that it is closed at once however the call ends."""

    async def write_all(request: Any, context: Servicer) -> None:
        answers = handler(request, context)
        try:
            async for answer in answers:
                await context.write(answer)
        finally:
            await answers.aclose()  # type: ignore[attr-defined]

    return write_all


def _aborted(context: Servicer) -> tuple[str, str]:
    """Code and reason of a call that a library's servicer (health, reflection) aborted itself."""
    code = context.code()
    return getattr(code, "name", str(code)), "ABORTED_BY_SERVICER"
