"""Who a join token lets in, over real gRPC: once, for the name it was made for, and never for another machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.v1 import agent_link_pb2 as links
from modelyard.v1 import node_pb2
from tests.support.scheduler_service import SchedulerYard, refusal, scheduler_yard
from tests.support.scripted_agent import connected, ignore


async def join_token(yard: SchedulerYard, node: str = "") -> str:
    request = node_pb2.CreateJoinTokenRequest(node=node)
    return (await yard.admin.nodes.CreateJoinToken(request)).join_token


async def join(yard: SchedulerYard, token: str, node: str) -> str:
    request = links.JoinRequest(join_token=token, node=node)
    return (await yard.client("").links.Join(request)).node


@pytest.mark.asyncio
async def test_join_token_used_twice_is_refused_the_second_time(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        token = await join_token(yard)
        assert await join(yard, token, "n1") == "n1"
        again = links.JoinRequest(join_token=token, node="n1")
        assert (await refusal(yard.client("").links.Join(again))).reason == "JOIN_REFUSED"


@pytest.mark.asyncio
async def test_join_under_the_name_of_another_machine_is_refused_and_the_token_still_works(
    tmp_path: Path,
) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, "n1", ignore):
        token = await join_token(yard)
        request = links.JoinRequest(join_token=token, node="n1")
        refused = await refusal(yard.client("").links.Join(request))
        assert (refused.reason, refused.field) == ("NODE_NAME_TAKEN", "node")
        assert refused.next_step == "yard nodes token --node n1"
        assert await join(yard, token, "n2") == "n2"


@pytest.mark.asyncio
async def test_join_token_made_for_a_known_node_takes_its_place(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, "n1", ignore):
        assert await join(yard, await join_token(yard, "n1"), "n1") == "n1"
