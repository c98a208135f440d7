"""ModifyTask over real gRPC with a scripted agent (S0.7): verdicts, refusals, repetitions, restarts."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from modelyard.v1 import agent_link_pb2 as links
from modelyard.v1 import task_pb2 as pb
from services.scheduler.intake import modification
from tests.support.scheduler_service import Client, SchedulerYard, command, refusal, scheduler_yard
from tests.support.scripted_agent import ScriptedAgent, connected
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio

SCHEMA = '{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false}'
PREFIX = "FIELD_VERDICT_KIND_"


@pytest_asyncio.fixture
async def yard(tmp_path: Path) -> AsyncIterator[SchedulerYard]:
    async with scheduler_yard(tmp_path) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers do not wait long for agents."""
    monkeypatch.setattr(modification, "ANSWER_S", 0.2)


def request(task_id: str, *paths: str, **fields: Any) -> pb.ModifyTaskRequest:
    """``fields``: of the request (request_id, revision) or of the changes; without paths the mask is left out."""
    made = pb.ModifyTaskRequest(task_id=task_id)
    for name in ("request_id", "revision"):
        if name in fields:
            setattr(made, name, fields.pop(name))
    for name in ("run_timeout", "queue_timeout"):
        if name in fields:
            getattr(made.changes.timeouts, name).FromSeconds(fields.pop(name))
    made.changes.MergeFrom(pb.TaskChanges(**fields))
    made.update_mask.paths.extend(paths)
    return made


async def modify(client: Client, task_id: str, *paths: str, **fields: Any) -> dict[str, str]:
    """The kind of verdict by field."""
    response = await client.tasks.ModifyTask(request(task_id, *paths, **fields))
    return kinds(response)


def kinds(response: pb.ModifyTaskResponse) -> dict[str, str]:
    return {v.path: pb.FieldVerdictKind.Name(v.kind).removeprefix(PREFIX) for v in response.verdicts}


async def running(yard: SchedulerYard, agent: ScriptedAgent, **spec: Any) -> tuple[str, links.StartTask]:
    """A task that the agent has started."""
    number = len(agent.starts)
    (task_id,) = await yard.admin.submit(command(**spec))
    start = await agent.start(number)
    agent.started(start)
    await _until_running(yard.admin, task_id)
    return task_id, start


async def _until_running(client: Client, task_id: str) -> None:
    async for response in client.tasks.WatchTasks(pb.WatchTasksRequest(task_ids=[task_id])):
        seen = [task.state for task in response.tasks] or [(await client.get(task_id)).state]
        if pb.TASK_STATE_RUNNING in seen:
            return


async def test_waiting_task_takes_everything_and_shows_it_everywhere(yard: SchedulerYard) -> None:  # S0.7
    (task_id,) = await yard.admin.submit(
        command(params_json='{"a":1,"b":1}', labels={"x": "1", "y": "2"}, priority=1, hold=True)
    )
    response = await yard.admin.tasks.ModifyTask(
        request(
            task_id,
            params_json='{"b":2}',
            priority=9,
            queue_timeout=60,
            run_timeout=30,
            labels={"x": "", "z": "3"},
        )
    )
    assert kinds(response) == dict.fromkeys(
        ["params_json", "priority", "timeouts.queue_timeout", "timeouts.run_timeout", "labels"], "APPLIED"
    )
    shown = await yard.admin.get(task_id)
    (listed,) = (
        await yard.admin.tasks.ListTasks(pb.ListTasksRequest(filter=pb.TaskFilter(labels={"z": "3"})))
    ).tasks
    for task in (response.task, shown, listed):
        assert json.loads(task.spec.params_json) == {"a": 1, "b": 2}
        assert (task.spec.priority, dict(task.spec.labels)) == (9, {"y": "2", "z": "3"})
        assert (task.spec.timeouts.queue_timeout.seconds, task.spec.timeouts.run_timeout.seconds) == (60, 30)
    assert [change.detail.reason for change in shown.history][-1] == "MODIFIED"
    assert shown.history[-1].state == pb.TASK_STATE_HELD
    assert shown.history[-1].revision == shown.revision == response.task.revision


