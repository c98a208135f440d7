"""Dependencies over real gRPC: what is refused and why, what is shown, tasks that have ended, a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from modelyard.v1 import agent_link_pb2 as links
from modelyard.v1 import task_pb2 as pb
from tests.support.scheduler_service import SchedulerYard, command, refusal, scheduler_yard
from tests.support.scripted_agent import ScriptedAgent, connected, succeed

pytestmark = pytest.mark.asyncio

ENDED = pb.DEPENDENCY_CONDITION_ENDED
FAILED = pb.DEPENDENCY_CONDITION_FAILED


@pytest_asyncio.fixture
async def yard(tmp_path: Path) -> AsyncIterator[SchedulerYard]:
    async with scheduler_yard(tmp_path) as made:
        yield made


def after(*task_ids: str, condition: int = 0, **spec: object) -> pb.TaskSpec:
    found = command(**spec)
    for task_id in task_ids:
        found.dependencies.add(task_id=task_id, condition=condition)  # type: ignore[arg-type]
    return found


def after_item(item: int, *, element_wise: bool = False, **spec: object) -> pb.TaskSpec:
    found = command(**spec)
    found.dependencies.add(item_index=item, element_wise=element_wise)
    return found


def fails(agent: ScriptedAgent, start: links.StartTask) -> None:
    agent.fail(start)


BAD: dict[str, tuple[Callable[[], list[pb.TaskSpec]], str, str]] = {
    "itself": (lambda: [after_item(0)], "specs[0].dependencies[0].item_index", "INVALID_SPEC"),
    "a later one": (lambda: [after_item(1), command()], "specs[0].dependencies[0].item_index", "INVALID_SPEC"),
    "nothing": (
        lambda: [command(dependencies=[pb.Dependency()])], "specs[0].dependencies[0]", "INVALID_SPEC",
    ),
    "no task": (lambda: [after("t-77")], "specs[0].dependencies[0].task_id", "TASK_NOT_FOUND"),
    "no element": (lambda: [after("t-1.9")], "specs[0].dependencies[0].task_id", "TASK_NOT_FOUND"),
    "no id": (lambda: [after("seven")], "specs[0].dependencies[0].task_id", "MALFORMED_TASK_ID"),
    "an unknown condition": (
        lambda: [after("t-1", condition=9)], "specs[0].dependencies[0].condition", "INVALID_SPEC",
    ),
    "it twice": (lambda: [after("t-1", "t-1")], "specs[0].dependencies[1]", "INVALID_SPEC"),
    "elements of no array": (
        lambda: [command(), after_item(0, element_wise=True)], "specs[1].dependencies[0].element_wise",
        "INVALID_SPEC",
    ),
    "elements of another number": (
        lambda: [command(array_size=3), after_item(0, element_wise=True, array_size=2)],
        "specs[1].dependencies[0].element_wise", "INVALID_SPEC",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
async def test_dependency_that_cannot_be_is_refused_with_its_field(yard: SchedulerYard, case: str) -> None:
    await yard.admin.submit(command(hold=True))
    make, field, reason = BAD[case]
    request = pb.SubmitTasksRequest(specs=make())
    error = await refusal(yard.admin.tasks.SubmitTasks(request))
    assert (error.reason, error.field) == (reason, field)
    assert error.next_step
    listed = await yard.admin.tasks.ListTasks(pb.ListTasksRequest())
    assert len(listed.tasks) == 1


async def test_dependency_on_a_task_of_another_account_is_not_found(yard: SchedulerYard) -> None:
    ann, bob = await yard.user("ann"), await yard.user("bob")
    (task_id,) = await ann.submit(command())
    error = await refusal(bob.tasks.SubmitTasks(pb.SubmitTasksRequest(specs=[after(task_id)])))
    assert error.reason == "TASK_NOT_FOUND"
    await ann.cancel(task_id)
    error = await refusal(bob.tasks.SubmitTasks(pb.SubmitTasksRequest(specs=[after(task_id)])))
    assert error.reason == "TASK_NOT_FOUND"


async def test_dependent_says_what_it_waits_for_and_runs_after_it(yard: SchedulerYard) -> None:
    first, second = await yard.admin.submit(command(hold=True), after_item(0))
    task = await yard.admin.get(second)
    assert task.spec.dependencies[0].task_id == first
    assert task.detail.reason == "WAITING_FOR_DEPENDENCY"
    assert task.detail.message == f"{first} has not succeeded yet"
    answer = await yard.admin.tasks.ExplainTask(pb.ExplainTaskRequest(task_id=second))
    assert [gate.reason for gate in answer.gates] == ["DEPENDENCY"]
    async with connected(yard, script=succeed) as agent:
        await yard.admin.tasks.ReleaseTasks(pb.ReleaseTasksRequest(task_ids=[first]))
        assert (await yard.admin.wait(second)).state == pb.TASK_STATE_SUCCEEDED
        assert [start.task_id for start in agent.starts] == [first, second]


async def test_dependencies_on_ended_tasks_count_at_once_also_after_a_restart(yard: SchedulerYard) -> None:
    async with connected(yard, script=fails):
        (failed,) = await yard.admin.submit(command())
        await yard.admin.wait(failed)
    await yard.restart()
    never, then = await yard.admin.submit(after(failed), after(failed, condition=ENDED))
    task = await yard.admin.wait(never)
    assert (task.state, task.error.cause) == (pb.TASK_STATE_CANCELLED, pb.TASK_CAUSE_DEPENDENCY)
    assert task.error.message == f"{failed} failed; it was to succeed first"
    assert f"yard tasks retry {failed} {never}" in task.error.next_step
    async with connected(yard, script=succeed):
        assert (await yard.admin.wait(then)).state == pb.TASK_STATE_SUCCEEDED


async def test_waiting_dependents_survive_a_restart(yard: SchedulerYard) -> None:
    first, second = await yard.admin.submit(command(hold=True), after_item(0))
    await yard.restart()
    assert (await yard.admin.get(second)).detail.message == f"{first} has not succeeded yet"
    await yard.admin.cancel(first)
    assert (await yard.admin.wait(second)).error.cause == pb.TASK_CAUSE_DEPENDENCY


async def test_elements_wait_for_the_elements_of_an_array_that_ended_before_the_restart(
    yard: SchedulerYard,
) -> None:
    def every_second(agent: ScriptedAgent, start: links.StartTask) -> None:
        (agent.fail if start.array_index % 2 else agent.exit)(start)

    async with connected(yard, script=every_second):
        (array,) = await yard.admin.submit(command(array_size=4))
        await yard.admin.wait(array)
    await yard.restart()
    spec = command(array_size=4)
    spec.dependencies.add(task_id=array, element_wise=True)
    (second,) = await yard.admin.submit(spec)
    async with connected(yard, script=succeed) as agent:
        task = await yard.admin.wait(second)
        assert sorted(start.array_index for start in agent.starts) == [0, 2]
        assert (task.array.succeeded_count, task.array.cancelled_count) == (2, 2)


async def test_elements_wait_for_an_array_that_goes_on_over_a_restart(yard: SchedulerYard) -> None:
    async with connected(yard, script=lambda agent, start: None, cpu=2) as agent:
        (array,) = await yard.admin.submit(command(array_size=4))
        start = await agent.start(1)
        agent.exit(start)
        await yard.admin.wait(start.task_id)
    await yard.restart()
    spec = command(array_size=4, priority=9)
    spec.dependencies.add(task_id=array, element_wise=True)
    (second,) = await yard.admin.submit(spec)
    async with connected(yard, script=succeed) as agent:
        assert (await yard.admin.wait(second)).array.succeeded_count == 4
        assert agent.starts[0].task_id == f"{second}.{start.array_index}"


async def test_tasks_that_are_retried_together_keep_their_order(yard: SchedulerYard) -> None:
    async with connected(yard, script=fails):
        first, second = await yard.admin.submit(command(), after_item(0))
        await yard.admin.wait(second)
    request = pb.RetryTasksRequest(task_ids=[second, first])
    new_second, new_first = (await yard.admin.tasks.RetryTasks(request)).task_ids
    assert (await yard.admin.get(new_second)).spec.dependencies[0].task_id == new_first
    async with connected(yard, script=succeed):
        assert (await yard.admin.wait(new_second)).state == pb.TASK_STATE_SUCCEEDED


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (command(array_size=3, array_indexes="1-5"), "array_indexes"),
        (command(array_size=3, array_indexes="x"), "array_indexes"),
        (command(array_indexes="1"), "array_indexes"),
        (command(array_limits=pb.ArrayLimits(max_running=2)), "array_limits"),
        (command(array_size=3, array_limits=pb.ArrayLimits(max_fails=-1)), "array_limits.max_fails"),
        (command(delivery=7), "delivery"),
        (
            command(delivery=pb.DELIVERY_AT_MOST_ONCE, retry=pb.RetryPolicy(max_attempts=2)),
            "retry",
        ),
        (
            command(delivery=pb.DELIVERY_AT_MOST_ONCE, preemption=pb.Preemption(preemptible=True)),
            "preemption.preemptible",
        ),
        (
            command(array_size=3, array_indexes="1", gang=pb.Gang(name="g")),
            "array_indexes",
        ),
    ],
)
async def test_limits_and_delivery_that_cannot_be_are_refused(
    yard: SchedulerYard, spec: pb.TaskSpec, field: str
) -> None:
    error = await refusal(yard.admin.tasks.SubmitTasks(pb.SubmitTasksRequest(specs=[spec])))
    assert (error.reason, error.field) == ("INVALID_SPEC", f"specs[0].{field}")
    assert error.next_step


async def test_retry_at_most_once_may_be_for_setup(yard: SchedulerYard) -> None:
    retry = pb.RetryPolicy(max_attempts=2, on=[pb.TASK_CAUSE_SETUP])
    assert await yard.admin.submit(command(delivery=pb.DELIVERY_AT_MOST_ONCE, retry=retry))


async def test_retry_of_what_succeeded_is_refused_where_only_failures_are_meant(yard: SchedulerYard) -> None:
    async with connected(yard, script=succeed):
        (array,) = await yard.admin.submit(command(array_size=2))
        await yard.admin.wait(array)
    error = await refusal(
        yard.admin.tasks.RetryTasks(pb.RetryTasksRequest(task_ids=[array], failed_only=True))
    )
    assert error.reason == "NOTHING_TO_RETRY"
