"""The client's calls against a fake yard over real gRPC."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from modelyard.client import Client, SyncClient, TaskFailed
from modelyard.client.specs import InvalidSpecification
from modelyard.errors import YardError
from modelyard.settings import load
from tests.support.fake_services import TOKEN, FakeServer
from tests.support.fake_yard_fixture import client_of, fake
from tests.support.wait import wait_until

__all__ = ["fake"]


@pytest.mark.asyncio
async def test_call_of_an_operator_returns_its_value(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        assert await yard.call("echo", value={"a": [1, "ü"]}) == {"a": [1, "ü"]}
        assert await yard.call("add", {"a": 1, "b": 2}) == 3


@pytest.mark.asyncio
async def test_calls_of_one_turn_share_one_message(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        results = await asyncio.gather(*(yard.call("echo", value=number) for number in range(100)))
    assert results == list(range(100))
    messages = fake.yard.submit_messages
    assert len(messages) == 1
    assert len(messages[0].specs) == 1
    assert len(messages[0].items) == 100


@pytest.mark.asyncio
async def test_map_of_many_calls_keeps_order_and_bounds_messages(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        results = await yard.map("echo", ({"value": number} for number in range(4500)))
    assert results == list(range(4500))
    assert max(len(message.items) for message in fake.yard.submit_messages) <= 2000


@pytest.mark.asyncio
async def test_map_of_large_parameters_stays_below_the_message_limit(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        results = await yard.map("echo", [{"value": "x" * 500_000}] * 20)
    assert [len(result) for result in results] == [500_000] * 20
    assert max(message.ByteSize() for message in fake.yard.submit_messages) < 4 << 20


@pytest.mark.asyncio
async def test_map_of_nothing_is_an_empty_list(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        assert await yard.map("echo", []) == []


@pytest.mark.asyncio
async def test_failed_work_raises_with_cause_and_traceback(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        with pytest.raises(TaskFailed) as caught:
            await yard.call("boom")
    assert caught.value.cause == "error"
    assert "ValueError: boom" in caught.value.traceback
    assert caught.value.next_step == "yard tasks logs t-1"


@pytest.mark.asyncio
async def test_map_with_return_exceptions_puts_failures_in_their_place(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        results = await yard.map("boom", [{}, {}], return_exceptions=True)
        assert [type(result) for result in results] == [TaskFailed, TaskFailed]
        with pytest.raises(TaskFailed):
            await yard.map("boom", [{}, {}])


@pytest.mark.asyncio
async def test_refusal_of_one_caller_spares_the_others_of_the_message(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        good, bad = await asyncio.gather(
            yard.call("echo", value=1), yard.call("refused"), return_exceptions=True
        )
    assert good == 1
    assert isinstance(bad, YardError)
    assert (bad.code, bad.reason, bad.field) == ("INVALID_ARGUMENT", "OPERATOR_INVALID", "operator.operator")


@pytest.mark.asyncio
async def test_session_broken_before_the_answer_repeats_without_doing_twice(fake: FakeServer) -> None:
    fake.yard.break_after_submits = 1
    async with client_of(fake) as yard:
        assert await yard.call("echo", value=5) == 5
    assert len({message.request_id for message in fake.yard.submit_messages}) == 1
    assert len(fake.yard.tasks) == 1


@pytest.mark.asyncio
async def test_session_broken_before_the_commit_loses_nothing(fake: FakeServer) -> None:
    fake.yard.break_before_submits = 1
    async with client_of(fake) as yard:
        assert await yard.call("echo", value=5) == 5
    assert len(fake.yard.tasks) == 1


@pytest.mark.asyncio
async def test_session_broken_while_a_task_runs_follows_it_again(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        call = asyncio.create_task(yard.call("sleep"))
        await wait_until(lambda: "t-1" in fake.yard.tasks, "the task")
        fake.yard.break_sessions()
        await wait_until(lambda: not fake.yard.sessions, "the end of the session")
        await fake.yard.finish("t-1")
        assert await call is None


@pytest.mark.asyncio
async def test_scheduler_restarted_on_its_port_is_found_again(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        assert await yard.call("echo", value=1) == 1
        address = fake.address
        await fake.stop()
        call = asyncio.create_task(yard.call("echo", value=2))
        await fake.start(address)
        assert await call == 2


@pytest.mark.asyncio
async def test_unreachable_yard_without_patience_fails_at_once(fake: FakeServer) -> None:
    address = fake.address
    await fake.stop()
    flags = {"endpoint": address, "token": TOKEN}
    async with Client(settings=load(flags, {}), refusal_is_final=True) as yard:
        with pytest.raises(YardError) as caught:
            await yard.call("echo", value=1)
        assert caught.value.reason == "CONNECTION_FAILED"
        with pytest.raises(YardError):
            await yard.connection.reach()


@pytest.mark.asyncio
async def test_wrong_token_is_refused_and_not_repeated(fake: FakeServer) -> None:
    flags = {"endpoint": fake.address, "token": "wrong"}
    async with Client(settings=load(flags, {})) as yard:
        with pytest.raises(YardError) as caught:
            await yard.call("echo", value=1)
        assert caught.value.code == "UNAUTHENTICATED"


@pytest.mark.asyncio
async def test_closed_client_refuses_calls_and_those_that_wait(fake: FakeServer) -> None:
    yard = client_of(fake)
    waiting = asyncio.create_task(yard.call("sleep"))
    await wait_until(lambda: "t-1" in fake.yard.tasks, "the task")
    await yard.close()
    with pytest.raises(YardError, match="closed"):
        await waiting
    with pytest.raises(YardError, match="closed"):
        await yard.call("echo")


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [10, 64 * 1024, 64 * 1024 + 1])
async def test_input_of_any_size_arrives(fake: FakeServer, size: int, tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(b"x" * size)
    async with client_of(fake) as yard:
        assert await yard.call("size", inputs={"data": b"x" * size}) == size
        assert await yard.call("size", inputs={"data": path}) == size
    assert bool(fake.yard.artifacts) == (size > 64 * 1024)


@pytest.mark.asyncio
async def test_large_result_is_fetched_from_the_store(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        assert await yard.call("large", size=100_000) == "x" * 100_000
        assert await yard.map("large", [{"size": 3}, {"size": 4}]) == ["xxx", "xxxx"]


@pytest.mark.asyncio
async def test_parameters_that_json_cannot_say_are_refused_here(fake: FakeServer) -> None:
    async with client_of(fake) as yard:
        with pytest.raises(InvalidSpecification) as caught:
            await yard.call("echo", value=object())
        assert caught.value.field == "params"
        with pytest.raises(InvalidSpecification):
            await yard.call("echo", options={"polcy": "spread"})  # type: ignore[typeddict-unknown-key]


@pytest.mark.asyncio
async def test_run_of_a_command_in_a_directory_returns_its_task(fake: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    async with client_of(fake) as yard:
        task = await yard.run(["out", "hello"], directory=tmp_path, options={"cpu": 2, "memory": "1Gi"})
        assert task.spec.bundle_digest in fake.yard.artifacts
        assert (task.spec.resources.cpu, task.spec.resources.memory_bytes) == (2, 1 << 30)
        with pytest.raises(TaskFailed) as caught:
            await yard.run(["exit", "3"])
        assert caught.value.exit_code == 3
        assert (await yard.run(["exit", "3"], check=False)).error.exit_code == 3


def test_sync_client_has_the_same_words(tmp_path: Path) -> None:
    server = FakeServer()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(server.start())
    import threading

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        with SyncClient(server.address, store=server.address, token=TOKEN, state=tmp_path) as yard:
            assert yard.call("echo", value=1) == 1
            assert yard.map("echo", [{"value": 1}, {"value": 2}]) == [1, 2]
            task_id = yard.tasks.submit(yard_spec())[0]
            assert yard.tasks.wait(task_id).id == task_id
            assert b"".join(chunk.data for chunk in yard.tasks.logs(task_id)) == b"hello"
            assert [node.id for node in yard.nodes.list().nodes] == ["node-1", "node-2"]
        yard.close()
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def yard_spec() -> object:
    from modelyard.client.specs import command_spec

    return command_spec(["out", "hello"])