async def test_modified_task_is_the_same_after_a_restart_and_when_it_has_ended(yard: SchedulerYard) -> None:
    (task_id,) = await yard.admin.submit(command(params_json='{"a":1}', hold=True))
    await modify(yard.admin, task_id, params_json='{"a":2}', priority=9, labels={"z": "3"})
    before = await yard.admin.get(task_id)
    await yard.restart()
    after = await yard.admin.get(task_id)
    assert after == before
    async with connected(yard) as agent:
        await yard.admin.tasks.ReleaseTasks(pb.ReleaseTasksRequest(task_ids=[task_id]))
        start = await agent.start()
        assert (agent.bodies[start.body].priority, start.params_json) == (9, '{"a":2}')
        agent.exit(start)
        ended = await yard.admin.wait(task_id)
        assert (ended.spec.priority, ended.spec.params_json) == (9, '{"a":2}')
        (again,) = (await yard.admin.tasks.RetryTasks(pb.RetryTasksRequest(task_ids=[task_id]))).task_ids
        assert (await yard.admin.get(again)).spec.params_json == '{"a":2}'


async def test_running_task_answers_with_the_agents_word(yard: SchedulerYard) -> None:  # S0.7
    async with connected(yard) as agent:
        task_id, start = await running(yard, agent, params_json='{"a":1}')
        call = asyncio.ensure_future(
            yard.admin.tasks.ModifyTask(
                request(task_id, params_json='{"a":2}', run_timeout=5, priority=3, labels={"z": "1"})
            )
        )
        told = await agent.modify()
        assert (told.task_id, told.attempt, told.params_json, told.run_timeout_ms) == (
            task_id,
            1,
            '{"a":2}',
            5_000,
        )
        agent.modified(start, told.revision, "timeouts.run_timeout")
        agent.modified(start, told.revision, "params_json", refusal="a must be odd")
        response = await call
        assert kinds(response) == {
            "params_json": "REJECTED", "priority": "REJECTED", "timeouts.run_timeout": "APPLIED", "labels": "APPLIED",
        }  # fmt: skip
        messages = {verdict.path: verdict.message for verdict in response.verdicts}
        assert messages["params_json"] == "a must be odd"
        assert messages["priority"] == "it is running on n0 already"
        assert response.task.spec.params_json == '{"a":1}'
        assert response.task.spec.timeouts.run_timeout.seconds == 5
        agent.exit(start)
        await yard.admin.wait(task_id)


@pytest.mark.usefixtures("impatient")
async def test_silent_agent_defers_and_a_repetition_tells_its_word_later(yard: SchedulerYard) -> None:  # S0.7
    async with connected(yard) as agent:
        task_id, start = await running(yard, agent)
        asked = request(task_id, params_json='{"a":2}', request_id=str(uuid.uuid4()))
        response = await yard.admin.tasks.ModifyTask(asked)
        assert kinds(response) == {"params_json": "DEFERRED"}
        assert "n0 has been told" in response.verdicts[0].message
        agent.modified(start, (await agent.modify()).revision, "params_json")
        while kinds(response) == {"params_json": "DEFERRED"}:
            response = await yard.admin.tasks.ModifyTask(asked)
        assert kinds(response) == {"params_json": "APPLIED"}
        assert len(agent.modifies) == 1


