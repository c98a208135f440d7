"""Makes sure that what a specification refers to is in the store, and stays there (peer: the store)."""

import asyncio
import hashlib
from collections.abc import Iterable

import grpc
import grpc.aio

from modelyard.v1 import artifact_pb2, artifact_pb2_grpc
from services.scheduler.model import Spec
from services.scheduler.refusals import InputNotFound, StoreUnreachable

TIMEOUT_S = 10.0
REFERRED_AT_ONCE = 64
# A submission that has referred is in the state by then, or never will be.
SETTLED_S = 120.0


class Inputs:
    """References are held by the specification's content, so repeating the call changes nothing."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = artifact_pb2_grpc.ArtifactServiceStub(channel)
        # When each holder was last referred for, by the loop's clock, and those that are being released.
        self._referred: dict[str, float] = {}
        self._releasing: dict[str, asyncio.Event] = {}

    async def refer(self, account: str, specs: Iterable[Spec]) -> None:
        """Raises `InputNotFound`, or `StoreUnreachable`. Specifications that are known already were checked then."""
        new = [spec for spec in specs if spec.digests and not spec.number]
        if len(new) == 1:
            await self._refer(account, new[0])
            return
        # Side by side: the store writes those that come together in one transaction.
        turns = asyncio.Semaphore(REFERRED_AT_ONCE)

        async def refer(spec: Spec) -> None:
            async with turns:
                await self._refer(account, spec)

        for outcome in await asyncio.gather(*map(refer, new), return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _refer(self, account: str, spec: Spec) -> None:
        holder = _holder(account, spec.body)
        while (releasing := self._releasing.get(holder)) is not None:
            await releasing.wait()
        self._referred[holder] = asyncio.get_running_loop().time()
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

    async def release(self, account: str, body: bytes) -> None:
        """Gives up what a specification referred to, unless a submission has just referred for it again.

        Raises `StoreUnreachable`. Idempotent.
        """
        holder, now_s = _holder(account, body), asyncio.get_running_loop().time()
        self._referred = {key: at_s for key, at_s in self._referred.items() if at_s > now_s - SETTLED_S}
        if holder in self._referred:
            return
        self._releasing[holder] = asyncio.Event()
        try:
            await self._remove(holder)
        finally:
            self._releasing.pop(holder).set()

    async def release_outputs(self, task_id: str) -> None:
        """Gives up what a task kept. Raises `StoreUnreachable`. Idempotent."""
        await self._remove(f"task:{task_id}")

    async def _remove(self, holder: str) -> None:
        try:
            request = artifact_pb2.RemoveReferencesRequest(holder=holder)
            await self._stub.RemoveReferences(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise StoreUnreachable(f"the store does not answer: {error.details()}") from error


def _holder(account: str, body: bytes) -> str:
    return "spec:" + hashlib.sha256(account.encode() + b"\0" + body).hexdigest()[:32]
