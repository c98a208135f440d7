"""Who waits for a commit may leave before it comes: an engine died of that, its service with it (issue 7, point 4)."""

from __future__ import annotations

import asyncio

import pytest

from services.chassis.steps.settling import Waiters, let_go


@pytest.mark.asyncio
async def test_waiter_that_left_hinders_no_other() -> None:
    waiters = Waiters()
    first, second = (asyncio.ensure_future(_joined(waiters)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    let_go(waiters.take())
    await second
    assert first.cancelled()


@pytest.mark.asyncio
async def test_waiter_that_comes_after_the_taking_waits_for_the_next() -> None:
    waiters = Waiters()
    early = waiters.join()
    taken = waiters.take()
    assert not waiters
    late = waiters.join()
    let_go(taken)
    assert early.done() and not late.done() and waiters
    let_go(waiters.take())
    assert late.done()


async def _joined(waiters: Waiters) -> None:
    await waiters.join()