async def test_absent_agent_is_told_when_it_is_back_over_a_restart_of_the_scheduler(
    yard: SchedulerYard,
) -> None:  # S0.7
    async with connected(yard) as agent:
        task_id, start = await running(yard, agent)
        await agent.disconnect()
        await wait_until(lambda: not yard.engine.state.cluster.nodes["n0"].session, "it is gone")
        asked = request(task_id, params_json='{"a":2}', request_id=str(uuid.uuid4()))
        response = await yard.admin.tasks.ModifyTask(asked)
        assert kinds(response) == {"params_json": "DEFERRED"}
        assert response.verdicts[0].message == "n0 is not connected; it is told when it is back"
        await yard.restart()
        await agent.connect(agent.held(start))
        told = await agent.modify()
        assert told.params_json == '{"a":2}'
        agent.modified(start, told.revision, "params_json")
        assert kinds(await yard.admin.tasks.ModifyTask(asked)) == {"params_json": "APPLIED"}
        task = await yard.admin.get(task_id)
        assert task.spec.params_json == '{"a":2}'
        said = [change.detail.message for change in task.history if change.detail.reason == "MODIFIED"]
        assert [words.split(":")[0] for words in said] == ["params_json deferred", "params_json applied"]


@pytest.mark.usefixtures("impatient")
async def test_task_that_ends_before_its_agent_answers_rejects(yard: SchedulerYard) -> None:
    async with connected(yard) as agent:
        task_id, start = await running(yard, agent)
        asked = request(task_id, params_json='{"a":2}', request_id=str(uuid.uuid4()))
        call = asyncio.ensure_future(yard.admin.tasks.ModifyTask(asked))
        await agent.modify()
        agent.exit(start)
        for response in (await call, await yard.admin.tasks.ModifyTask(asked)):
            assert kinds(response) == {"params_json": "REJECTED"}
            assert "ended before" in response.verdicts[0].message
        assert (
            await refusal(yard.admin.tasks.ModifyTask(request(task_id, priority=1)))
        ).reason == "TASK_HAS_ENDED"


async def test_attempt_that_fails_before_its_agent_answers_leaves_the_change_to_the_next(
    yard: SchedulerYard,
) -> None:  # S0.7
    async with connected(yard) as agent:
        task_id, start = await running(yard, agent, retry=pb.RetryPolicy(max_attempts=2))
        call = asyncio.ensure_future(yard.admin.tasks.ModifyTask(request(task_id, params_json='{"a":2}')))
        await agent.modify()
        agent.fail(start)
        response = await call
        assert kinds(response) == {"params_json": "APPLIED"}
        assert response.verdicts[0].message == "from attempt 2 on"
        assert (await agent.start(1)).params_json == '{"a":2}'


async def test_repeated_request_gives_the_first_answer_also_after_a_restart(yard: SchedulerYard) -> None:
    (task_id,) = await yard.admin.submit(command(hold=True))
    asked = request(task_id, priority=5, request_id=str(uuid.uuid4()))
    first = await yard.admin.tasks.ModifyTask(asked)
    await modify(yard.admin, task_id, priority=6)
    for _ in range(2):
        again = await yard.admin.tasks.ModifyTask(asked)
        assert again.verdicts == first.verdicts
        assert again.task.spec.priority == 6
        await yard.restart()
    asked.changes.priority = 7
    assert (await refusal(yard.admin.tasks.ModifyTask(asked))).reason == "REQUEST_ID_REUSED"
    submitted = yard.admin.tasks.SubmitTasks(
        pb.SubmitTasksRequest(request_id=asked.request_id, specs=[command()])
    )
    assert (await refusal(submitted)).reason == "REQUEST_ID_REUSED"


async def test_stale_revision_is_aborted_with_the_next_step(yard: SchedulerYard) -> None:  # S0.7
    (task_id,) = await yard.admin.submit(command(hold=True))
    seen = (await yard.admin.get(task_id)).revision
    await modify(yard.admin, task_id, priority=5, revision=seen)
    error = await refusal(yard.admin.tasks.ModifyTask(request(task_id, priority=6, revision=seen)))
    assert (error.code, error.reason, error.field) == ("ABORTED", "REVISION_STALE", "revision")
    assert error.next_step == f"look at it again: yard tasks get {task_id}"
    assert (await yard.admin.get(task_id)).spec.priority == 5


