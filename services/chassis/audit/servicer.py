"""AuditService, which every service with an audit log serves; administrators only."""

from __future__ import annotations

from typing import Any

from modelyard.v1 import audit_pb2 as pb
from modelyard.v1 import audit_pb2_grpc
from services.chassis.audit.log import AuditLog
from services.chassis.requests.paging import PageTokenInvalid, decode_token, encode_token, page_size

NEWEST = 1 << 62


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """Shows the log of one service."""

    def __init__(self, log: AuditLog, service: str) -> None:
        self._log = log
        self._service = service

    async def ListAuditEntries(
        self, request: pb.ListAuditEntriesRequest, context: Any
    ) -> pb.ListAuditEntriesResponse:
        size = page_size(request.page_size)
        bare = pb.ListAuditEntriesRequest()
        bare.CopyFrom(request)
        bare.ClearField("page_token")
        bare.ClearField("page_size")
        key = bare.SerializeToString(deterministic=True)
        named = {
            "before": _number(decode_token(request.page_token, key)),
            "since_ms": max(0, min(request.since.ToMilliseconds(), NEWEST)),
            "account": request.account,
            "rpc": f"/{request.rpc.rpartition('/')[2]}"
            if "/" not in request.rpc and request.rpc
            else request.rpc,
            "resource": _resource(request.resource),
            "refused_only": request.refused_only,
            "most": size + 1,
        }
        rows = await self._log.list(named)
        token = encode_token(str(rows[size - 1][0]), key) if len(rows) > size else ""
        return pb.ListAuditEntriesResponse(
            entries=[self._entry(*row) for row in rows[:size]], next_page_token=token
        )

    def _entry(self, number: int, time_ms: int, *values: Any) -> pb.AuditEntry:
        names = ("rpc", "role", "account", "token_id", "node", "peer", "resources", "code", "reason", "request_id",
                 "call_id", "count")  # fmt: skip
        entry = pb.AuditEntry(number=number, service=self._service, **dict(zip(names, values, strict=True)))
        entry.time.FromMilliseconds(time_ms)
        return entry


def _number(cursor: str) -> int:
    if not cursor:
        return NEWEST
    if not cursor.isdigit() or len(cursor) > 18:
        raise PageTokenInvalid(field="page_token")
    return int(cursor)


def _resource(text: str) -> str:
    """With its kind it is matched whole, an id alone behind any kind."""
    return f" {text}" if "/" in text else f"/{text}" if text else ""
