"""Large texts are judged beside the event loop, one at a time (S3.12: hostile definitions keep nobody else waiting)."""

from __future__ import annotations

import asyncio
import threading

import pytest

from services.trainer.documents.large_texts import SMALL_CHARACTERS, LargeTexts
from tests.support.wait import wait_until

LARGE = "x" * (SMALL_CHARACTERS + 1)


@pytest.mark.asyncio
async def test_small_text_is_judged_at_once() -> None:
    assert await LargeTexts().judge("x", threading.get_ident) == threading.get_ident()


@pytest.mark.asyncio
async def test_large_texts_leave_the_loop_to_others_and_wait_for_each_other() -> None:
    texts, may_end, begun = LargeTexts(), threading.Event(), []

    def work() -> int:
        begun.append(threading.get_ident())
        may_end.wait(30)
        return len(begun)

    both = [asyncio.ensure_future(texts.judge(LARGE, work)) for _ in range(2)]
    await wait_until(lambda: bool(begun), "the first is judged")
    assert begun[0] != threading.get_ident() and not any(one.done() for one in both)
    assert len(begun) == 1, "the second waits for its turn"
    may_end.set()
    assert await asyncio.gather(*both) == [1, 2]


@pytest.mark.asyncio
async def test_what_the_work_raises_reaches_who_asked() -> None:
    def work() -> int:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        await LargeTexts().judge(LARGE, work)
