"""The examples to which golden outputs belong, read from the store and kept in memory for the next start."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

import grpc.aio

from modelyard.errors import from_rpc_error
from modelyard.v1 import artifact_pb2, artifact_pb2_grpc
from services.chassis.logs import get_logger
from services.models.seams import Served

CALL_S = 10.0
KEPT_MOST = 64
BYTES_MOST = 4 << 20
_log = get_logger("models.examples")


class Examples:
    """By digest."""

    def __init__(self, store: grpc.aio.Channel) -> None:
        self._artifacts = artifact_pb2_grpc.ArtifactServiceStub(store)
        self._kept: OrderedDict[str, dict[str, Any]] = OrderedDict()

    async def of(self, served: Served) -> dict[str, Any] | None:
        """None: it has none, or it cannot be read; the frame is loaded all the same, and its output not compared."""
        digest = served.golden_example
        if not digest or not served.golden_digest:
            return None
        if digest not in self._kept:
            try:
                found = json.loads(await self._read(served.account, digest))
            except grpc.aio.AioRpcError as error:
                reason = from_rpc_error(error).message
                _log.warning("example_not_read", model=served.key.model, digest=digest, reason=reason)
                return None
            except ValueError as error:
                _log.warning("example_senseless", model=served.key.model, digest=digest, reason=str(error))
                return None
            self._kept[digest] = found
            while len(self._kept) > KEPT_MOST:
                self._kept.popitem(last=False)
        return self._kept[digest]

    async def _read(self, account: str, digest: str) -> bytes:
        request, found = artifact_pb2.GetArtifactRequest(digest=digest, account=account), bytearray()
        async for part in self._artifacts.GetArtifact(request, timeout=CALL_S):
            found += part.chunk
            if len(found) > BYTES_MOST:
                raise ValueError(f"more than {BYTES_MOST} bytes")
        return bytes(found)
