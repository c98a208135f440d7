"""Ended runs go when somebody deletes them, with their project, or when they are old enough; what lives stays."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from modelyard.v1 import canvas_pb2, run_pb2
from services.chassis.storage.sqlite import load_queries
from services.graph.records.clearing import Clearing
from tests.support.fake_clock import FakeClock
from tests.support.graph_yard import GraphClient, GraphYard, graph_yard
from tests.support.scheduler_service import refusal
from tests.support.wait import wait_until

CANVAS = '{"nodes":[{"id":"a","operator":"load"},{"id":"b","operator":"load"}],"edges":[]}'


@pytest_asyncio.fixture
async def yard(tmp_path: Path) -> AsyncIterator[GraphYard]:
    async with graph_yard(tmp_path) as made:
        yield made


async def ended_run(client: GraphClient, project: str) -> str:
    run = await live_run(client, project)
    await client.runs.CancelRun(run_pb2.CancelRunRequest(run_id=run))
    return run


async def live_run(client: GraphClient, project: str) -> str:
    return str((await client.runs.StartRun(run_pb2.StartRunRequest(project_id=project))).run.id)


async def project_of(client: GraphClient, name: str = "ocr") -> str:
    project = await client.create(name)
    await client.save(project, CANVAS)
    return project


async def runs_of(client: GraphClient) -> list[str]:
    return [run.id for run in (await client.runs.ListRuns(run_pb2.ListRunsRequest())).runs]


def delete(client: GraphClient, run: str) -> Any:
    return client.runs.DeleteRun(run_pb2.DeleteRunRequest(run_id=run))


async def rows(yard: GraphYard, query: str) -> list[Any]:
    database: Any = yard.service._database
    found: list[Any] = await database.read(lambda c: c.execute(query).fetchall())
    return found


def clearing(yard: GraphYard, keep_days: float = 0) -> Clearing:
    """As the service has it, forty days from now, and not at work by itself."""
    service: Any = yard.service
    clock = FakeClock(round(time.time() * 1000) + 40 * 86_400_000)
    sql = load_queries("services.graph")
    return Clearing(service._database, sql, service._engine.state, service._errands, clock, keep_days)


def unasked(c: sqlite3.Connection, value: None) -> None:
    """Nobody waits for an answer."""


@pytest.mark.asyncio
async def test_deleted_run_is_gone_with_its_nodes_and_its_number_is_never_given_again(
    yard: GraphYard,
) -> None:  # S1.7
    project = await project_of(yard.admin)
    first, run = [await ended_run(yard.admin, project) for _ in range(2)]
    await delete(yard.admin, run)
    error = await refusal(yard.admin.runs.GetRun(run_pb2.GetRunRequest(run_id=run)))
    assert error.reason == "RUN_NOT_FOUND"
    assert await runs_of(yard.admin) == [first]

    async def is_clear() -> bool:
        return not await rows(yard, f"SELECT 1 FROM run_node WHERE run = {run[2:]}")

    await wait_until(is_clear, "its nodes are gone")
    await yard.restart()
    assert await live_run(yard.admin, project) == "r-3"


@pytest.mark.asyncio
async def test_run_that_goes_on_or_is_continued_is_not_deleted(yard: GraphYard) -> None:
    project = await project_of(yard.admin)
    ended = await ended_run(yard.admin, project)
    live = (await yard.admin.runs.ContinueRun(run_pb2.ContinueRunRequest(run_id=ended))).run.id
    assert (await refusal(delete(yard.admin, live))).reason == "RUN_GOES_ON"
    assert (await refusal(delete(yard.admin, ended))).reason == "RUN_CONTINUED"
    assert await runs_of(yard.admin) == [live, ended]
    await clearing(yard, keep_days=30).clear()
    assert await runs_of(yard.admin) == [live, ended]


@pytest.mark.asyncio
async def test_only_who_may_change_the_project_deletes_its_runs(yard: GraphYard) -> None:
    owner, runner, stranger = [await yard.user(name) for name in ("ada", "bob", "eve")]
    project = await project_of(owner)
    role = canvas_pb2.PROJECT_ROLE_RUNNER
    await owner.projects.SetProjectAccess(
        canvas_pb2.SetProjectAccessRequest(project_id=project, account="bob", role=role)
    )
    run = await ended_run(owner, project)
    assert (await refusal(delete(runner, run))).code == "PERMISSION_DENIED"
    assert (await refusal(delete(stranger, run))).code == "NOT_FOUND"
    await delete(owner, run)


@pytest.mark.asyncio
async def test_runs_go_with_their_project_and_claims_on_artefacts_with_them(yard: GraphYard) -> None:
    gone, stays = [await project_of(yard.admin, name) for name in ("one", "other")]
    run, other = await ended_run(yard.admin, gone), await ended_run(yard.admin, stays)
    await yard.admin.projects.DeleteProject(canvas_pb2.DeleteProjectRequest(project_id=gone))

    async def is_gone() -> bool:
        return await runs_of(yard.admin) == [other]

    await wait_until(is_gone, "the run is gone")
    # There is no store here: what is owed to it stays owed.
    owed = await rows(yard, "SELECT content FROM errand WHERE kind = 'references'")
    assert any(f"run:{run}".encode() in content for (content,) in owed)


@pytest.mark.asyncio
async def test_old_runs_go_where_the_service_is_told_so(yard: GraphYard) -> None:
    project = await project_of(yard.admin)
    run = await ended_run(yard.admin, project)
    assert await clearing(yard).clear() == 0
    assert await clearing(yard, keep_days=41).clear() == 0
    assert await runs_of(yard.admin) == [run]
    assert await clearing(yard, keep_days=30).clear() == 1
    assert await runs_of(yard.admin) == []


@pytest.mark.asyncio
async def test_what_was_cut_short_is_done_after_a_restart(yard: GraphYard) -> None:
    run = await ended_run(yard.admin, await project_of(yard.admin))
    nodes = f"SELECT 1 FROM run_node WHERE run = {run[2:]}"
    assert await rows(yard, nodes)
    await clearing(yard).delete(int(run[2:]), unasked)
    assert await rows(yard, nodes)
    await yard.restart()

    async def is_clear() -> bool:
        return not await rows(yard, nodes) and not await rows(yard, "SELECT 1 FROM cleared_run")

    await wait_until(is_clear, "nothing is left of it")


@pytest.mark.asyncio
async def test_deleting_what_is_not_there_says_so(yard: GraphYard) -> None:
    for name in ("r-77", "77", "", "r-x"):
        try:
            await delete(yard.admin, name)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.NOT_FOUND
        else:
            pytest.fail(f"{name!r} was deleted")
