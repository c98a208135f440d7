"""The groups of words of the client, and streams that break."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from modelyard.client.specs import command_spec, operator_spec
from modelyard.client.tasks import WaitTimedOut, _LogPosition
from modelyard.errors import YardError
from modelyard.v1 import task_pb2
from tests.support.fake_services import FakeServer
from tests.support.fake_yard_fixture import client_of, fake

__all__ = ["fake"]


@pytest.mark.asyncio
async def test_task_is_submitted_listed_waited_for_and_cancelled(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        [done] = await yard.tasks.submit(operator_spec("echo"))
        [held] = await yard.tasks.submit(operator_spec("echo", {"hold": True}))
        assert (await yard.tasks.wait(done)).state == task_pb2.TASK_STATE_SUCCEEDED
        assert [task.id for task in (await yard.tasks.list()).tasks] == [held, done]
        with pytest.raises(WaitTimedOut):
            await yard.tasks.wait(held, timeout_s=0.01)
        [cancelled] = await yard.tasks.cancel(held)
        assert cancelled.state == task_pb2.TASK_STATE_CANCELLED
        assert (await yard.outcome(held)).state == task_pb2.TASK_STATE_CANCELLED
        assert (await yard.tasks.explain(held)).queue_position == 3


@pytest.mark.asyncio
async def test_submission_under_one_request_id_makes_one_task(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        first = await yard.tasks.submit(operator_spec("echo"), request_id="same")
        assert await yard.tasks.submit(operator_spec("echo"), request_id="same") == first


@pytest.mark.asyncio
async def test_refused_call_carries_reason_field_and_next_step(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        with pytest.raises(YardError) as caught:
            await yard.tasks.submit(command_spec(["x"], {"priority": 5000}))
        error = caught.value
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "PRIORITY_OUT_OF_RANGE")
    assert (error.field, error.next_step) == ("specs[0].priority", "choose a smaller one")


@pytest.mark.asyncio
async def test_outcome_of_an_unknown_task_is_refused_and_others_arrive(fake: FakeServer) -> None:
    import asyncio

    async with client_of(fake) as yard:
        [known] = await yard.tasks.submit(operator_spec("echo"))
        answers = await asyncio.gather(
            yard.outcome("t-77"), yard.outcome(known), yard.outcome("t-78"), return_exceptions=True
        )
    assert [getattr(answer, "reason", "") for answer in answers] == ["TASK_NOT_FOUND", "", "TASK_NOT_FOUND"]


@pytest.mark.asyncio
async def test_watch_shows_changes_after_a_revision(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        await yard.tasks.submit(operator_spec("echo"))
        [second] = await yard.tasks.submit(operator_spec("echo"))
        async with aclosing(yard.tasks.watch(revision=2)) as changes:
            assert (await anext(changes)).id == second


@pytest.mark.asyncio
async def test_logs_arrive_whole_by_stream(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        [task_id] = await yard.tasks.submit(command_spec(["out", "a\n", "err", "b\n", "out", "c\n"]))
        chunks = [chunk async for chunk in yard.tasks.logs(task_id, follow=True)]
    stdout = b"".join(chunk.data for chunk in chunks if chunk.stream == task_pb2.LOG_STREAM_STDOUT)
    stderr = b"".join(chunk.data for chunk in chunks if chunk.stream == task_pb2.LOG_STREAM_STDERR)
    assert (stdout, stderr) == (b"a\nc\n", b"b\n")


def chunk(attempt: int, offset: int, data: bytes, *, error: bool = False) -> task_pb2.StreamLogsResponse:
    stream = task_pb2.LOG_STREAM_STDERR if error else task_pb2.LOG_STREAM_STDOUT
    return task_pb2.StreamLogsResponse(attempt=attempt, stream=stream, offset=offset, data=data)


def test_log_position_resumes_each_stream_where_it_broke() -> None:
    position = _LogPosition("t-1", 0, follow=True)
    requests: list[task_pb2.StreamLogsRequest] = []

    def begin(request: task_pb2.StreamLogsRequest) -> None:
        requests.append(task_pb2.StreamLogsRequest.FromString(request.SerializeToString()))

    assert position.take(chunk(1, 0, b"abc"))
    assert position.take(chunk(1, 0, b"x", error=True))
    assert not position.take(chunk(1, 0, b"abc"))
    position.begin(begin)()
    assert (requests[0].stdout_offset, requests[0].stderr_offset) == (3, 1)
    assert position.take(chunk(2, 0, b"again"))
    position.begin(begin)()
    assert (requests[1].stdout_offset, requests[1].stderr_offset) == (5, 0)


@pytest.mark.asyncio
async def test_nodes_accounts_tokens_operators_and_artifacts_answer(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        assert [node.id for node in (await yard.nodes.list()).nodes] == ["node-1", "node-2"]
        assert (await yard.nodes.occupancy(60))[0].window_s == 60
        assert (await yard.nodes.cordon("node-1")).state
        assert (await yard.nodes.token()).join_command.startswith("yard agent join")
        assert (await yard.accounts.add("bob")).name == "bob"
        with pytest.raises(YardError, match="exists"):
            await yard.accounts.add("bob")
        assert (await yard.accounts.identity()).account == "admin"
        assert (await yard.tokens.add("bob", ttl="30d")).secret
        with pytest.raises(YardError, match="no role"):
            await yard.tokens.add("bob", role="king")
        assert [operator.name for operator in (await yard.operators.list()).operators] == ["echo"]
        artifact = await yard.artifacts.put(b"hello", name="greeting")
        assert await yard.artifacts.read("sha256:" + artifact.digest) == b"hello"
        assert (await yard.artifacts.stat(artifact.digest)).size_bytes == 5
