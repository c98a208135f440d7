"""Requests that wait for a step: answered, refused, left; and what keeps their answers."""

from __future__ import annotations

import sqlite3

import pytest

from services.chassis.errors import ServiceError
from services.chassis.steps.replies import Replies


def keep(connection: sqlite3.Connection, made: int) -> None:
    connection.execute(f"PRAGMA user_version = {made}")


@pytest.mark.asyncio
async def test_answer_reaches_who_waits_under_its_number() -> None:
    replies = Replies[int]()
    (first, one), (second, other) = replies.new(), replies.new()
    replies.answer(second, 12, None)
    replies.answer(first, 11, None)
    assert (await one, await other, len(replies)) == (11, 12, 0)


@pytest.mark.asyncio
async def test_refusal_is_raised_and_leaves_nothing_to_keep() -> None:
    replies = Replies[int]()
    reply, answer = replies.new(keep)
    replies.answer(reply, 0, ServiceError("no"))
    with pytest.raises(ServiceError, match="no"):
        await answer
    assert len(replies) == 0 and replies.kept([(reply, 7)]) == []


@pytest.mark.asyncio
async def test_kept_are_those_that_asked_for_it() -> None:
    replies = Replies[int]()
    (first, _), (second, _) = replies.new(), replies.new(keep)
    assert replies.kept([(first, 1), (second, 2), (99, 3)]) == [(keep, 2)]


@pytest.mark.asyncio
async def test_caller_who_has_left_hinders_nobody_and_their_answer_is_kept() -> None:
    replies = Replies[int]()
    reply, answer = replies.new(keep)
    answer.cancel()
    assert replies.kept([(reply, 5)]) == [(keep, 5)]
    replies.answer(reply, 5, None)
    replies.answer(reply, 5, None)
    assert len(replies) == 0