async def test_concurrent_changes_all_hold(yard: SchedulerYard) -> None:
    (task_id,) = await yard.admin.submit(command(hold=True))
    changes = [modify(yard.admin, task_id, labels={f"l{n}": "1"}) for n in range(6)]
    await asyncio.gather(*changes, modify(yard.admin, task_id, params_json='{"a":1}'))
    task = await yard.admin.get(task_id)
    assert (len(task.spec.labels), task.spec.params_json) == (6, '{"a":1}')


@pytest.mark.parametrize(
    ("asked", "reason", "field"),
    [
        (request("", priority=1), "MALFORMED_TASK_ID", "task_id"),
        (request("t-99", priority=1), "TASK_NOT_FOUND", "task_id"),
        (request("t-1"), "EMPTY_MASK", "update_mask"),
        (request("t-1", "name"), "UNKNOWN_PATH", "update_mask"),
        (request("t-1", "params", "params_json"), "INVALID_REQUEST", "update_mask"),
        (request("t-1", priority=1001), "INVALID_SPEC", "changes.priority"),
        (request("t-1", run_timeout=-1), "INVALID_SPEC", "changes.timeouts.run_timeout"),
        (request("t-1", params_json="[1]"), "INVALID_SPEC", "changes.params_json"),
        (request("t-1", params_json='{"n":"x"}'), "INVALID_PARAMS", "changes.params_json.n"),
        (request("t-1", params_json='{"m":1}'), "INVALID_PARAMS", "changes.params_json.m"),
        (request("t-1", priority=1, request_id="x"), "INVALID_REQUEST", "request_id"),
        (request("t-1", priority=1, revision=-1), "INVALID_REQUEST", "revision"),
        (request("t-1", labels={f"l{n}": "" for n in range(300)}), "INVALID_REQUEST", "changes.labels"),
    ],
)
async def test_request_that_cannot_be_right_changes_nothing(
    yard: SchedulerYard, asked: pb.ModifyTaskRequest, reason: str, field: str
) -> None:
    async with connected(yard, operators={"count": SCHEMA}):
        spec = pb.TaskSpec(operator=pb.OperatorWork(operator="count"), params_json='{"n":1}', hold=True)
        assert await yard.admin.submit(spec) == ["t-1"]
        before = await yard.admin.get("t-1")
        error = await refusal(yard.admin.tasks.ModifyTask(asked))
        assert (error.reason, error.field) == (reason, field)
        if reason == "UNKNOWN_PATH":
            assert "params_json, priority, timeouts.queue_timeout" in error.next_step
        assert await yard.admin.get("t-1") == before


async def test_other_accounts_do_not_see_the_task(yard: SchedulerYard) -> None:
    (task_id,) = await yard.admin.submit(command(hold=True))
    bob = await yard.user("bob")
    assert (await refusal(bob.tasks.ModifyTask(request(task_id, priority=1)))).reason == "TASK_NOT_FOUND"
    (his,) = await bob.submit(command(hold=True))
    assert await modify(yard.admin, his, priority=1) == {"priority": "APPLIED"}
    assert (await bob.get(his)).account == "bob"


async def test_params_as_a_struct_are_whole_numbers_again(yard: SchedulerYard) -> None:
    (task_id,) = await yard.admin.submit(command(hold=True, params_json='{"a":1}'))
    asked = request(task_id)
    asked.changes.params.update({"b": 2, "c": [1.5]})
    assert kinds(await yard.admin.tasks.ModifyTask(asked)) == {"params": "APPLIED"}
    text = (await yard.admin.get(task_id)).spec.params_json
    assert json.loads(text) == {"a": 1, "b": 2, "c": [1.5]}
    assert '"b":2' in text
    assert "2.0" not in text


async def test_watcher_sees_a_modification_and_resumes_before_it_after_a_restart(yard: SchedulerYard) -> None:
    (task_id,) = await yard.admin.submit(command(hold=True))
    seen = (await yard.admin.get(task_id)).revision
    await modify(yard.admin, task_id, priority=5)
    await yard.restart()
    async for response in yard.admin.tasks.WatchTasks(pb.WatchTasksRequest(revision=seen)):
        if response.tasks:
            assert [task.spec.priority for task in response.tasks] == [5]
            break
