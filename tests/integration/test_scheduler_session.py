"""A client's session and the logs of tasks, over real gRPC."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from modelyard.client import Client as YardClient
from modelyard.client.session import TaskForgotten
from modelyard.v1 import agent_link_pb2
from modelyard.v1 import task_pb2 as pb
from services.scheduler.archive.past import Past
from services.scheduler.model import parse_task_id
from services.scheduler.servicer import follow
from tests.support.scheduler_service import Client, command, refusal, scheduler_yard
from tests.support.scripted_agent import ScriptedAgent, connected, succeed
from tests.support.wait import wait_until


async def read(session: Any) -> pb.SessionResponse:
    answer = await asyncio.wait_for(session.read(), 10)
    assert isinstance(answer, pb.SessionResponse)
    return answer


async def outcomes(session: Any, count: int) -> list[pb.TaskOutcome]:
    """The next outcomes; nothing else may come in between."""
    found: list[pb.TaskOutcome] = []
    while len(found) < count:
        found += (await read(session)).outcomes.outcomes
    return found


def submission(sequence: int, *specs: pb.TaskSpec, **request: Any) -> pb.SessionRequest:
    submit = pb.SubmitTasksRequest(specs=specs or [command()], **request)
    return pb.SessionRequest(sequence=sequence, submit=submit)


@pytest.mark.asyncio
async def test_session_submits_in_batches_and_hears_every_outcome_once(tmp_path: Path) -> None:  # S0.1
    async with scheduler_yard(tmp_path) as yard, connected(yard, cpu=100, script=succeed):
        session = (await yard.user("ada")).tasks.Session()
        for sequence in (1, 2, 3):
            items = [pb.TaskItem(params_json=f'{{"i": {i}}}') for i in range(200)]
            await session.write(submission(sequence, items=items))
        await session.done_writing()
        submitted: list[str] = []
        ended: list[str] = []
        async for answer in session:
            submitted += answer.submitted.task_ids
            ended += [outcome.task_id for outcome in answer.outcomes.outcomes]
        assert len(submitted) == 600
        assert sorted(ended) == sorted(submitted)


@pytest.mark.asyncio
async def test_session_answers_with_sequence_and_refusal_and_goes_on(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, script=succeed):
        session = (await yard.user("ada")).tasks.Session()
        await session.write(submission(7, pb.TaskSpec()))
        refused = await read(session)
        assert (refused.sequence, refused.refused.reason, refused.refused.code) == (7, "INVALID_SPEC", 3)
        assert (refused.refused.field, refused.refused.next_step) == (
            "specs[0].work",
            "set operator or command",
        )
        await session.write(submission(8))
        answer = await read(session)
        assert answer.sequence == 8
        ended = answer.outcomes.outcomes or await outcomes(session, 1)
        assert [o.state for o in ended] == [pb.TASK_STATE_SUCCEEDED]
        await session.done_writing()
        assert await session.read() is grpc.aio.EOF


@pytest.mark.asyncio
async def test_session_that_breaks_is_taken_up_with_the_same_request_id(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard) as agent:
        ada = await yard.user("ada")
        request_id = str(uuid.uuid4())
        session = ada.tasks.Session()
        await session.write(submission(1, command("a"), command("b"), request_id=request_id))
        ids = list((await read(session)).submitted.task_ids)
        session.cancel()
        agent.exit(await agent.start(0))
        await ada.wait(agent.starts[0].task_id)
        again = ada.tasks.Session()
        await again.write(submission(1, command("a"), command("b"), request_id=request_id))
        answers = [await read(again), await read(again)]
        assert [list(a.submitted.task_ids) for a in answers if a.submitted.task_ids] == [ids]
        agent.exit(await agent.start(1))
        told = [o.task_id for a in answers for o in a.outcomes.outcomes]
        told += [outcome.task_id for outcome in await outcomes(again, 1)]
        assert sorted(told) == ids
        assert len(agent.starts) == 2
        again.cancel()


@pytest.mark.asyncio
async def test_session_is_taken_up_over_a_restart_of_the_scheduler(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard) as agent:
        ada = await yard.user("ada")
        [task_id] = await ada.submit()
        start = await agent.start()
        await yard.restart()
        await agent.disconnect()
        await agent.connect(agent.held(start))
        session = ada.tasks.Session()
        await session.write(pb.SessionRequest(sequence=1, follow=pb.FollowTasks(task_ids=[task_id])))
        agent.exit(start)
        [outcome] = await outcomes(session, 1)
        assert (outcome.task_id, outcome.state) == (task_id, pb.TASK_STATE_SUCCEEDED)
        session.cancel()


@pytest.mark.asyncio
async def test_session_follow_of_ended_tasks_is_answered_at_once(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, script=succeed):
        ada = await yard.user("ada")
        ids = await ada.submit(command("a"), command("b"))
        for task_id in ids:
            await ada.wait(task_id)
        session = ada.tasks.Session()
        await session.write(pb.SessionRequest(follow=pb.FollowTasks(task_ids=ids)))
        assert {outcome.task_id for outcome in await outcomes(session, 2)} == set(ids)
        session.cancel()


@pytest.mark.asyncio
async def test_session_with_a_broken_id_is_refused_and_goes_on(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        session = (await yard.user("ada")).tasks.Session()
        await session.write(pb.SessionRequest(sequence=3, follow=pb.FollowTasks(task_ids=["nonsense"])))
        refused = await read(session)
        assert (refused.sequence, refused.refused.reason) == (3, "MALFORMED_TASK_ID")
        await session.write(submission(4))
        assert (await read(session)).submitted.task_ids
        session.cancel()


@pytest.mark.asyncio
async def test_session_is_told_which_tasks_are_not_there_and_goes_on(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, script=succeed):
        ada, bob = await yard.user("ada"), await yard.user("bob")
        [own] = await ada.submit()
        [foreign] = await bob.submit()
        await ada.wait(own)
        session = ada.tasks.Session()
        wanted = [own, foreign, "t-4711"]
        await session.write(pb.SessionRequest(sequence=5, follow=pb.FollowTasks(task_ids=wanted)))
        answers = [await read(session), await read(session)]
        unknown = [(a.sequence, list(a.unknown_task_ids)) for a in answers if a.unknown_task_ids]
        assert unknown == [(5, [foreign, "t-4711"])]
        assert [o.task_id for a in answers for o in a.outcomes.outcomes] == [own]
        await session.write(submission(6))
        assert (await read(session)).submitted.task_ids
        session.cancel()


@pytest.mark.asyncio
async def test_repeated_submission_is_told_which_of_its_tasks_were_forgotten(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, script=succeed):
        ada, request_id = await yard.user("ada"), str(uuid.uuid4())
        ids = await ada.submit(command("a"), command("b"), request_id=request_id)
        for task_id in ids:
            await ada.wait(task_id)
        await Past(yard.service._store).delete([parse_task_id(ids[0])])
        session = ada.tasks.Session()
        await session.write(submission(1, command("a"), command("b"), request_id=request_id))
        answers = [await read(session), await read(session)]
        [submitted] = [a for a in answers if a.HasField("submitted")]
        assert (list(submitted.submitted.task_ids), list(submitted.unknown_task_ids)) == (ids, ids[:1])
        session.cancel()


@pytest.mark.asyncio
async def test_client_that_waits_for_a_forgotten_task_is_told_so(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, script=succeed):
        ada = await yard.user("ada")
        [task_id] = await ada.submit()
        await ada.wait(task_id)
        await Past(yard.service._store).delete([parse_task_id(task_id)])
        async with YardClient(yard.address, token=ada.token) as client:
            with pytest.raises(TaskForgotten, match=task_id) as forgotten:
                await asyncio.wait_for(client.outcome(task_id), 10)
        assert (forgotten.value.code, forgotten.value.reason) == ("NOT_FOUND", "TASK_NOT_FOUND")
        assert forgotten.value.next_step


# --- logs


async def logged(client: Client, task_id: str, **request: Any) -> tuple[bytes, bytes, list[tuple[int, int]]]:
    """stdout, stderr and (attempt, offset) of every chunk."""
    found = {1: b"", 2: b""}
    chunks = []
    async for chunk in client.tasks.StreamLogs(pb.StreamLogsRequest(task_id=task_id, **request)):
        found[chunk.stream] += chunk.data
        chunks.append((chunk.attempt, chunk.offset))
    return found[1], found[2], chunks


@pytest.mark.asyncio
async def test_thousand_followed_logs_lose_and_double_no_line(tmp_path: Path) -> None:
    """Of tasks that end at once, before or after their bytes have come."""
    lines = b"".join(b"line %d\n" % n for n in range(20))

    async with scheduler_yard(tmp_path) as yard, connected(yard, cpu=2_000) as agent:
        ada = await yard.user("ada")
        ids: list[str] = []
        for _ in range(10):
            ids += await ada.submit(*[command("echo", str(n)) for n in range(100)])
        await agent.start(999)
        by_id = {start.task_id: start for start in agent.starts}
        limit = asyncio.Semaphore(60)

        async def follow(number: int, task_id: str) -> bytes:
            start = by_id[task_id]
            async with limit:
                following = asyncio.ensure_future(logged(ada, task_id, follow=True))
                if number % 2:
                    agent.exit(start, stdout_bytes=len(lines))
                await agent.log(start, lines[:50])
                await agent.log(start, lines[:70])
                await agent.log(start, lines[50:], 50)
                if not number % 2:
                    agent.exit(start, stdout_bytes=len(lines))
                return (await following)[0]

        found = await asyncio.gather(*[follow(n, task_id) for n, task_id in enumerate(ids)])
        assert [n for n, text in enumerate(found) if text != lines] == []


@pytest.mark.asyncio
async def test_followed_logs_go_through_attempts_to_the_last_byte_of_each(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard) as agent:
        ada = await yard.user("ada")
        [task_id] = await ada.submit(command(retry=pb.RetryPolicy(max_attempts=2)))
        first = await agent.start(0)
        following = asyncio.ensure_future(logged(ada, task_id, follow=True))
        await agent.log(first, b"one ")
        agent.fail(first, stdout_bytes=8)
        second = await agent.start(1)
        await asyncio.sleep(0.1)
        await agent.log(first, b"late", 4)
        await agent.log(second, b"two")
        await agent.log(second, b"oops", stream=2)
        agent.exit(second, stdout_bytes=3, stderr_bytes=4)
        stdout, stderr, chunks = await following
        assert (stdout, stderr) == (b"one latetwo", b"oops")
        assert [attempt for attempt, _ in chunks] == sorted(attempt for attempt, _ in chunks)
        assert (await logged(ada, task_id, attempt=1))[0] == b"one late"
        assert (await logged(ada, task_id))[0] == b"two"


@pytest.mark.asyncio
async def test_logs_resume_by_offsets(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard) as agent:
        ada = await yard.user("ada")
        [task_id] = await ada.submit()
        start = await agent.start()
        await agent.log(start, b"0123456789")
        await agent.log(start, b"abcdef", stream=2)
        assert await logged(ada, task_id, stdout_offset=7, stderr_offset=6) == (b"789", b"", [(1, 7)])
        await yard.restart()
        await agent.disconnect()
        await agent.connect(agent.held(start))
        await agent.log(start, b"9+", 9)
        agent.exit(start, stdout_bytes=11, stderr_bytes=6)
        assert await logged(ada, task_id, follow=True, stdout_offset=9) == (
            b"9+",
            b"abcdef",
            [(1, 9), (1, 0)],
        )


@pytest.mark.asyncio
async def test_logs_chunk_beyond_a_gap_is_not_taken(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard) as agent:
        await (await yard.user("ada")).submit()
        start = await agent.start()

        def chunk(offset: int, data: bytes) -> agent_link_pb2.LogChunk:
            return agent_link_pb2.LogChunk(
                task_id=start.task_id, attempt=1, stream=pb.LOG_STREAM_STDOUT, offset=offset, data=data
            )

        positions = await agent.push_logs(chunk(0, b"ab"), chunk(5, b"f"), chunk(0, b"abc"))
        assert [position.offset for position in positions] == [2, 2, 3]


@pytest.mark.asyncio
async def test_logs_read_right_after_the_end_have_its_last_bytes(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard) as agent:
        ada = await yard.user("ada")
        [task_id] = await ada.submit()
        start = await agent.start()
        await agent.log(start, b"abc")
        assert await asyncio.wait_for(logged(ada, task_id), 5) == (b"abc", b"", [(1, 0)]), "it goes on"
        agent.exit(start, stdout_bytes=6)
        await ada.wait(task_id)
        reading = asyncio.ensure_future(logged(ada, task_id))
        done, _ = await asyncio.wait([reading], timeout=0.2)
        assert not done, "what is on its way is waited for"
        await agent.log(start, b"def", 3)
        assert (await asyncio.wait_for(reading, 5))[0] == b"abcdef"


@pytest.mark.asyncio
async def test_logs_whose_last_bytes_never_came_are_read_without_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "STRAGGLER_S", 0.0)
    async with scheduler_yard(tmp_path) as yard, connected(yard) as agent:
        ada = await yard.user("ada")
        [task_id] = await ada.submit()
        start = await agent.start()
        await agent.log(start, b"abc")
        agent.exit(start, stdout_bytes=6)
        await ada.wait(task_id)
        assert (await asyncio.wait_for(logged(ada, task_id), 5))[0] == b"abc"


@pytest.mark.asyncio
async def test_followed_logs_of_a_task_that_never_ran_end_with_it(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        ada = await yard.user("ada")
        [task_id] = await ada.submit()
        following = asyncio.ensure_future(logged(ada, task_id, follow=True))
        await asyncio.sleep(0.05)
        await ada.cancel(task_id)
        assert await asyncio.wait_for(following, 5) == (b"", b"", [])
        assert await asyncio.wait_for(logged(ada, task_id, follow=True, attempt=9), 5) == (b"", b"", [])
        stream = ada.tasks.StreamLogs(pb.StreamLogsRequest(task_id=task_id, attempt=-1))
        assert (await refusal(stream)).field == "attempt"


@pytest.mark.asyncio
async def test_logs_of_a_node_that_never_had_the_task_are_not_kept(tmp_path: Path) -> None:
    async with (
        scheduler_yard(tmp_path) as yard,
        connected(yard, "n0") as agent,
        connected(yard, "n1") as other,
    ):
        ada = await yard.user("ada")
        [task_id] = await ada.submit(command(placement=pb.Placement(node="n0")))
        start = await agent.start()
        await other.log(start, b"forged")
        assert (await logged(ada, task_id))[0] == b""


# --- agents that misbehave


@pytest.mark.asyncio
async def test_agent_that_says_something_impossible_is_told_and_heard_again(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, script=succeed) as agent:
        agent.events(agent_link_pb2.TaskEvent(task_id="nonsense", started=agent_link_pb2.TaskStarted()))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await agent._loops[0]
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        await agent.disconnect()
        await agent.connect()
        ada = await yard.user("ada")
        [task_id] = await ada.submit()
        assert (await ada.wait(task_id)).state == pb.TASK_STATE_SUCCEEDED


@pytest.mark.asyncio
@pytest.mark.parametrize("cpu", [float("nan"), float("inf"), -1.0, 1e300])
async def test_agent_with_impossible_capacity_is_refused(tmp_path: Path, cpu: float) -> None:
    async with scheduler_yard(tmp_path) as yard:
        agent = ScriptedAgent(yard, "n0", succeed, {"cpu": cpu})
        connecting = asyncio.ensure_future(agent.connect())
        await asyncio.sleep(0.2)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await agent._loops[0]
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        await agent.disconnect()
        assert not yard.engine.links


@pytest.mark.asyncio
async def test_agent_whose_clock_is_absurd_harms_nobody(tmp_path: Path) -> None:
    def absurd(agent: ScriptedAgent, start: agent_link_pb2.StartTask) -> None:
        started = agent_link_pb2.TaskStarted()
        started.start_time.seconds = (1 << 63) - 1
        exited = agent_link_pb2.TaskExited(start_time_ms=-(1 << 63), end_time_ms=(1 << 63) - 1)
        head: dict[str, Any] = {"task_id": start.task_id, "attempt": start.attempt, "epoch": start.epoch}
        agent.events(
            agent_link_pb2.TaskEvent(**head, started=started), agent_link_pb2.TaskEvent(**head, exited=exited)
        )

    async with scheduler_yard(tmp_path) as yard, connected(yard, script=absurd):
        ada = await yard.user("ada")
        [task_id] = await ada.submit()
        assert (await ada.wait(task_id)).state == pb.TASK_STATE_SUCCEEDED


@pytest.mark.asyncio
async def test_log_of_an_element_whose_turn_never_came_ends_with_its_array(tmp_path: Path) -> None:  # S0.2
    async with scheduler_yard(tmp_path) as yard:
        [array] = await yard.admin.submit(command(array_size=3))
        call = yard.admin.tasks.StreamLogs(pb.StreamLogsRequest(task_id=f"{array}.1", follow=True))
        reading = asyncio.ensure_future(call.read())

        async def is_followed() -> bool:
            return bool(yard.engine.followed)

        await wait_until(is_followed, "the element is followed")
        await yard.admin.cancel(array)
        assert await asyncio.wait_for(reading, 20) is grpc.aio.EOF
