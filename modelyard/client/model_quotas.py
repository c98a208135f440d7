"""What accounts may have of models, and what they have: the part of `client.models` that speaks of quotas."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Unpack

from modelyard.client.components import files_of, packed_of
from modelyard.client.connection import Connection, new_request_id
from modelyard.client.sharing import ModelQuotaChanges
from modelyard.client.specs import InvalidSpecification
from modelyard.errors import YardError
from modelyard.quantities import parse_size
from modelyard.v1 import model_pb2 as pb
from modelyard.v1 import model_pb2_grpc


class ModelQuotas:
    """Quotas of models; `Models` is one."""

    _connection: Connection

    @cached_property
    def _quota_stub(self) -> model_pb2_grpc.ModelQuotaServiceAsyncStub:
        return model_pb2_grpc.ModelQuotaServiceStub(self._connection.models())

    async def quotas(self, *accounts: str) -> Sequence[pb.AccountModelQuota]:
        """Quota and usage of each, in their order; of none: the caller's own. Of others: for administrators."""
        request = pb.ListModelQuotasRequest(accounts=accounts)
        return (await self._connection.unary(self._quota_stub.ListModelQuotas, request)).quotas

    async def set_quota(
        self,
        account: str,
        *,
        request_id: str = "",
        validate_only: bool = False,
        **changes: Unpack[ModelQuotaChanges],
    ) -> pb.AccountModelQuota:
        """Changes what is named here; the rest stays. For administrators. `validate_only`: only checks."""
        request = pb.UpdateModelQuotaRequest(
            request_id=request_id or new_request_id(), account=account, validate_only=validate_only
        )
        if "max_versions" in changes:
            request.max_versions = changes["max_versions"]
        if "max_component_bytes" in changes:
            request.max_component_bytes = _bytes(changes["max_component_bytes"])
        if "max_calls" in changes:
            request.max_calls = changes["max_calls"]
        return (await self._connection.unary(self._quota_stub.UpdateModelQuota, request)).quota

    async def check_room(self, model: str, source: Path) -> None:
        """Whether a component may become a version, before a byte of it is sent. Raises YardError: it may not."""
        files = files_of(source)
        size_bytes = sum(path.stat().st_size for _, path in files)
        request = pb.CheckModelQuotaRequest(model=model, size_bytes=size_bytes)
        try:
            await self._connection.unary(self._quota_stub.CheckModelQuota, request)
        except YardError as error:
            if error.code == "UNIMPLEMENTED":
                # A service that knows no quotas refuses nothing.
                return
            if error.code != "RESOURCE_EXHAUSTED" or packed_of([name for name, _ in files]):
                raise
            # What is there already needs no room; only now it is worth reading it twice.
            request.digest = _digest(files)
            await self._connection.unary(self._quota_stub.CheckModelQuota, request)


def _bytes(size: int | str) -> int:
    try:
        return size if isinstance(size, int) else int(parse_size(size))
    except ValueError as error:
        raise InvalidSpecification(str(error), "max_component_bytes") from error


def _digest(files: Sequence[tuple[str, Path]]) -> str:
    """As the service makes it of paths and the files' digests."""
    lines = []
    for name, path in sorted(files):
        with path.open("rb") as file:
            lines.append(f"{name}\0{file_digest(file, 'sha256').hexdigest()}\n")
    return sha256("".join(lines).encode()).hexdigest()
