"""The inbox of an engine: nothing is lost or taken twice, and who waits for a commit hears of it. Who waits may leave
before it comes: an engine died of that, its service with it (issue 7, point 4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from services.chassis.steps.inbox import Inbox


class Engine:
    """Notes the steps that it takes; each waits until it may end."""

    def __init__(self, step_most: int = 2) -> None:
        self.inbox = Inbox[int](step_most)
        self.steps: list[list[int]] = []
        self.may_end = asyncio.Semaphore(0)

    async def run(self) -> None:
        while True:
            await self.inbox.wait()
            await self.inbox.work_off(self._step)

    async def _step(self, events: list[int]) -> None:
        assert self.inbox.quiet.locked()
        self.steps.append(events)
        await self.may_end.acquire()


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[None]:
    task = asyncio.ensure_future(engine.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def turn() -> None:
    """Everybody does what can be done."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_events_go_into_steps_in_their_order_and_no_step_is_too_large() -> None:
    engine = Engine()
    for number in range(3):
        engine.inbox.post(number)
    async with running(engine):
        await turn()
        engine.inbox.post(3)
        assert (engine.steps, len(engine.inbox)) == ([[0, 1]], 2)
        for _ in range(2):
            engine.may_end.release()
            await turn()
        assert (engine.steps, len(engine.inbox)) == ([[0, 1], [2, 3]], 0)


@pytest.mark.asyncio
async def test_who_waits_is_let_go_by_the_step_that_took_what_was_posted_before() -> None:
    engine = Engine()
    async with running(engine):
        await engine.inbox.settled()
        for number in range(3):
            engine.inbox.post(number)
        early = asyncio.ensure_future(engine.inbox.settled())
        await turn()
        engine.may_end.release()
        await turn()
        assert engine.steps == [[0, 1], [2]] and not early.done()
        late = asyncio.ensure_future(engine.inbox.settled())
        await turn()
        engine.may_end.release()
        await turn()
        assert early.done() and not late.done()
        engine.may_end.release()
        await late


@pytest.mark.asyncio
async def test_waiter_that_left_hinders_no_other() -> None:
    engine = Engine()
    async with running(engine):
        engine.inbox.post(1)
        first, second = (asyncio.ensure_future(engine.inbox.settled()) for _ in range(2))
        await turn()
        first.cancel()
        await turn()
        for _ in range(2):
            engine.may_end.release()
        await second
        assert first.cancelled()


@pytest.mark.asyncio
async def test_waiting_ends_with_an_event_or_when_its_time_is_over() -> None:
    inbox = Inbox[int](1)
    assert not await inbox.wait(0)
    waiting = asyncio.ensure_future(inbox.wait(60))
    await turn()
    inbox.post(1)
    assert await waiting


@pytest.mark.asyncio
async def test_idle_inbox_has_nothing_to_work_off() -> None:
    """An engine that is woken once does not turn for ever."""
    engine = Engine()
    engine.inbox.post(1)
    engine.may_end.release()
    async with running(engine):
        await turn()
        assert engine.steps == [[1]]
        assert not await engine.inbox.wait(0)
