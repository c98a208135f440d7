"""What a caller of the services gets when a call fails.

Owns the client's errors and how they are read from gRPC; the services' side is
`services/chassis/rpc/status.py`. Importing this module does not import gRPC.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc.aio

_TOO_LARGE = re.compile(r"message larger than max \((\d+) vs\. (\d+)\)")
_DETAILS_KEY = "grpc-status-details-bin"


class YardError(Exception):
    """A call was refused or failed.

    code: canonical gRPC name ("NOT_FOUND"); reason: stable UPPER_SNAKE word to program against;
    field: path of the request field at fault or ""; next_step: what to do or ""; metadata: the
    variable parts of the message, and `request_id` to quote to an administrator.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "UNKNOWN",
        reason: str = "",
        field: str = "",
        next_step: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.field = field
        self.next_step = next_step
        self.metadata: Mapping[str, str] = dict(metadata or {})


class ConnectionFailed(YardError):
    """The service could not be reached, or the connection broke; the outcome of the call is unknown."""


class InsecureAddress(YardError):
    """The call was not made, because it would show a secret to the network."""


class CallTimedOut(YardError):
    """No answer came in time; the outcome of the call is unknown."""


class CallRefused(YardError):
    """The service answered with an error."""


class CredentialsRefused(CallRefused):
    """The service does not know the caller, or does not allow this call to them."""


def from_rpc_error(error: grpc.aio.AioRpcError) -> YardError:
    """The error that `error` stands for, with the service's details where it sent any."""
    code = error.code().name
    message = error.details() or code
    details = _read_details(error)
    if not details:
        return _bare(code, message, error)
    kind = CredentialsRefused if code in ("UNAUTHENTICATED", "PERMISSION_DENIED") else CallRefused
    return kind(message, code=code, **details)


def _bare(code: str, message: str, error: grpc.aio.AioRpcError) -> YardError:
    """An error that gRPC itself made: the service never saw the call, or its answer was lost."""
    if code == "UNAVAILABLE":
        return ConnectionFailed(
            f"the service cannot be reached: {message}",
            code=code,
            reason="CONNECTION_FAILED",
            next_step="check that it runs and that the address is right",
        )
    if code == "DEADLINE_EXCEEDED":
        return CallTimedOut("no answer came in time", code=code, reason="CALL_TIMED_OUT")
    large = _TOO_LARGE.search(message)
    if large is not None:
        return CallRefused(
            f"the message has {int(large[1]) / 1e6:.1f} MB, and {int(large[2]) / 1e6:.1f} MB are the most",
            code=code,
            reason="MESSAGE_TOO_LARGE",
            next_step="put large values into the store and name their digests, or divide what is sent",
        )
    return CallRefused(message, code=code, reason=f"GRPC_{code}")


def _read_details(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    from google.protobuf.message import DecodeError
    from google.rpc import error_details_pb2, status_pb2

    raw = dict(error.trailing_metadata() or ()).get(_DETAILS_KEY)
    if not isinstance(raw, bytes):
        return {}
    found: dict[str, Any] = {}
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    try:
        for detail in status_pb2.Status.FromString(raw).details:
            if detail.Unpack(info):
                metadata = dict(info.metadata)
                next_step = metadata.pop("next_step", "")
                found |= {"reason": info.reason, "metadata": metadata, "next_step": next_step}
            elif detail.Unpack(request) and request.field_violations:
                found["field"] = request.field_violations[0].field
    except DecodeError:
        return {}
    return found
