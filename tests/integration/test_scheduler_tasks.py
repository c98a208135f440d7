"""Tasks over real gRPC with a scripted agent: submit, read, list, watch, wait, move, retry, explain."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from modelyard.errors import from_rpc_error
from modelyard.v1 import agent_link_pb2, node_pb2
from modelyard.v1 import task_pb2 as pb
from tests.support.scheduler_service import Client, command, refusal, scheduler_yard
from tests.support.scripted_agent import ScriptedAgent, connected, succeed
from tests.support.wait import wait_until

SCHEMA = json.dumps(
    {
        "title": "echo",
        "type": "object",
        "properties": {"times": {"type": "integer"}, "text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    }
)


def operator(name: str = "echo", params: str = '{"text": "x"}', **spec: object) -> pb.TaskSpec:
    return pb.TaskSpec(operator=pb.OperatorWork(operator=name), params_json=params, **spec)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_task_goes_to_the_agent_and_its_result_comes_back(tmp_path: Path) -> None:  # S0.1
    async with scheduler_yard(tmp_path) as yard, connected(yard) as agent:
        ada = await yard.user("ada")
        [task_id] = await ada.submit(command("echo", "hello", name="greet"))
        start = await agent.start()
        assert (start.task_id, start.attempt, start.array_index) == (task_id, 1, -1)
        assert list(agent.bodies[start.body].command.argv) == ["echo", "hello"]
        assert (await ada.get(task_id)).state == pb.TASK_STATE_ASSIGNED
        agent.started(start)
        usage = pb.TaskUsage(cpu_time_s=0.5, enforcement="rlimit")
        agent.exit(start, result=pb.TaskResult(value_json="42"), usage=usage)
        task = await ada.wait(task_id)
        assert (task.state, task.result.value_json, task.node) == (pb.TASK_STATE_SUCCEEDED, "42", "n0")
        assert task.usage == usage
        history = (await ada.get(task_id)).history
        assert [change.state for change in history] == [1, 2, 3, 4]
        await wait_until(lambda: agent.acked == agent.sent, "the events are acknowledged")


@pytest.mark.asyncio
async def test_parameters_inputs_and_attachments_travel_with_the_task(tmp_path: Path) -> None:  # S0.6
    async with scheduler_yard(tmp_path) as yard, connected(yard, operators={"echo": SCHEMA}) as agent:
        spec = operator(params='{"text": "x", "times": 3}', env={"MODE": "fast"})
        spec.inputs["image"].data = b"\x00\xff"
        spec.inputs["weights"].digest = "a" * 64
        items = [pb.TaskItem(spec_index=0, params_json='{"times": 12345678901234567890}')]
        await (await yard.user("ada")).submit(spec, items=items)
        start = await agent.start()
        body = agent.bodies[start.body]
        assert start.params_json == '{"times": 12345678901234567890}'
        assert (body.params_json, body.inputs["image"].data) == ('{"text": "x", "times": 3}', b"\x00\xff")
        assert (body.inputs["weights"].digest, body.env["MODE"]) == ("a" * 64, "fast")
        assert len(yard.store.holders) == 1


@pytest.mark.asyncio
async def test_whole_numbers_of_a_struct_stay_whole(tmp_path: Path) -> None:  # S0.6
    async with scheduler_yard(tmp_path) as yard, connected(yard, operators={"echo": SCHEMA}):
        ada = await yard.user("ada")
        spec = pb.TaskSpec(operator=pb.OperatorWork(operator="echo"))
        spec.params.update({"text": "x", "times": 3})
        [task_id] = await ada.submit(spec)
        assert json.loads((await ada.get(task_id)).spec.params_json) == {"text": "x", "times": 3}
        assert "3.0" not in (await ada.get(task_id)).spec.params_json
        spec.params.update({"times": 3.5})
        refused = await refusal(ada.submit(spec))
        assert (refused.reason, refused.field) == ("INVALID_PARAMS", "specs[0].params.times")


@pytest.mark.asyncio
async def test_occupancy_is_seen_side_by_side_and_a_task_pinned_by_it(tmp_path: Path) -> None:  # S0.5
    async with scheduler_yard(tmp_path) as yard, connected(yard, "n0"), connected(yard, "n1") as second:
        ada = await yard.user("ada")
        second.say(
            beat=agent_link_pb2.Beat(
                number=1, windows=[node_pb2.WindowUsage(window_s=w, cpu=w / 10) for w in (1, 10, 60)]
            )
        )

        async def occupancies(window_s: int) -> dict[str, float]:
            answer = await ada.nodes.GetOccupancy(node_pb2.GetOccupancyRequest(window_s=window_s))
            return {node.node: node.occupancy_ratio for node in answer.nodes}

        async def has_arrived() -> bool:
            return (await occupancies(10))["n1"] > 0

        await wait_until(has_arrived, "the beat has arrived")  # type: ignore[arg-type]
        assert [round((await occupancies(w))["n1"], 4) for w in (1, 10, 60, 0)] == [
            0.0125,
            0.125,
            0.75,
            0.125,
        ]
        assert (await occupancies(10))["n0"] == 0
        [task_id] = await ada.submit(command(placement=pb.Placement(node="n1")))
        assert (await second.start()).task_id == task_id


@pytest.mark.asyncio
async def test_list_pages_filters_and_shows_newest_first(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, cpu=3) as agent:
        ada = await yard.user("ada")
        ids = []
        for number in range(10):
            name = "odd" if number % 2 else "even"
            ids += await ada.submit(command(name=name, labels={"n": str(number)}))
        agent.exit(await agent.start(0))
        await ada.wait(ids[0])

        async def listed(size: int = 0, **wanted: Any) -> list[str]:
            found, token = [], ""
            while True:
                request = pb.ListTasksRequest(
                    page_size=size, page_token=token, filter=pb.TaskFilter(**wanted)
                )
                answer = await ada.tasks.ListTasks(request)
                assert not size or len(answer.tasks) <= size
                found += [task.id for task in answer.tasks]
                token = answer.next_page_token
                if not token:
                    return found

        assert await listed() == ids[::-1]
        assert await listed(3) == ids[::-1]
        assert await listed(name="odd") == ids[::-1][::2]
        assert await listed(labels={"n": "4"}) == [ids[4]]
        assert await listed(states=[pb.TASK_STATE_SUCCEEDED]) == [ids[0]]
        assert await listed(2, states=[pb.TASK_STATE_QUEUED]) == ids[4:][::-1]
        assert await listed(node="n0") == ids[:4][::-1]


@pytest.mark.asyncio
async def test_list_of_large_tasks_stays_within_a_message(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        ada = await yard.user("ada")
        large = command(params_json=json.dumps({"x": "y" * 250_000}))
        for _ in range(24):
            await ada.submit(large)
        first = await ada.tasks.ListTasks(pb.ListTasksRequest(page_size=1000))
        assert 0 < len(first.tasks) < 24
        assert first.next_page_token
        cancelled = await ada.cancel(*[f"t-{number}" for number in range(1, 25)])
        assert [task.state for task in cancelled] == [pb.TASK_STATE_CANCELLED] * 24


@pytest.mark.asyncio
async def test_page_token_that_was_made_up_is_refused(tmp_path: Path) -> None:
    from services.chassis.requests.paging import encode_token

    async with scheduler_yard(tmp_path) as yard:
        ada = await yard.user("ada")
        for token in (
            "x",
            "!!",
            encode_token("abc", b""),
            encode_token("9" * 40, b""),
            encode_token("²", b""),
        ):
            refused = await refusal(ada.tasks.ListTasks(pb.ListTasksRequest(page_token=token)))
            assert (refused.code, refused.field) == ("INVALID_ARGUMENT", "page_token")


# --- watch


async def _watched(ada: Client, revision: int, until: str) -> tuple[list[tuple[str, int, int]], int]:
    """(id, state, revision) of every task shown, up to the end of one; and where to resume."""
    seen: list[tuple[str, int, int]] = []
    position = revision
    call = ada.tasks.WatchTasks(pb.WatchTasksRequest(revision=revision))
    async for answer in call:
        seen += [(task.id, task.state, task.revision) for task in answer.tasks]
        position = answer.revision
        if any(task.id == until and task.state >= 4 for task in answer.tasks):
            break
    call.cancel()
    return seen, position


@pytest.mark.asyncio
async def test_watch_resumes_from_a_revision_over_a_restart_of_the_scheduler(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard) as agent:
        ada = await yard.user("ada")
        revision = (await ada.tasks.ListTasks(pb.ListTasksRequest())).revision
        first, second = await ada.submit(command("a"), command("b"))
        agent.exit(await agent.start(0))
        seen, position = await _watched(ada, revision, first)
        assert (first, pb.TASK_STATE_SUCCEEDED) in {(i, s) for i, s, _ in seen}
        await yard.restart()
        held = agent.held(agent.starts[1])
        await agent.disconnect()
        await agent.connect(held)
        agent.exit(agent.starts[1])
        await ada.wait(second)
        more, _ = await _watched(ada, position, second)
        assert {i for i, _, _ in more} <= {first, second}
        revisions = [r for _, _, r in seen + more]
        assert len(set(revisions)) == len(revisions)


@pytest.mark.asyncio
async def test_watch_from_a_revision_that_is_no_longer_kept_says_to_list_again(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        ada = await yard.user("ada")
        await ada.submit()
        yard.engine.state.compacted_revision = yard.engine.released_revision
        for revision in (1, -5, 1 << 62):
            call = ada.tasks.WatchTasks(pb.WatchTasksRequest(revision=revision))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                async for _ in call:
                    pass
            error = from_rpc_error(refused.value)
            assert (error.code, error.reason) == ("OUT_OF_RANGE", "REVISION_COMPACTED")
            assert "list again" in error.next_step


@pytest.mark.asyncio
async def test_watch_shows_only_the_tasks_asked_for(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, script=succeed):
        ada = await yard.user("ada")
        call = ada.tasks.WatchTasks(pb.WatchTasksRequest(task_ids=["t-2"]))
        await anext(aiter(call))
        await ada.submit(command("a"), command("b"))
        async for answer in call:
            assert {task.id for task in answer.tasks} <= {"t-2"}
            if any(task.state == pb.TASK_STATE_SUCCEEDED for task in answer.tasks):
                break
        call.cancel()


# --- wait and move


@pytest.mark.asyncio
async def test_wait_answers_with_the_present_state_when_its_time_is_over(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        ada = await yard.user("ada")
        [task_id] = await ada.submit()
        request = pb.WaitTaskRequest(task_id=task_id)
        request.wait_timeout.FromMilliseconds(1)
        answer = await ada.tasks.WaitTask(request)
        assert (answer.ended, answer.task.state) == (False, pb.TASK_STATE_QUEUED)
        assert answer.task.detail.reason == "WAITING_FOR_RESOURCES"


@pytest.mark.asyncio
async def test_tasks_are_held_released_cancelled_and_retried(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        ada = await yard.user("ada")
        [task_id] = await ada.submit()
        held = await ada.tasks.HoldTasks(pb.HoldTasksRequest(task_ids=[task_id]))
        assert held.tasks[0].state == pb.TASK_STATE_HELD
        async with connected(yard) as agent:
            assert not agent.starts
            await ada.tasks.ReleaseTasks(pb.ReleaseTasksRequest(task_ids=[task_id]))
            start = await agent.start()
            refused = await refusal(ada.tasks.HoldTasks(pb.HoldTasksRequest(task_ids=[task_id])))
            assert (refused.reason, refused.next_step) == ("TASK_IS_RUNNING", f"yard tasks cancel {task_id}")
            refused = await refusal(ada.tasks.RetryTasks(pb.RetryTasksRequest(task_ids=[task_id])))
            assert refused.reason == "TASK_HAS_NOT_ENDED"
            request = pb.CancelTasksRequest(task_ids=[task_id], comment="enough")
            request.grace.FromMilliseconds(250)
            await ada.tasks.CancelTasks(request)
            stop = await agent.stop()
            assert (stop.grace_ms, stop.message, stop.cause) == (250, "enough", pb.TASK_CAUSE_CANCELLED)
            agent.fail(start)
            task = await ada.wait(task_id)
            assert (task.state, task.error.message) == (pb.TASK_STATE_CANCELLED, "enough")
            again = pb.RetryTasksRequest(task_ids=[task_id], request_id=str(uuid.uuid4()))
            [new] = (await ada.tasks.RetryTasks(again)).task_ids
            assert list((await ada.tasks.RetryTasks(again)).task_ids) == [new]
            assert (await ada.get(new)).spec.command.argv == ["true"]


@pytest.mark.asyncio
async def test_elements_of_an_array_are_seen_and_cancelled_before_their_turn(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, cpu=1):
        ada = await yard.user("ada")
        [array] = await ada.submit(command(array_size=1_000_000))
        await wait_until(
            lambda: yard.engine.state.tasks.get(yard.engine.state.next_number - 1, True), "placed"
        )
        task = await ada.get(f"{array}.999999")
        assert (task.id, task.state) == (f"{array}.999999", pb.TASK_STATE_QUEUED)
        assert task.detail.reason == "WAITING_FOR_ARRAY"
        explained = await ada.tasks.ExplainTask(pb.ExplainTaskRequest(task_id=f"{array}.7"))
        assert explained.nodes
        [cancelled] = await ada.cancel(f"{array}.999999")
        assert cancelled.state == pb.TASK_STATE_CANCELLED
        assert not cancelled.HasField("array")
        assert (await refusal(ada.get(f"{array}.1000000"))).reason == "TASK_NOT_FOUND"
        [task] = await ada.cancel(array)
        assert task.array.cancelled_count == 999_999
        listed = await ada.tasks.ListTasks(pb.ListTasksRequest(filter=pb.TaskFilter(array_task_id=array)))
        assert {t.id for t in listed.tasks} == {f"{array}.0", f"{array}.999999"}


@pytest.mark.asyncio
async def test_failed_task_tells_its_error_and_retries_as_its_policy_says(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, script=ScriptedAgent.fail) as agent:
        ada = await yard.user("ada")
        [task_id] = await ada.submit(command(retry=pb.RetryPolicy(max_attempts=3)))
        task = await ada.wait(task_id)
        assert (task.state, task.attempt) == (pb.TASK_STATE_FAILED, 3)
        assert (task.error.cause, task.error.exit_code) == (pb.TASK_CAUSE_EXIT, 3)
        assert [start.attempt for start in agent.starts] == [1, 2, 3]


@pytest.mark.asyncio
async def test_explain_tells_every_node_and_what_to_do(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, "n0", cpu=1):
        ada = await yard.user("ada")
        placed, waiting = await ada.submit(command(), command())
        found = await ada.tasks.ExplainTask(pb.ExplainTaskRequest(task_id=waiting))
        [verdict] = found.nodes
        assert (verdict.node, verdict.fits, verdict.reason) == ("n0", False, "NOT_ENOUGH")
        assert verdict.occupancy_ratio == 1
        assert found.next_step
        found = await ada.tasks.ExplainTask(pb.ExplainTaskRequest(task_id=placed))
        assert [candidate.node for candidate in found.placement.candidates] == ["n0"]


@pytest.mark.asyncio
async def test_plan_says_what_a_submission_would_find_and_keeps_nothing(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, "n0", cpu=2):
        ada = await yard.user("ada")
        plan = await ada.tasks.PlanTask(pb.PlanTaskRequest(spec=command()))
        assert (plan.starts_now, plan.node) == (True, "n0")
        await ada.submit(command())
        spec = command(resources=pb.Resources(cpu=2))
        plan = await ada.tasks.PlanTask(pb.PlanTaskRequest(spec=spec))
        assert not plan.starts_now
        [suggestion] = plan.suggestions
        assert (suggestion.field, suggestion.value_json) == ("resources.cpu", "1.0")
        spec.resources.cpu = 3
        refused = await refusal(ada.tasks.PlanTask(pb.PlanTaskRequest(spec=spec)))
        assert (refused.reason, refused.field) == ("CANNOT_BE_PLACED", "spec.resources.cpu")
        assert len(yard.engine.state.tasks) == 1


# --- requests


@pytest.mark.asyncio
async def test_request_id_gives_the_first_answer_again_also_after_a_restart(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        ada = await yard.user("ada")
        request_id = str(uuid.uuid4())
        first = await ada.submit(command("a"), request_id=request_id)
        assert await ada.submit(command("a"), request_id=request_id) == first
        await yard.restart()
        assert await ada.submit(command("a"), request_id=request_id) == first
        refused = await refusal(ada.submit(command("b"), request_id=request_id))
        assert (refused.code, refused.reason, refused.field) == (
            "ALREADY_EXISTS",
            "REQUEST_ID_REUSED",
            "request_id",
        )
        assert len(yard.engine.state.tasks) == 1


@pytest.mark.asyncio
async def test_request_that_memory_has_forgotten_is_still_recognised(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        ada = await yard.user("ada")
        request_id = str(uuid.uuid4())
        first = await ada.submit(command("a"), request_id=request_id)
        yard.engine.state.requests.clear()
        yard.engine.state.has_forgotten_requests = True
        assert await ada.submit(command("a"), request_id=request_id) == first


@pytest.mark.asyncio
async def test_validation_only_has_no_effect(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        ada = await yard.user("ada")
        assert await ada.submit(validate_only=True) == []
        assert not yard.engine.state.tasks


@pytest.mark.asyncio
async def test_items_may_complete_the_parameters_of_their_specification(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, operators={"echo": SCHEMA}):
        ada = await yard.user("ada")
        base = operator(params='{"times": 2}')
        items = [pb.TaskItem(spec_index=0, params_json='{"text": "a"}')]
        [task_id] = await ada.submit(base, items=items)
        assert json.loads((await ada.get(task_id)).spec.params_json) == {"times": 2, "text": "a"}
        refused = await refusal(ada.submit(base))
        assert refused.reason == "INVALID_PARAMS"


# --- accounts


@pytest.mark.asyncio
async def test_task_of_another_account_is_not_there_for_any_rpc(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        ada, bob = await yard.user("ada"), await yard.user("bob")
        [live, ended] = await ada.submit(command("a"), command("b"))
        await ada.cancel(ended)
        [array] = await ada.submit(command(array_size=5))
        for task_id in (live, ended, array, f"{array}.3"):
            ids = [task_id]
            calls = [
                bob.tasks.GetTask(pb.GetTaskRequest(task_id=task_id)),
                bob.tasks.WaitTask(pb.WaitTaskRequest(task_id=task_id)),
                bob.tasks.ExplainTask(pb.ExplainTaskRequest(task_id=task_id)),
                bob.tasks.CancelTasks(pb.CancelTasksRequest(task_ids=ids)),
                bob.tasks.HoldTasks(pb.HoldTasksRequest(task_ids=ids)),
                bob.tasks.ReleaseTasks(pb.ReleaseTasksRequest(task_ids=ids)),
                bob.tasks.RetryTasks(pb.RetryTasksRequest(task_ids=ids)),
                bob.tasks.StreamLogs(pb.StreamLogsRequest(task_id=task_id, follow=True)),
            ]
            for call in calls:
                assert (await refusal(call)).reason == "TASK_NOT_FOUND"
        assert not (await bob.tasks.ListTasks(pb.ListTasksRequest())).tasks
        assert (
            await refusal(bob.tasks.ListTasks(pb.ListTasksRequest(filter=pb.TaskFilter(all_accounts=True))))
        ).reason == "NOT_YOUR_ACCOUNT"
        everything = await yard.admin.tasks.ListTasks(
            pb.ListTasksRequest(filter=pb.TaskFilter(all_accounts=True))
        )
        assert {task.account for task in everything.tasks} == {"ada"}
        session = bob.tasks.Session()
        await session.write(pb.SessionRequest(sequence=1, follow=pb.FollowTasks(task_ids=[live, ended])))
        await session.done_writing()
        told = await session.read()
        assert isinstance(told, pb.SessionResponse)
        assert list(told.unknown_task_ids) == [live, ended] and not told.outcomes.outcomes
        assert await session.read() is grpc.aio.EOF
        assert (await ada.get(live)).state == pb.TASK_STATE_QUEUED


@pytest.mark.asyncio
async def test_burst_of_cancels_and_submissions_leaves_nothing(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, cpu=2) as agent:
        ada = await yard.user("ada")

        async def one() -> None:
            [task_id] = await ada.submit()
            await ada.cancel(task_id)

        await asyncio.gather(*[one() for _ in range(50)])
        while yard.engine.state.tasks:
            for start in list(agent.starts):
                agent.fail(start)
            agent.starts.clear()
            await asyncio.sleep(0.02)
        assert not any(yard.engine.state.cluster.nodes["n0"].reserved.values())
