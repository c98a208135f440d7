"""Who decides over gates, and what is listed of those that wait: several accounts, the real service."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from modelyard.v1 import canvas_pb2, run_pb2
from tests.support.graph_yard import GraphClient, GraphYard, graph_yard
from tests.support.wait import wait_until

APPROVED, REJECTED = canvas_pb2.GATE_DECISION_APPROVED, canvas_pb2.GATE_DECISION_REJECTED


@pytest_asyncio.fixture
async def yard(tmp_path: Path) -> AsyncIterator[GraphYard]:
    async with graph_yard(tmp_path) as made:
        yield made


async def waiting_run(client: GraphClient, *gates: dict[str, Any]) -> str:
    """A run that waits at these gates and does nothing else."""
    project = await client.create()
    await client.save(project, json.dumps({"nodes": [*gates], "edges": []}))
    for account, role in (("ann", "VIEWER"), ("bob", "RUNNER"), ("vic", "VIEWER")):
        await client.projects.SetProjectAccess(
            canvas_pb2.SetProjectAccessRequest(
                project_id=project, account=account, role=canvas_pb2.ProjectRole.Value(f"PROJECT_ROLE_{role}")
            )
        )
    run = str((await client.runs.StartRun(run_pb2.StartRunRequest(project_id=project))).run.id)
    await wait_until(lambda: _gated(client, run, len(gates)), "the gates wait")
    return run


async def _gated(client: GraphClient, run: str, count: int) -> bool:
    answer = await client.runs.GetRun(run_pb2.GetRunRequest(run_id=run))
    return bool(answer.run.gated_count == count)


async def decide(client: GraphClient, run: str, node: str, decision: Any = APPROVED) -> str:
    """The reason that it is refused for; empty: it is decided."""
    request = run_pb2.DecideGateRequest(run_id=run, node_id=node, decision=decision)
    try:
        await client.runs.DecideGate(request)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return ""


@pytest.mark.asyncio
async def test_approvers_alone_decide_and_administrators(yard: GraphYard) -> None:  # issue 4, point 7
    owner = await yard.user("owner")
    ann, bob, eve = [await yard.user(name) for name in ("ann", "bob", "eve")]
    gates = [{"id": name, "gate": {"message": "?", "approvers": ["ann"]}} for name in ("g", "h")]
    run = await waiting_run(owner, *gates)
    assert await decide(owner, run, "g") == "PERMISSION_DENIED"
    assert await decide(bob, run, "g") == "PERMISSION_DENIED"
    assert await decide(eve, run, "g") == "NOT_FOUND"
    assert await decide(ann, run, "g") == ""
    assert await decide(ann, run, "g") == ""
    assert await decide(ann, run, "g", REJECTED) == "FAILED_PRECONDITION"
    assert await decide(yard.admin, run, "h", REJECTED) == ""
    ended = await owner.runs.GetRun(run_pb2.GetRunRequest(run_id=run))
    assert ended.run.state == run_pb2.RUN_STATE_FAILED
    # What was decided may be said again when the run has ended; by those who may.
    assert await decide(ann, run, "g") == ""
    assert await decide(bob, run, "g") == "PERMISSION_DENIED"


@pytest.mark.asyncio
async def test_gate_without_approvers_is_for_those_who_may_run(yard: GraphYard) -> None:
    owner = await yard.user("owner")
    bob, vic = await yard.user("bob"), await yard.user("vic")
    run = await waiting_run(owner, {"id": "g", "gate": {}})
    assert await decide(vic, run, "g") == "PERMISSION_DENIED"
    assert await decide(bob, run, "g") == ""


@pytest.mark.asyncio
async def test_gates_that_wait_are_listed_page_by_page(yard: GraphYard) -> None:
    owner = await yard.user("owner")
    run = await waiting_run(owner, *({"id": f"g{number}", "gate": {"message": "?"}} for number in range(5)))
    assert await decide(owner, run, "g2") == ""
    listed, token = [], ""
    while True:
        answer = await owner.runs.ListRunNodes(
            run_pb2.ListRunNodesRequest(run_id=run, waiting_gates=True, page_size=3, page_token=token)
        )
        listed += [node.node_id for node in answer.nodes]
        token = answer.next_page_token
        if not token:
            break
    assert listed == ["g0", "g1", "g3", "g4"]
    await owner.runs.CancelRun(run_pb2.CancelRunRequest(run_id=run))
    answer = await owner.runs.ListRunNodes(run_pb2.ListRunNodesRequest(run_id=run, waiting_gates=True))
    assert not answer.nodes
