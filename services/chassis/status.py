"""A ServiceError as a gRPC status with `google.rpc` details.

Owns the wire form: exactly one ErrorInfo (reason, domain, metadata, with `request_id` and
`next_step` in it) and one BadRequest when a field is at fault. `modelyard.errors` reads it back.
"""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2, status_pb2

from services.chassis.errors import ServiceError

DOMAIN = "modelyard"
DETAILS_KEY = "grpc-status-details-bin"

_CODES = {code.name: code for code in grpc.StatusCode}

Trailing = tuple[tuple[str, bytes], ...]


def grpc_code(error: ServiceError) -> grpc.StatusCode:
    """The gRPC code of the error's family."""
    return _CODES[error.code]


def encode(error: ServiceError, request_id: str) -> Trailing:
    """The trailing metadata that carries the error's details; its code and message equal the RPC's."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=dict(error.metadata))
    info.metadata["request_id"] = request_id
    if error.next_step:
        info.metadata["next_step"] = error.next_step
    status = status_pb2.Status(code=grpc_code(error).value[0], message=error.message)
    status.details.add().Pack(info)
    if error.field:
        request = error_details_pb2.BadRequest()
        request.field_violations.add(field=error.field, description=error.message)
        status.details.add().Pack(request)
    return ((DETAILS_KEY, status.SerializeToString()),)
