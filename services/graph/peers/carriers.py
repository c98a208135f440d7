"""How errands are done: references in the store, cancellations at the scheduler. Notices are in `notices`."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from modelyard.errors import YardError
from modelyard.v1 import task_pb2
from services.chassis.steps.errands import Carrier, Errand, is_final, one_by_one, refused
from services.graph.peers.peers import Artifacts, Scheduler
from services.graph.records.owing import Cancellation, Reference

HOLDERS_AT_ONCE = 16
CANCEL_MOST = 1_000


_REFERENCE = msgspec.msgpack.Decoder(Reference)
_CANCELLATION = msgspec.msgpack.Decoder(Cancellation)


class References(Carrier):
    """In order for each holder; several holders at a time."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        holders: dict[str, list[tuple[Errand, Reference]]] = {}
        for errand in errands:
            wish = _REFERENCE.decode(errand.content)
            holders.setdefault(wish.holder, []).append((errand, wish))
        turns = asyncio.Semaphore(HOLDERS_AT_ONCE)

        async def hold(holder: str) -> None:
            async with turns:
                await self._hold(account, holder, holders[holder])

        for failure in await asyncio.gather(*map(hold, holders), return_exceptions=True):
            if failure is not None:
                raise failure

    async def _hold(self, account: str, holder: str, wishes: Sequence[tuple[Errand, Reference]]) -> None:
        """What a holder lets go of and what it refers to, as few calls as possible."""
        together: list[tuple[Errand, Reference]] = []
        for errand, wish in wishes:
            if wish.digests:
                together.append((errand, wish))
                continue
            # Whatever it was to refer to before, it does not now.
            together.clear()
            await self._one(account, errand, wish)
        digests = tuple(dict.fromkeys(digest for _, wish in together for digest in wish.digests))
        if not digests:
            return
        try:
            await self._artifacts.hold(account, holder, digests)
        except YardError as error:
            if not is_final(error):
                raise
            # One that is gone refuses all: each is asked for by itself.
            for errand, wish in together:
                await self._one(account, errand, wish)

    async def _one(self, account: str, errand: Errand, wish: Reference) -> None:
        try:
            await self._artifacts.hold(account, wish.holder, wish.digests)
        except YardError as error:
            if not is_final(error):
                raise
            refused(errand, error)


class Cancellations(Carrier):
    """Tasks that nobody needs."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        tasks: dict[str, Errand] = {}
        for errand in errands:
            tasks.update(dict.fromkeys(_CANCELLATION.decode(errand.content).tasks, errand))
        await _cancel(self._scheduler, account, tasks)


class Withdrawals(Carrier):
    """What was submitted for runs that ended before it was answered."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        await one_by_one(errands, lambda one: self._withdraw(account, one))

    async def _withdraw(self, account: str, errand: Errand) -> None:
        request = task_pb2.SubmitTasksRequest.FromString(errand.content)
        made = await self._scheduler.made_by(account, request)
        await _cancel(self._scheduler, account, dict.fromkeys(made, errand))


async def _cancel(scheduler: Scheduler, account: str, tasks: Mapping[str, Errand]) -> None:
    """Each with the errand that wants it. Those that the scheduler does not know any more have ended."""
    names = list(tasks)
    parts = [names[start : start + CANCEL_MOST] for start in range(0, len(names), CANCEL_MOST)]
    while parts:
        part = parts.pop()
        try:
            await scheduler.cancel(account, part)
        except YardError as error:
            if not is_final(error):
                raise
            if len(part) > 1:
                # One that is not there refuses all.
                parts += [part[: len(part) // 2], part[len(part) // 2 :]]
            elif error.code != "NOT_FOUND":
                refused(tasks[part[0]], error)
