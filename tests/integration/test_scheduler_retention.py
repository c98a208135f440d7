"""Ended tasks go when their time is over: rows, logs, claims on artefacts, specifications; nothing that lives does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelyard.v1 import task_pb2 as pb
from services.scheduler.archive.logs import LogFiles
from services.scheduler.archive.past import TASK_TABLES, Past
from services.scheduler.archive.retention import Retention
from services.scheduler.model import parse_task_id
from tests.support.fake_clock import FakeClock
from tests.support.scheduler_service import KNOWN_DIGEST, SchedulerYard, command, refusal, scheduler_yard
from tests.support.scripted_agent import connected, ignore, succeed


class Claims:
    """What was given up in the store."""

    def __init__(self) -> None:
        self.outputs: list[str] = []
        self.holders: list[str] = []
        self.is_wanted = False

    async def release_outputs(self, task_id: str) -> None:
        self.outputs.append(task_id)

    async def release(self, holder: str) -> bool:
        self.holders.append(holder)
        return not self.is_wanted


def retention(yard: SchedulerYard, claims: Claims, *, in_days: float = 31) -> Retention:
    """As the service has it, some days from now."""
    import time

    service: Any = yard.service
    clock = FakeClock(int(time.time() * 1000) + round(in_days * 86_400_000))
    logs = LogFiles(yard.state / "scheduler" / "logs")
    return Retention(yard.engine, Past(service._store), logs, claims, clock, 30)  # type: ignore[arg-type]


async def rows(yard: SchedulerYard, table: str) -> int:
    service: Any = yard.service
    found = await service._store.database.read(
        lambda c: c.execute(f"SELECT count(*) FROM {table}").fetchone()
    )
    return int(found[0])


@pytest.mark.asyncio
async def test_ended_tasks_go_and_live_ones_stay_also_over_a_restart(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        async with connected(yard, script=succeed):
            ended = [(await yard.admin.submit(command(name=f"n{n}")))[0] for n in range(5)]
            for task_id in ended:
                await yard.admin.wait(task_id)
            [array] = await yard.admin.submit(command(name="array", array_size=7))
            await yard.admin.wait(array)
            [held] = await yard.admin.submit(command(name="held", hold=True))
        for task_id in (ended[0], held):
            LogFiles(tmp_path / "scheduler" / "logs").append(parse_task_id(task_id), 1, 1, 0, b"hello")
        assert await retention(yard, Claims(), in_days=29).prune() == 0
        assert await retention(yard, Claims()).prune() == 6
        assert await rows(yard, "task") == 1
        assert await rows(yard, "change") == 1
        assert [path.name for path in (tmp_path / "scheduler" / "logs").rglob("*stdout")] == [
            f"{held}.1.stdout"
        ]
        gone = await refusal(yard.admin.tasks.GetTask(pb.GetTaskRequest(task_id=ended[0])))
        assert (gone.reason, "ended long ago" in gone.message) == ("TASK_NOT_FOUND", True)
        never = await refusal(yard.admin.tasks.GetTask(pb.GetTaskRequest(task_id="t-999")))
        assert "long ago" not in never.message
        element = await refusal(yard.admin.tasks.GetTask(pb.GetTaskRequest(task_id=f"{array}.3")))
        assert element.reason == "TASK_NOT_FOUND"
        everything = pb.ListTasksRequest(filter=pb.TaskFilter(all_times=True))
        assert [task.id for task in (await yard.admin.tasks.ListTasks(everything)).tasks] == [held]
        await yard.restart()
        assert (await yard.admin.get(held)).state == pb.TASK_STATE_HELD
        [fresh] = await yard.admin.submit(command(name="n0"))
        assert parse_task_id(fresh) > parse_task_id(held)


@pytest.mark.asyncio
async def test_gang_goes_with_the_last_of_it(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, script=succeed):
        members = [
            await yard.admin.submit(command(name="together", array_size=2, gang=pb.Gang(name=name)))
            for name in ("first", "second")
        ]
        for [task_id] in members:
            await yard.admin.wait(task_id)
        assert await rows(yard, "gang") == 2
        assert await retention(yard, Claims()).prune() == 2
        assert await rows(yard, "gang") == 0


@pytest.mark.asyncio
async def test_specifications_go_once_nothing_refers_to_them_and_can_be_used_again(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, script=succeed):
        [task_id] = await yard.admin.submit(command(name="once"))
        await yard.admin.wait(task_id)
        await yard.admin.submit(command(name="lives", hold=True))
        keeper = retention(yard, Claims())
        await keeper.prune()
        before = await rows(yard, "spec")
        await keeper.prune_specs()
        # Taken in again between the two rounds: it gets a record of its own.
        [again] = await yard.admin.submit(command(name="once"))
        assert (await yard.admin.wait(again)).state == pb.TASK_STATE_SUCCEEDED
        await keeper.prune_specs()
        assert await rows(yard, "spec") == before
        assert (await yard.admin.get(again)).spec.name == "once"
        await yard.restart()
        assert (await yard.admin.get(again)).spec.name == "once"


def with_input(name: str, **settings: Any) -> pb.TaskSpec:
    spec = command(name=name, **settings)
    spec.inputs["x"].digest = KNOWN_DIGEST
    return spec


@pytest.mark.asyncio
async def test_artefacts_that_many_specifications_name_are_claimed_once_and_given_up_with_the_last(
    tmp_path: Path,
) -> None:  # S0.6
    async with scheduler_yard(tmp_path) as yard, connected(yard, script=succeed):
        for name in ("first", "second", "third"):
            [task_id] = await yard.admin.submit(with_input(name))
            await yard.admin.wait(task_id)
        [holder] = yard.store.holders
        [lives] = await yard.admin.submit(with_input("lives", hold=True))
        claims = Claims()
        keeper = retention(yard, claims)
        for _ in range(2):
            await keeper.prune()
            await keeper.prune_specs()
        assert await rows(yard, "spec") == 1
        assert claims.holders == []
        await yard.admin.cancel(lives)
        await keeper.prune()
        claims.is_wanted = True
        for _ in range(2):
            await keeper.prune_specs()
        # A submission has just referred to the same: its specification may come, so nothing is forgotten.
        assert await rows(yard, "spec") == 1
        claims.is_wanted = False
        for _ in range(2):
            await keeper.prune_specs()
        assert await rows(yard, "spec") == 0
        assert claims.holders == [holder, holder]


@pytest.mark.asyncio
async def test_what_an_unfinished_task_waits_for_is_kept(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, script=succeed):
        [first] = await yard.admin.submit(command(name="first"))
        await yard.admin.wait(first)
        on = pb.Dependency(task_id=first)
        [waiting] = await yard.admin.submit(command(name="second", hold=True, dependencies=[on]))
        assert await retention(yard, Claims()).prune() == 0
        await yard.restart()
        assert (await yard.admin.get(waiting)).state == pb.TASK_STATE_HELD
        await yard.admin.cancel(waiting)
        assert await retention(yard, Claims()).prune() == 2


@pytest.mark.asyncio
async def test_claims_on_outputs_end_with_the_task(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, script=ignore) as agent:
        [kept] = await yard.admin.submit(command())
        output = pb.Output(name="model", digest="a" * 64, size_bytes=1)
        agent.exit(await agent.start(), result=pb.TaskResult(outputs=[output]))
        await yard.admin.wait(kept)
        claims = Claims()
        assert await retention(yard, claims).prune() == 1
        assert claims.outputs == [kept]


@pytest.mark.asyncio
async def test_watch_from_before_what_was_pruned_is_told_to_list_again(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        async with connected(yard, script=succeed):
            [task_id] = await yard.admin.submit(command())
            revision = (await yard.admin.wait(task_id)).revision
        await retention(yard, Claims()).prune()
        await yard.restart()
        watch = yard.admin.tasks.WatchTasks(pb.WatchTasksRequest(revision=revision - 1))
        # The first message only says from where it watches.
        await anext(aiter(watch))
        assert (await refusal(watch)).code == "OUT_OF_RANGE"


@pytest.mark.asyncio
async def test_every_table_about_tasks_is_pruned(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        service: Any = yard.service
        about = "SELECT m.name FROM sqlite_schema AS m, pragma_table_info(m.name) AS c WHERE c.name = 'task'"
        found = await service._store.database.read(lambda c: {name for (name,) in c.execute(about)})
        assert found == set(TASK_TABLES)
