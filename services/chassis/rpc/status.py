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
MESSAGE_MOST = 1_200
"""Characters of a message; it travels three times."""
_VALUE_MOST = 300
_METADATA_MOST = 16

_CODES = {code.name: code for code in grpc.StatusCode}

Trailing = tuple[tuple[str, bytes], ...]


def grpc_code(error: ServiceError) -> grpc.StatusCode:
    """The gRPC code of the error's family."""
    return _CODES[error.code]


def shown(text: str, most: int = MESSAGE_MOST) -> str:
    """`text` as it may travel: clients refuse 16 KiB of metadata, protobuf refuses half characters."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return cut.encode(errors="replace").decode()


def encode(error: ServiceError, request_id: str) -> Trailing:
    """The trailing metadata that carries the error's details; its code and message equal the RPC's."""
    message = shown(error.message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    for key, value in list(error.metadata.items())[:_METADATA_MOST]:
        info.metadata[shown(key, 64)] = shown(str(value), _VALUE_MOST)
    info.metadata["request_id"] = request_id
    if error.next_step:
        info.metadata["next_step"] = shown(error.next_step, _VALUE_MOST)
    status = status_pb2.Status(code=grpc_code(error).value[0], message=message)
    status.details.add().Pack(info)
    if error.field:
        request = error_details_pb2.BadRequest()
        request.field_violations.add(field=shown(error.field, _VALUE_MOST), description=message)
        status.details.add().Pack(request)
    return ((DETAILS_KEY, status.SerializeToString()),)
