"""`client.audit`: who changed what, and who was refused."""

from __future__ import annotations

import datetime

from modelyard.client.connection import SERVICES, Connection
from modelyard.client.specs import InvalidSpecification
from modelyard.v1 import audit_pb2, audit_pb2_grpc


class Audit:
    """The audit logs of the yard's services; for administrators."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(
        self,
        service: str = "scheduler",
        *,
        account: str = "",
        rpc: str = "",
        resource: str = "",
        since: datetime.datetime | None = None,
        refused_only: bool = False,
        page_size: int = 0,
        page_token: str = "",
    ) -> audit_pb2.ListAuditEntriesResponse:
        """One page of one service's entries, newest first. ``since`` needs a time zone."""
        if service not in SERVICES:
            raise InvalidSpecification(f"{service!r} is no service; choose {', '.join(SERVICES)}", "service")
        request = audit_pb2.ListAuditEntriesRequest(
            page_size=page_size, page_token=page_token, account=account, rpc=rpc, resource=resource,
            refused_only=refused_only,
        )  # fmt: skip
        if since is not None:
            request.since.FromDatetime(since)
        connection = self._connection
        channel = connection.service(service)
        return await connection.unary(audit_pb2_grpc.AuditServiceStub(channel).ListAuditEntries, request)
