"""Queues, batches, deadlines, cancellations, and the ends of frames."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelyard.channel import connect
from modelyard.oip.v2 import inference_pb2_grpc as rpc
from services.chassis.errors import FailedPrecondition
from services.chassis.security import USER, Principal
from services.models.calls import messages
from services.models.seams import ReadyFrame, Route, VersionKey
from tests.support.inference import floats, raw, refusal
from tests.support.scripted_frames import BOB, CallsWorld, echo_config

pytestmark = pytest.mark.asyncio


class FrameUnloadable(FailedPrecondition):
    """It cannot be loaded."""


class Gate:
    """A frame that answers when it is told; `arrived` counts."""

    def __init__(self, frame: Any) -> None:
        self.frame = frame
        self.held: list[tuple[dict[str, Any], list[memoryview]]] = []
        frame.conduct = self._hold

    async def _hold(self, head: dict[str, Any], buffers: list[memoryview]) -> None:
        self.held.append((head, buffers))

    def open(self) -> None:
        for head, buffers in self.held:
            self.frame.answer(head, buffers)
        self.held.clear()
        self.frame.conduct = self.frame.echo


async def begun(world: CallsWorld, stub: Any, *requests: Any) -> list[Any]:
    """Calls, of which each has reached its queue or its frame before the next is made."""
    calls = []
    for request in requests:
        before = _inside(world)
        calls.append(stub.ModelInfer(request, timeout=20))
        await world.until(lambda before=before: _inside(world) > before)
    return calls


def frame_key(world: CallsWorld) -> VersionKey:
    [frame] = world.source.frames.values()
    return frame.key


def _inside(world: CallsWorld) -> int:
    return world.calls.active_count + sum(count for _, count in world.calls.waiting())


async def test_calls_that_wait_are_computed_together_and_answered_apart(
    world: CallsWorld, stub: Any
) -> None:  # S2.6
    frame = await world.frame(world.versions.add(echo_config(max_batch=8)))
    gate = Gate(frame)
    first = await begun(world, stub, raw(0.0))
    await world.until(lambda: len(gate.held) == 1)
    rest = await begun(world, stub, *(raw(float(n), id=str(n)) for n in range(1, 6)))
    gate.open()
    answers = await asyncio.gather(*first, *rest)
    assert [len(batch) for batch in frame.batches] == [1, 5]
    assert [floats(answer) for answer in answers] == [(float(n),) for n in range(6)]
    assert [answer.id for answer in answers[1:]] == ["1", "2", "3", "4", "5"]


async def test_calls_that_differ_are_never_computed_together(world: CallsWorld, stub: Any) -> None:  # S2.6
    frame = await world.frame(world.versions.add(echo_config(max_batch=8)))
    gate = Gate(frame)
    first = await begun(world, stub, raw(0.0))
    hot, true, wide, named = raw(1.0), raw(1.0), raw(1.0, 2.0), raw(1.0)
    hot.parameters["temperature"].int64_param = 1
    true.parameters["temperature"].bool_param = True
    named.outputs.add(name="out_fp32")
    requests = [raw(1.0), hot, true, wide, named, raw(2.0)]
    rest = await begun(world, stub, *requests)
    gate.open()
    await asyncio.gather(*first, *rest)
    assert sorted(len(batch) for batch in frame.batches) == [1, 1, 1, 1, 1, 2]


@pytest.mark.timeout(20)
async def test_caller_that_leaves_while_the_queue_is_looked_at_holds_nothing_up(
    world: CallsWorld, stub: Any
) -> None:  # S2.6
    frame = await world.frame(world.versions.add(echo_config(max_batch=8)))
    troubles: list[Any] = []
    # The loop keeps what its callbacks raise to itself, and so the end of a test's time too.
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
    request = messages.decode(raw(1.0).SerializeToString())
    call = asyncio.create_task(world.calls.infer(Principal(USER, account="alice"), request, 20))
    await asyncio.sleep(0)
    # Cancelled; its own code runs only after the queue's next look.
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not troubles
    assert not frame.calls
    assert world.calls.waiting() == [(frame_key(world), 0)]
    assert floats(await stub.ModelInfer(raw(2.0), timeout=5)) == (2.0,)


async def test_accounts_are_computed_apart_where_that_is_set(world: CallsWorld, stub: Any) -> None:
    world.source.settings["is_batched_apart"] = True
    world.versions.roles["bob", "echo"] = "caller"
    frame = await world.frame(world.versions.add(echo_config(max_batch=8)))
    gate = Gate(frame)
    async with connect(world.address, token=BOB) as channel:
        other = rpc.GRPCInferenceServiceStub(channel)
        tasks = await begun(world, stub, raw(0.0), raw(1.0))
        tasks += await begun(world, other, raw(2.0))
        tasks += await begun(world, stub, raw(3.0))
        gate.open()
        await asyncio.gather(*tasks)
    assert sorted(len(batch) for batch in frame.batches) == [1, 1, 2]


async def test_batch_has_no_more_rows_than_it_may(world: CallsWorld, stub: Any) -> None:
    frame = await world.frame(world.versions.add(echo_config(max_batch=4)))
    gate = Gate(frame)
    tasks = await begun(
        world, stub, raw(0.0),
        *(raw(1.0, rows=rows) for rows in (3, 2, 1, 9)),
    )  # fmt: skip
    gate.open()
    await asyncio.gather(*tasks)
    rows = {head["id"]: head["inputs"][0]["shape"][0] for head in frame.calls}
    assert [[rows[number] for number in batch] for batch in frame.batches] == [[1], [3, 1], [2], [9]]


async def test_delay_waits_for_others(world: CallsWorld, stub: Any) -> None:
    frame = await world.frame(world.versions.add(echo_config(max_batch=3, batch_delay_ms=60_000.0)))
    tasks = await begun(world, stub, *(raw(float(n)) for n in range(2)))
    assert not frame.calls
    await asyncio.gather(*tasks, stub.ModelInfer(raw(2.0), timeout=5))
    assert [len(batch) for batch in frame.batches] == [3]


async def test_delay_ends_with_time(world: CallsWorld, stub: Any) -> None:
    frame = await world.frame(world.versions.add(echo_config(max_batch=8, batch_delay_ms=5.0)))
    await stub.ModelInfer(raw(1.0), timeout=5)
    assert [len(batch) for batch in frame.batches] == [1]


async def test_urgent_calls_go_first(world: CallsWorld, stub: Any) -> None:  # S2.6
    frame = await world.frame(world.versions.add(echo_config(is_idempotent=False)))
    gate = Gate(frame)
    urgent, late = raw(1.0), raw(2.0)
    urgent.parameters["priority"].uint64_param = 1
    late.parameters["priority"].uint64_param = 500
    tasks = await begun(world, stub, raw(0.0), late, raw(3.0), urgent)
    gate.open()
    await asyncio.gather(*tasks)
    assert [head["id"] for head in frame.calls] == [1, 4, 3, 2]


async def test_full_queue_refuses(world: CallsWorld, stub: Any) -> None:  # S2.6
    frame = await world.frame(world.versions.add(echo_config(is_idempotent=False, queue_most=2)))
    gate = Gate(frame)
    tasks = await begun(world, stub, *(raw(float(n)) for n in range(3)))
    error = await refusal(stub.ModelInfer(raw(9.0), timeout=5))
    assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
    gate.open()
    await asyncio.gather(*tasks)


async def test_expired_call_never_starts(world: CallsWorld, stub: Any) -> None:  # S2.6
    frame = await world.frame(world.versions.add(echo_config(is_idempotent=False)))
    gate = Gate(frame)
    tasks = await begun(world, stub, raw(0.0))
    short = raw(1.0)
    short.parameters["timeout"].int64_param = 20_000
    error = await refusal(stub.ModelInfer(short, timeout=5))
    assert (error.code, error.reason) == ("DEADLINE_EXCEEDED", "CALL_EXPIRED")
    assert error.metadata["started"] == "false"
    gate.open()
    await asyncio.gather(*tasks)
    assert len(frame.calls) == 1


async def test_deadline_of_the_model_holds_where_the_caller_has_none(world: CallsWorld, stub: Any) -> None:
    frame = await world.frame(world.versions.add(echo_config(deadline_s=0.05)))
    frame.conduct = frame.silence
    error = await refusal(rpc_without_deadline(world))
    assert (error.code, error.reason) == ("DEADLINE_EXCEEDED", "CALL_EXPIRED")
    assert error.metadata["started"] == "true"
    await world.until(lambda: frame.cancelled == [frame.calls[0]["id"]])


async def rpc_without_deadline(world: CallsWorld) -> Any:
    import grpc.aio

    from tests.support.scripted_frames import ALICE

    async with grpc.aio.insecure_channel(world.address) as channel:
        stub = rpc.GRPCInferenceServiceStub(channel)
        return await stub.ModelInfer(raw(1.0), metadata=(("authorization", f"Bearer {ALICE}"),))


async def test_cancellation_reaches_the_frame_and_frees_its_place(
    world: CallsWorld, stub: Any
) -> None:  # S2.6
    frame = await world.frame(world.versions.add(echo_config(is_idempotent=False)))
    frame.conduct = frame.silence
    [call] = await begun(world, stub, raw(1.0))
    [waiting] = await begun(world, stub, raw(2.0))
    await world.until(lambda: len(frame.calls) == 1)
    call.cancel()
    await world.until(lambda: frame.cancelled == [frame.calls[0]["id"]])
    frame.conduct = frame.echo
    frame.fail(frame.calls[0], "CANCELLED")
    assert floats(await waiting) == (2.0,)


async def test_cancelled_call_that_waits_never_starts(world: CallsWorld, stub: Any) -> None:
    frame = await world.frame(world.versions.add(echo_config(is_idempotent=False)))
    gate = Gate(frame)
    tasks = await begun(world, stub, raw(0.0))
    [call] = await begun(world, stub, raw(1.0))
    call.cancel()
    await world.until(lambda: all(not count for _, count in world.calls.waiting()))
    gate.open()
    await asyncio.gather(*tasks)
    assert len(frame.calls) == 1


async def test_least_busy_frame_takes_the_call(world: CallsWorld, stub: Any) -> None:  # S2.5
    served = world.versions.add(echo_config(is_idempotent=False))
    gates = [Gate(await world.frame(served)) for _ in range(3)]
    tasks = await begun(world, stub, *(raw(float(n)) for n in range(3)))
    await world.until(lambda: all(len(gate.held) == 1 for gate in gates))
    assert world.source.active == {1: 1, 2: 1, 3: 1}
    for gate in gates:
        gate.open()
    await asyncio.gather(*tasks)


async def test_cold_model_is_asked_for_and_the_call_waits(world: CallsWorld, stub: Any) -> None:  # S2.5
    served = world.versions.add(echo_config())

    async def start(route: Route) -> ReadyFrame:
        await world.frame(route.served)
        return world.source.frames[1]

    world.source.start = start
    answers = await asyncio.gather(*(stub.ModelInfer(raw(float(n)), timeout=5) for n in range(4)))
    assert [floats(answer) for answer in answers] == [(float(n),) for n in range(4)]
    assert world.source.wanted_count == 1
    assert served.key in world.calls.loaded()


async def test_model_that_cannot_be_loaded_fails_all_that_wait(world: CallsWorld, stub: Any) -> None:
    world.versions.add(echo_config())

    async def start(route: Route) -> ReadyFrame:
        raise FrameUnloadable("libfoo is missing")

    world.source.start = start
    calls = [stub.ModelInfer(raw(1.0), timeout=5) for _ in range(3)]
    assert {(await refusal(call)).reason for call in calls} == {"FRAME_UNLOADABLE"}


async def test_death_of_a_frame_is_survived_by_what_may_be_repeated(
    world: CallsWorld, stub: Any
) -> None:  # S2.6
    served = world.versions.add(echo_config())
    frame = await world.frame(served)
    frame.conduct = frame.silence
    tasks = await begun(world, stub, *(raw(float(n)) for n in range(4)))
    await world.until(lambda: len(frame.calls) == 2)
    await frame.die()
    world.calls.close(1, "killed by signal 9")
    world.source.frames.pop(1)
    await world.frame(served)
    assert [floats(answer) for answer in await asyncio.gather(*tasks)] == [(float(n),) for n in range(4)]


async def test_death_fails_what_may_not_be_repeated_with_its_reason(
    world: CallsWorld, stub: Any
) -> None:  # S2.6
    served = world.versions.add(echo_config(is_idempotent=False))
    frame = await world.frame(served)
    frame.conduct = frame.silence
    [running, waiting] = await begun(world, stub, *(raw(float(n)) for n in range(2)))
    await world.until(lambda: len(frame.calls) == 1)
    await frame.die()
    world.source.frames.pop(1)
    await world.frame(served)
    world.calls.close(1, "killed by signal 9: Segmentation fault")
    error = await refusal(running)
    assert (error.code, error.reason) == ("UNAVAILABLE", "FRAME_ENDED")
    assert "Segmentation fault" in error.message
    assert floats(await waiting) == (1.0,)


async def test_second_death_is_final(world: CallsWorld, stub: Any) -> None:
    served = world.versions.add(echo_config())
    task = stub.ModelInfer(raw(1.0), timeout=20)
    for number in (1, 2):
        frame = await world.frame(served, is_silent=True)
        await world.until(lambda frame=frame: len(frame.calls) == 1)
        await frame.die()
        world.source.frames.pop(number)
        world.calls.close(number, "killed by signal 11")
    assert (await refusal(task)).reason == "FRAME_ENDED"


async def test_connection_that_is_cut_is_dialled_again(world: CallsWorld, stub: Any) -> None:
    frame = await world.frame(world.versions.add(echo_config()))
    frame.conduct = frame.silence
    [task] = await begun(world, stub, raw(1.0))
    await world.until(lambda: len(frame.calls) == 1)
    frame.conduct = frame.echo
    frame._writers[-1].transport.abort()
    assert floats(await task) == (1.0,)
    assert not any(what[0] == "gone" for what in world.source.told)


async def test_frame_that_drains_takes_no_new_calls(world: CallsWorld, stub: Any) -> None:  # S2.6
    served = world.versions.add(echo_config())
    frame = await world.frame(served)
    gate = Gate(frame)
    tasks = await begun(world, stub, raw(0.0))
    await world.until(lambda: len(gate.held) == 1)
    draining = asyncio.ensure_future(world.calls.drain(1, 5))
    other = await world.frame(served)
    await stub.ModelInfer(raw(1.0), timeout=5)
    assert (len(frame.calls), len(other.calls)) == (1, 1)
    assert not frame.is_told_to_end
    gate.open()
    await draining
    await world.until(lambda: frame.is_told_to_end)
    await asyncio.gather(*tasks)


async def test_mirror_is_compared_and_dropped(world: CallsWorld, stub: Any) -> None:  # S2.6
    served = world.versions.add(echo_config())
    shadow = world.versions.add(echo_config(), version=2)
    world.source.mirrors["echo"] = shadow
    await world.frame(served)
    other = await world.frame(shadow)

    async def twice(head: dict[str, Any], buffers: list[memoryview]) -> None:
        other.answer(head, [bytes(4)])

    assert floats(await stub.ModelInfer(raw(1.0), timeout=5)) == (1.0,)
    mirrored = world.calls.ledger.of("echo", 1).mirrored
    await world.until(lambda: mirrored["same"] == 1)
    other.conduct = twice
    assert floats(await stub.ModelInfer(raw(1.0), timeout=5)) == (1.0,)
    await world.until(lambda: mirrored["different"] == 1)


async def test_sticky_value_is_the_parameter_else_the_account(world: CallsWorld, stub: Any) -> None:  # S2.6
    await world.frame(world.versions.add(echo_config()))
    await stub.ModelInfer(raw(1.0), timeout=5)
    world.source.sticky["echo"] = "customer"
    request = raw(1.0)
    request.parameters["customer"].int64_param = 42
    await stub.ModelInfer(request, timeout=5)
    assert world.source.sticky_seen == ["alice", "42"]


async def test_what_a_frame_says_of_itself_is_passed_on(world: CallsWorld) -> None:
    served = world.versions.add(echo_config())
    frame = await world.frame(served)
    await frame.die()
    await world.until(lambda: any(what[:2] == ("gone", 1) for what in world.source.told))


async def test_call_that_a_leaving_frame_did_not_begin_goes_elsewhere(world: CallsWorld, stub: Any) -> None:
    served = world.versions.add(echo_config(is_idempotent=False))
    leaving = await world.frame(served)

    async def leave(head: dict[str, Any], buffers: list[memoryview]) -> None:
        leaving.fail(head, "UNAVAILABLE")

    leaving.conduct = leave
    other = await world.frame(served)
    assert floats(await stub.ModelInfer(raw(1.0), timeout=5)) == (1.0,)
    assert (len(leaving.calls), len(other.calls)) == (1, 1)
