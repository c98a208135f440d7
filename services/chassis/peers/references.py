"""How errands about the store are done: what a holder of a service refers to is kept there, or let go.

An errand's content is the holder and the digests that it refers to from now on; none: it has let go.
"""

from collections.abc import Sequence

import grpc.aio
import msgspec

from modelyard.errors import from_rpc_error
from modelyard.v1 import artifact_pb2, artifact_pb2_grpc
from services.chassis.steps.errands import Errand, one_by_one

CALL_S = 20.0
_REFERENCES = msgspec.msgpack.Decoder(tuple[str, tuple[str, ...]])


class References:
    """In their order: what a holder lets go of it may have been given just before."""

    def __init__(self, store: grpc.aio.Channel) -> None:
        self._artifacts = artifact_pb2_grpc.ArtifactServiceStub(store)

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        """One by one: a file that is gone refuses those with it."""
        await one_by_one(errands, lambda one: self._hold(account, *_REFERENCES.decode(one.content)))

    async def _hold(self, account: str, holder: str, digests: tuple[str, ...]) -> None:
        try:
            if digests:
                wanted = artifact_pb2.AddReferencesRequest(account=account, holder=holder, digests=digests)
                await self._artifacts.AddReferences(wanted, timeout=CALL_S)
            else:
                left = artifact_pb2.RemoveReferencesRequest(holder=holder)
                await self._artifacts.RemoveReferences(left, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
