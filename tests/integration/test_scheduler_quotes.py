"""Quotes over real gRPC with a scripted agent (S0.5): held, used, renewed, given back, refused in words that help."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from modelyard.v1 import node_pb2 as nodes
from modelyard.v1 import task_pb2 as pb
from tests.support.scheduler_service import Client, SchedulerYard, command, refusal, scheduler_yard
from tests.support.scripted_agent import connected, ignore, succeed

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def yard(tmp_path: Path) -> AsyncIterator[SchedulerYard]:
    async with scheduler_yard(tmp_path) as made:
        yield made


def item(cpu: float = 1, count: int = 0, **placement: Any) -> nodes.QuoteItem:
    return nodes.QuoteItem(resources=pb.Resources(cpu=cpu), placement=pb.Placement(**placement), count=count)


def asked(*items: nodes.QuoteItem, seconds: int = 0, **request: Any) -> nodes.CreateQuoteRequest:
    made = nodes.CreateQuoteRequest(items=items, **request)
    if seconds:
        made.ttl.FromSeconds(seconds)
    return made


def quoted(quote: nodes.Quote, cpu: float, **spec: Any) -> pb.TaskSpec:
    return command(resources=pb.Resources(cpu=cpu), placement=pb.Placement(quote=quote.id), **spec)


async def hold(client: Client, *items: nodes.QuoteItem, **request: Any) -> nodes.Quote:
    return (await client.nodes.CreateQuote(asked(*items, **request))).quote


async def test_quote_is_used_by_its_account_alone_and_once(yard: SchedulerYard) -> None:  # S0.5
    async with connected(yard, "n1", ignore) as agent, connected(yard, "n2", ignore):
        ada, eve = await yard.user("ada"), await yard.user("eve")
        quote = await hold(ada, item(6, node="n1"))
        assert [(room.node, room.resources.cpu) for room in quote.rooms] == [("n1", 6.0)]
        assert quote.account == "ada"
        assert quote.expire_time.seconds
        stranger = await refusal(eve.tasks.SubmitTasks(pb.SubmitTasksRequest(specs=[quoted(quote, 6)])))
        assert (stranger.code, stranger.reason) == ("NOT_FOUND", "QUOTE_NOT_FOUND")
        # Not even the administrator's own work takes it.
        error = await refusal(yard.admin.nodes.DeleteQuote(nodes.DeleteQuoteRequest(quote_id=quote.id)))
        assert error.reason == "QUOTE_NOT_FOUND"
        await ada.tasks.SubmitTasks(pb.SubmitTasksRequest(specs=[quoted(quote, 6)], validate_only=True))
        request = pb.SubmitTasksRequest(specs=[quoted(quote, 6)], request_id=str(uuid.uuid4()))
        first = await ada.tasks.SubmitTasks(request)
        start = await agent.start()
        assert start.task_id == first.task_ids[0]
        # Repeating the request gives the same answer, though the quote is used up.
        assert (await ada.tasks.SubmitTasks(request)).task_ids == first.task_ids
        for validate_only in (True, False):
            used = await refusal(
                ada.tasks.SubmitTasks(
                    pb.SubmitTasksRequest(specs=[quoted(quote, 1)], validate_only=validate_only)
                )
            )
            assert (used.code, used.reason) == ("FAILED_PRECONDITION", "QUOTE_TOO_SMALL")
        agent.exit(start)
        assert (await ada.wait(start.task_id)).state == pb.TASK_STATE_SUCCEEDED


async def test_quote_is_renewed_given_back_and_forgotten_by_a_restart(yard: SchedulerYard) -> None:
    async with connected(yard, "n1", ignore) as agent:
        ada = await yard.user("ada")
        request_id = str(uuid.uuid4())
        quote = await hold(ada, item(2, count=3), seconds=5, request_id=request_id)
        assert await hold(ada, item(2, count=3), seconds=5, request_id=request_id) == quote
        assert len(quote.rooms) == 3
        renewed = await ada.nodes.RenewQuote(nodes.RenewQuoteRequest(quote_id=quote.id))
        assert renewed.quote.expire_time.seconds > quote.expire_time.seconds + 20
        full = await refusal(ada.nodes.CreateQuote(asked(item(3))))
        assert (full.code, full.reason) == ("RESOURCE_EXHAUSTED", "NO_ROOM")
        assert "n1: NOT_ENOUGH: 2 cpu free, 3 cpu asked" in full.message
        assert full.next_step
        await ada.nodes.DeleteQuote(nodes.DeleteQuoteRequest(quote_id=quote.id))
        await ada.nodes.DeleteQuote(nodes.DeleteQuoteRequest(quote_id=quote.id))
        quote = await hold(ada, item(8))
        await agent.disconnect()
        await yard.restart()
        await agent.connect()
        ada = await yard.user("ada")
        for call in (
            ada.tasks.SubmitTasks(pb.SubmitTasksRequest(specs=[quoted(quote, 8)])),
            ada.nodes.RenewQuote(nodes.RenewQuoteRequest(quote_id=quote.id)),
        ):
            error = await refusal(call)
            assert (error.code, error.reason) == ("NOT_FOUND", "QUOTE_NOT_FOUND")
            assert "yard nodes quote" in error.next_step
        await hold(ada, item(8))


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (asked(), "INVALID_REQUEST", "items"),
        (asked(*[item()] * 65), "INVALID_REQUEST", "items"),
        (asked(item(), seconds=31), "INVALID_REQUEST", "ttl"),
        (asked(item(), seconds=-1), "INVALID_REQUEST", "ttl"),
        (asked(item(), request_id="x"), "INVALID_REQUEST", "request_id"),
        (asked(item(count=-1)), "INVALID_REQUEST", "items[0].count"),
        (asked(item(), item(quote="q-1")), "INVALID_REQUEST", "items[1].placement.quote"),
        (asked(item(float("nan"))), "INVALID_SPEC", "items[0].resources.cpu"),
        (asked(item(99)), "CANNOT_BE_PLACED", "items[0].resources.cpu"),
        (asked(item(node="n9")), "NODE_NOT_FOUND", "items[0].placement.node"),
        (asked(item(count=20_000)), "TOO_MANY_QUOTES", "items"),
    ],
)
async def test_quote_that_cannot_be_right_is_refused_by_field(
    yard: SchedulerYard, request_: nodes.CreateQuoteRequest, reason: str, field: str
) -> None:
    async with connected(yard, "n1", ignore):
        error = await refusal((await yard.user("ada")).nodes.CreateQuote(request_))
        assert (error.reason, error.field) == (reason, field)


@pytest.mark.parametrize(
    "spec",
    [
        command(placement=pb.Placement(quote="q-1", node="n1")),
        command(placement=pb.Placement(quote="q-1", labels={"a": "b"})),
        command(placement=pb.Placement(quote="q-1"), hold=True),
        command(placement=pb.Placement(quote="q-1"), dependencies=[pb.Dependency(task_id="t-1")]),
    ],
)
async def test_specification_that_contradicts_its_quote_is_refused(
    yard: SchedulerYard, spec: pb.TaskSpec
) -> None:
    error = await refusal((await yard.user("ada")).tasks.SubmitTasks(pb.SubmitTasksRequest(specs=[spec])))
    assert (error.reason, error.field) == ("INVALID_SPEC", "specs[0].placement.quote")


async def test_ended_task_is_retried_without_its_quote(yard: SchedulerYard) -> None:
    async with connected(yard, "n1", succeed) as agent:
        ada = await yard.user("ada")
        quote = await hold(ada, item(8))
        (task_id,) = await ada.submit(quoted(quote, 8))
        await ada.wait(task_id)
        again = await ada.tasks.RetryTasks(pb.RetryTasksRequest(task_ids=[task_id]))
        assert (await ada.wait(again.task_ids[0])).state == pb.TASK_STATE_SUCCEEDED
        assert len(agent.starts) == 2
