"""What was submitted for a run that ended before the answer came is withdrawn by the next process: nothing runs."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from modelyard.channel import ACCOUNT_KEY
from modelyard.v1 import canvas_pb2, run_pb2, task_pb2
from services.chassis.steps.errands import Errand
from services.graph.peers.carriers import Withdrawals
from services.graph.peers.peers import Scheduler
from services.graph.records.owing import Kind
from tests.support.graph_repeats import started
from tests.support.graph_yard import graph_yard
from tests.support.scheduler_service import SchedulerYard, command, scheduler_yard
from tests.support.scripted_agent import connected
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio


def submission(*names: str) -> task_pb2.SubmitTasksRequest:
    specs = [command(name=name) for name in names]
    return task_pb2.SubmitTasksRequest(request_id=str(uuid.uuid4()), specs=specs)


async def withdraw(yard: SchedulerYard, request: task_pb2.SubmitTasksRequest) -> None:
    carrier = Withdrawals(Scheduler(yard.service_client.channel))
    errand = Errand(1, Kind.WITHDRAWAL, "ada", request.SerializeToString())
    await carrier.carry("ada", [errand])


async def test_submission_that_arrived_is_withdrawn_with_what_it_made(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard) as agent:
        ada = await yard.user("ada")
        request = submission("a", "b")
        session = yard.service_client.tasks.Session(metadata=((ACCOUNT_KEY, "ada"),))
        await session.write(task_pb2.SessionRequest(sequence=1, submit=request))
        answer = await session.read()
        session.cancel()
        await agent.start(1)
        for _ in range(2):
            await withdraw(yard, request)
            listed = (await ada.tasks.ListTasks(task_pb2.ListTasksRequest())).tasks
            assert sorted(task.id for task in listed) == sorted(answer.submitted.task_ids)
        assert await wait_until(lambda: len(agent.stops) >= 2, "both are asked to stop")


async def test_submission_that_never_arrived_is_withdrawn_and_nothing_of_it_starts(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard) as agent:
        ada = await yard.user("ada")
        request = submission("a", "b")
        for _ in range(2):
            await withdraw(yard, request)
            listed = (await ada.tasks.ListTasks(task_pb2.ListTasksRequest())).tasks
            assert [task.state for task in listed] == [task_pb2.TASK_STATE_CANCELLED] * 2
        [task_id] = await ada.submit(command(name="later"))
        assert (await agent.start(0)).task_id == task_id, "it is the first that started"


async def test_run_that_ended_before_its_batch_was_answered_leaves_nothing_behind(tmp_path: Path) -> None:
    async with graph_yard(tmp_path) as yard:
        known = await started(yard, "known")
        scheduler = yard.scheduler

        async def tasks() -> list[task_pb2.Task]:
            return list((await scheduler.admin.tasks.ListTasks(task_pb2.ListTasksRequest())).tasks)

        await wait_until(tasks, "the first run's node is submitted")
        await scheduler.stop()
        project = (await yard.admin.projects.ListProjects(canvas_pb2.ListProjectsRequest())).projects[0].id
        run = (await yard.admin.runs.StartRun(run_pb2.StartRunRequest(project_id=project))).run.id
        ended = await yard.admin.runs.CancelRun(run_pb2.CancelRunRequest(run_id=run))
        assert ended.run.state == run_pb2.RUN_STATE_CANCELLED
        await yard.stop()
        await scheduler.start()
        await yard.start()

        async def withdrawn() -> bool:
            database = yard.service._database
            assert database is not None
            left = await database.read(
                lambda c: c.execute(
                    "SELECT (SELECT count(*) FROM errand), (SELECT count(*) FROM batch WHERE first_task = '')"
                ).fetchone()
            )
            return bool(left == (0, 0))

        await wait_until(withdrawn, "nothing is owed", timeout_s=20)
        states = {task.spec.labels["run"]: task.state for task in await tasks()}
        assert states.get(run, task_pb2.TASK_STATE_CANCELLED) == task_pb2.TASK_STATE_CANCELLED
        assert states[known] != task_pb2.TASK_STATE_CANCELLED, "runs that go on are left alone"
