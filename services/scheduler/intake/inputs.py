"""Makes sure that what a specification refers to is in the store, and stays there (peer: the store)."""

import asyncio
import itertools
from collections.abc import Iterable, Sequence

import grpc
import grpc.aio

from modelyard.v1 import artifact_pb2, artifact_pb2_grpc
from services.scheduler.model import Spec
from services.scheduler.records.holders import holder_of
from services.scheduler.refusals import InputNotFound, StoreUnreachable

TIMEOUT_S = 10.0
REFERRED_AT_ONCE = 64
HELD_MOST = 100_000
# A submission that has referred is in the state by then, or never will be.
SETTLED_S = 120.0


class Inputs:
    """One reference for each set of artefacts of an account, however many specifications name that set: items of a map
    differ in small values and share their code. Repeating a call changes nothing."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = artifact_pb2_grpc.ArtifactServiceStub(channel)
        # References that are known to stand.
        self._held: set[str] = set()
        # When each holder was last referred for, by the loop's clock, and those that are being released.
        self._referred: dict[str, float] = {}
        self._releasing: dict[str, asyncio.Event] = {}

    async def refer(self, account: str, specs: Iterable[Spec]) -> None:
        """Raises `InputNotFound`, or `StoreUnreachable`. Specifications that are known already were checked then."""
        new = {holder_of(account, spec.digests): spec.digests for spec in specs if not spec.number}
        new.pop("", None)
        if len(new) == 1:
            [(holder, digests)] = new.items()
            await self._refer(account, holder, digests)
            return
        # Side by side: the store writes those that come together in one transaction.
        turns = asyncio.Semaphore(REFERRED_AT_ONCE)

        async def refer(holder: str, digests: Sequence[str]) -> None:
            async with turns:
                await self._refer(account, holder, digests)

        for outcome in await asyncio.gather(*itertools.starmap(refer, new.items()), return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _refer(self, account: str, holder: str, digests: Sequence[str]) -> None:
        while (releasing := self._releasing.get(holder)) is not None:
            await releasing.wait()
        self._referred[holder] = asyncio.get_running_loop().time()
        if holder in self._held:
            return
        await self._add(account, holder, digests)
        if len(self._held) >= HELD_MOST:
            self._held.clear()
        self._held.add(holder)

    async def _add(self, account: str, holder: str, digests: Sequence[str]) -> None:
        request = artifact_pb2.AddReferencesRequest(account=account, holder=holder, digests=digests)
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

    async def release(self, holder: str) -> bool:
        """Gives up what specifications referred to; False: it stands, a submission has just referred for it again.

        Raises `StoreUnreachable`. Idempotent.
        """
        now_s = asyncio.get_running_loop().time()
        self._referred = {key: at_s for key, at_s in self._referred.items() if at_s > now_s - SETTLED_S}
        if holder in self._referred:
            return False
        self._releasing[holder] = asyncio.Event()
        self._held.discard(holder)
        try:
            await self._remove(holder)
        finally:
            self._releasing.pop(holder).set()
        return True

    async def release_outputs(self, task_id: str) -> None:
        """Gives up what a task kept. Raises `StoreUnreachable`. Idempotent."""
        await self._remove(f"task:{task_id}")

    async def _remove(self, holder: str) -> None:
        try:
            request = artifact_pb2.RemoveReferencesRequest(holder=holder)
            await self._stub.RemoveReferences(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise StoreUnreachable(f"the store does not answer: {error.details()}") from error
