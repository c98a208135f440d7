"""ModifyTasks over real gRPC: whom a filter means, all or none, repetitions, what is only foreseen (S0.7)."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from modelyard.v1 import task_pb2 as pb
from services.scheduler.intake import mass_modification, modification
from tests.support.scheduler_service import Client, SchedulerYard, command, refusal, scheduler_yard
from tests.support.scripted_agent import connected

pytestmark = pytest.mark.asyncio

APPLIED, DEFERRED, REJECTED = (
    pb.FIELD_VERDICT_KIND_APPLIED,
    pb.FIELD_VERDICT_KIND_DEFERRED,
    pb.FIELD_VERDICT_KIND_REJECTED,
)


@pytest_asyncio.fixture
async def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SchedulerYard]:
    monkeypatch.setattr(modification, "ANSWER_S", 0.2)
    async with scheduler_yard(tmp_path) as made:
        yield made


async def modify(client: Client, request_id: str = "", **wanted: Any) -> dict[str, list[int]]:
    """Kinds of verdicts by task; ``wanted``: of the changes, or filter, all_tasks, validate_only."""
    request = {name: wanted.pop(name) for name in ("filter", "all_tasks", "validate_only") if name in wanted}
    made = pb.ModifyTasksRequest(request_id=request_id, changes=pb.TaskChanges(**wanted), **request)
    response = await client.tasks.ModifyTasks(made)
    return {task.task_id: [verdict.kind for verdict in task.verdicts] for task in response.tasks}


async def priority(client: Client, task_id: str) -> int:
    return (await client.get(task_id)).spec.priority


async def test_filter_names_tasks_as_a_list_would(yard: SchedulerYard) -> None:
    one, two, three, array = await yard.admin.submit(
        command(name="a", labels={"team": "x"}),
        command(name="a", hold=True),
        command(name="b", labels={"team": "x"}),
        command(name="c", array_size=3),
    )
    for wanted, meant in (
        (pb.TaskFilter(name="a"), [one, two]),
        (pb.TaskFilter(labels={"team": "x"}), [one, three]),
        (pb.TaskFilter(states=[pb.TASK_STATE_HELD]), [two]),
        (pb.TaskFilter(labels={"team": "x"}, name="b"), [three]),
        (pb.TaskFilter(labels={"team": "y"}), []),
        (pb.TaskFilter(name="c"), [array]),
    ):
        listed = await yard.admin.tasks.ListTasks(pb.ListTasksRequest(filter=wanted))
        assert sorted(task.id for task in listed.tasks) == sorted(meant)
        assert list(await modify(yard.admin, filter=wanted, priority=5)) == meant
    assert list(await modify(yard.admin, all_tasks=True, priority=7)) == [one, two, three, array]
    assert [await priority(yard.admin, task_id) for task_id in (one, two, three, array)] == [7] * 4


async def test_validate_only_tells_and_changes_nothing(yard: SchedulerYard) -> None:
    async with connected(yard, cpu=1) as agent:
        running, waiting = await yard.admin.submit(command(), command())
        await agent.start()
        found = await modify(yard.admin, all_tasks=True, validate_only=True, priority=4, labels={"a": "b"})
        assert found == {running: [REJECTED, APPLIED], waiting: [APPLIED, APPLIED]}
        assert await priority(yard.admin, waiting) == 0
        assert await modify(yard.admin, all_tasks=True, priority=4, labels={"a": "b"}) == found
        assert await priority(yard.admin, waiting) == 4
        assert dict((await yard.admin.get(running)).spec.labels) == {"a": "b"}


async def test_change_that_does_not_fit_one_task_changes_none(yard: SchedulerYard) -> None:
    schema = '{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false}'
    async with connected(yard, operators={"count": schema}):
        plain = command(hold=True)
        typed = pb.TaskSpec(operator=pb.OperatorWork(operator="count"), params_json='{"n":1}', hold=True)
        ids = await yard.admin.submit(plain, typed)
        request = pb.ModifyTasksRequest(all_tasks=True, changes=pb.TaskChanges(params_json='{"n":"x"}'))
        error = await refusal(yard.admin.tasks.ModifyTasks(request))
        assert error.reason == "INVALID_PARAMS"
        assert (await yard.admin.get(ids[0])).spec.params_json == ""


async def test_repeated_request_gets_the_first_answer_also_after_a_restart(yard: SchedulerYard) -> None:
    first, second = await yard.admin.submit(command(hold=True), command(hold=True))
    request_id = str(uuid.uuid4())
    answer = await modify(yard.admin, request_id, all_tasks=True, priority=2)
    (later,) = await yard.admin.submit(command(hold=True))
    assert await modify(yard.admin, request_id, all_tasks=True, priority=2) == answer
    await yard.restart()
    assert (
        await modify(yard.admin, request_id, all_tasks=True, priority=2)
        == answer
        == {
            first: [APPLIED],
            second: [APPLIED],
        }
    )
    assert [await priority(yard.admin, task_id) for task_id in (first, second, later)] == [2, 2, 0]
    request = pb.ModifyTasksRequest(request_id=request_id, all_tasks=True, changes=pb.TaskChanges(priority=3))
    assert (await refusal(yard.admin.tasks.ModifyTasks(request))).reason == "REQUEST_ID_REUSED"


async def test_accounts_change_only_their_own(yard: SchedulerYard) -> None:
    ann, bob = await yard.user("ann"), await yard.user("bob")
    (of_ann,), (of_bob,) = await ann.submit(command()), await bob.submit(command())
    assert list(await modify(ann, all_tasks=True, priority=1)) == [of_ann]
    everybody = pb.TaskFilter(all_accounts=True, states=[pb.TASK_STATE_QUEUED])
    request = pb.ModifyTasksRequest(filter=everybody, changes=pb.TaskChanges(priority=1))
    assert (await refusal(ann.tasks.ModifyTasks(request))).reason == "NOT_YOUR_ACCOUNT"
    assert list(await modify(yard.admin, filter=everybody, priority=9)) == [of_ann, of_bob]
    assert await priority(bob, of_bob) == 9


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ModifyTasksRequest(changes=pb.TaskChanges(priority=1)), "filter"),
        (
            pb.ModifyTasksRequest(
                all_tasks=True, filter=pb.TaskFilter(name="a"), changes=pb.TaskChanges(priority=1)
            ),
            "all_tasks",
        ),
        (
            pb.ModifyTasksRequest(
                filter=pb.TaskFilter(states=[pb.TASK_STATE_FAILED]), changes=pb.TaskChanges(priority=1)
            ),
            "filter.states",
        ),
    ],
)
async def test_request_that_cannot_be_right_is_refused_with_its_field(
    yard: SchedulerYard, request_: pb.ModifyTasksRequest, field: str
) -> None:
    error = await refusal(yard.admin.tasks.ModifyTasks(request_))
    assert (error.reason, error.field) == ("INVALID_REQUEST", field)
    assert error.next_step


async def test_more_tasks_than_allowed_are_refused(
    yard: SchedulerYard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mass_modification, "MOST_TASKS", 2)
    await yard.admin.submit(command(), command(), command())
    request = pb.ModifyTasksRequest(all_tasks=True, changes=pb.TaskChanges(priority=1))
    error = await refusal(yard.admin.tasks.ModifyTasks(request))
    assert (error.reason, error.field) == ("TOO_MANY_MATCHES", "filter")
