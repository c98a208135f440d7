"""Makes sure that what a specification refers to is in the store, and stays there (peer: the store)."""

import hashlib
from collections.abc import Iterable

import grpc
import grpc.aio

from modelyard.v1 import artifact_pb2, artifact_pb2_grpc
from services.scheduler.model import InputNotFound, Spec, StoreUnreachable

TIMEOUT_S = 10.0


class Inputs:
    """References are held by the specification's content, so repeating the call changes nothing."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = artifact_pb2_grpc.ArtifactServiceStub(channel)

    async def refer(self, account: str, specs: Iterable[Spec]) -> None:
        """Raises `InputNotFound`, or `StoreUnreachable`. Specifications that are known already were checked then."""
        for spec in specs:
            if spec.digests and not spec.number:
                await self._refer(account, spec)

    async def _refer(self, account: str, spec: Spec) -> None:
        holder = "spec:" + hashlib.sha256(account.encode() + b"\0" + spec.body).hexdigest()[:32]
        request = artifact_pb2.AddReferencesRequest(account=account, holder=holder, digests=spec.digests)
        try:
            await self._stub.AddReferences(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                raise InputNotFound(
                    f"the store does not have all inputs: {error.details()}", field="inputs",
                    next_step="upload them first: yard artifacts put FILE",
                ) from error  # fmt: skip
            raise StoreUnreachable(
                f"the store does not answer: {error.details()}",
                next_step="see that yard-store runs: yard doctor",
            ) from error
