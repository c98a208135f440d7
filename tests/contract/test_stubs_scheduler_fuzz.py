"""Every unary RPC, found from the descriptors, with fields taken from a table of boundary values; and broken bytes.

Never UNKNOWN or INTERNAL, nothing changed by what is refused, and the service healthy afterwards.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelyard.channel import ACCOUNT_KEY
from modelyard.errors import from_rpc_error
from modelyard.v1 import (
    account_pb2,
    agent_link_pb2,
    contact_pb2,
    lineage_pb2,
    node_pb2,
    operator_pb2,
    queue_pb2,
    task_pb2,
)
from services.scheduler.intake import modification
from services.scheduler.servicer import suspending
from tests.support.mutations import add, mutate, value
from tests.support.scheduler_service import Client, SchedulerYard, command, scheduler_yard
from tests.support.scripted_agent import connected

FILES = (task_pb2, operator_pb2, node_pb2, account_pb2, contact_pb2, queue_pb2, agent_link_pb2, lineage_pb2)
METHODS: list[MethodDescriptor] = [
    method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if not method.client_streaming
]
MUTATIONS = 200
# An account and a queue whose settings are nobody else's.
FUZZED = "fuzzed"


def likely(request: Message) -> None:
    """Makes a request that would be taken, as far as names tell what belongs into it."""
    given = {
        "task_id": "t-1",
        "node": "n0",
        "name": "echo",
        "account": "default",
        "url": "json://127.0.0.1:9/x",
        "event_id": "r-1 failed",
        "kind": "run.failed",
        "subject": "r-1",
        "title": "r-1 failed",
        "event": 2,
        "facts_json": '{"id": "r-1"}',
    }
    for field in request.DESCRIPTOR.fields:
        if field.name == "specs":
            request.specs.add().CopyFrom(command(name="x", priority=1, params_json='{"a": 1}'))  # type: ignore[attr-defined]
        elif field.name == "task_ids":
            request.task_ids.append("t-1")  # type: ignore[attr-defined]
        elif field.name in ("account", "queue") and field.message_type is not None:
            getattr(request, field.name).name = FUZZED
        elif field.name in given and not field.is_repeated and field.message_type is None:
            setattr(request, field.name, given[field.name])


def mutate_one(message: Message, chance: random.Random) -> None:
    """Changes one field, at whatever depth."""
    fields: list[Any] = list(message.DESCRIPTOR.fields)
    if not fields:
        return
    field = chance.choice(fields)
    if field.is_repeated:
        many = getattr(message, field.name)
        inner = list(many) if field.type == FieldDescriptor.TYPE_MESSAGE and field.name == "specs" else []
        mutate_one(inner[0], chance) if inner else add(message, field, chance, 1)
    elif field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type.name not in ("Struct", "Duration"):
        inner_message = getattr(message, field.name)
        inner_message.SetInParent()
        mutate_one(inner_message, chance)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        getattr(message, field.name).CopyFrom(value(field, chance, 0))
    else:
        setattr(message, field.name, value(field, chance, 0))


def picture(yard: SchedulerYard) -> tuple[Any, ...]:
    """What a refused request must leave as it is."""
    state = yard.engine.state
    tasks = tuple((key, task.state, task.revision) for key, task in sorted(state.tasks.items()))
    nodes = tuple(
        (node.id, node.is_cordoned, dict(node.label_overrides)) for node in state.cluster.nodes.values()
    )
    tenancy = state.waiting.tenancy
    queues = [queue.settings for queue in tenancy.queues.values()]
    accounts = {name: account.settings for name, account in tenancy.accounts.items()}
    return tasks, state.next_number, state.next_spec, str(nodes), str(state.contacts), queues, accounts


async def call(client: Client, method: MethodDescriptor, request: bytes, account: str = "") -> str:
    """The code of the answer; streams are read for a moment."""
    kind = "unary_stream" if method.server_streaming else "unary_unary"
    answer = message_factory.GetMessageClass(method.output_type)
    path = f"/{method.containing_service.full_name}/{method.name}"
    metadata = ((ACCOUNT_KEY, account),) if account else None
    rpc = getattr(client.channel, kind)(path, lambda data: data, answer.FromString)(
        request, metadata=metadata
    )
    try:
        if method.server_streaming:
            async with asyncio.timeout(0.02):
                while await rpc.read() is not grpc.aio.EOF:
                    pass
        else:
            await rpc
    except grpc.aio.AioRpcError as error:
        refused = from_rpc_error(error)
        code = refused.code
        assert code not in ("UNKNOWN", "INTERNAL"), f"{path}: {refused.message}\n{request[:300]!r}"
        assert refused.reason, f"{path}: {code} without a reason"
        assert refused.message, f"{path}: {code} without a message"
        return code
    except TimeoutError:
        return "OK"
    finally:
        rpc.cancel()
    return "OK"


async def healthy(yard: SchedulerYard) -> None:
    """It serves, and a task can still be submitted."""
    health = health_pb2_grpc.HealthStub(yard.admin.channel)
    answer = await health.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    [task_id] = await yard.admin.submit(command())
    await yard.admin.cancel(task_id)
    assert yard.loops.crash is None


@pytest.mark.asyncio
@pytest.mark.timeout(110)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_rpc_with_mutated_fields_is_answered_in_words(
    method: MethodDescriptor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The agent of this test says nothing: what waits for its word need not wait long.
    monkeypatch.setattr(modification, "ANSWER_S", 0.05)
    monkeypatch.setattr(suspending, "ANSWER_S", 0.05)
    chance = random.Random(method.full_name)
    async with scheduler_yard(tmp_path) as yard, connected(yard, cpu=1):
        await yard.admin.submit(command(), command(array_size=9))
        await yard.user(FUZZED)
        queue = queue_pb2.Queue(name=FUZZED)
        await yard.admin.queues.CreateQueue(queue_pb2.CreateQueueRequest(queue=queue))
        of_services = method.name in ("ResolveToken", "WatchRevocations", "Notify")
        client = yard.service_client if of_services else yard.admin
        account = "default" if method.name == "Notify" else ""
        codes: dict[str, int] = {}
        for number in range(MUTATIONS):
            request: Any = message_factory.GetMessageClass(method.input_type)()
            if number % 3:
                likely(request)
                mutate_one(request, chance)
            else:
                mutate(request, chance)
            if method.name == "WaitTask":
                request.wait_timeout.FromMilliseconds(chance.choice((0, 1)))
            before = picture(yard)
            code = await call(client, method, request.SerializeToString(), account)
            if code == "INVALID_ARGUMENT":
                assert picture(yard) == before, f"refused and yet something changed: {request}"
            codes[code] = codes.get(code, 0) + 1
        for _ in range(20):
            assert (
                await call(client, method, os.urandom(chance.choice((1, 10, 1_000))), account) != "INTERNAL"
            )
        await healthy(yard)


@pytest.mark.asyncio
async def test_random_bytes_on_the_port_harm_nobody(tmp_path: Path) -> None:
    chance = random.Random(7)
    async with scheduler_yard(tmp_path) as yard:
        for number in range(50):
            reader, writer = await asyncio.open_connection("127.0.0.1", yard.port)
            preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" if number % 2 else b""
            writer.write(preface + chance.randbytes(chance.choice((1, 100, 5_000))))
            writer.close()
            del reader
        await healthy(yard)


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["Session", "Connect", "PushLogs"])
async def test_random_messages_on_a_stream_are_refused_in_words(name: str, tmp_path: Path) -> None:
    chance = random.Random(name)
    async with scheduler_yard(tmp_path) as yard:
        client = yard.admin if name == "Session" else await yard.agent_client("n0")
        service = "TaskService" if name == "Session" else "AgentLinkService"
        rpc = client.channel.stream_stream(
            f"/modelyard.v1.{service}/{name}", lambda data: data, lambda data: data
        )
        for _ in range(30):
            stream = rpc(iter([chance.randbytes(chance.choice((1, 9, 300)))]))
            try:
                async with asyncio.timeout(5):
                    while await stream.read() is not grpc.aio.EOF:
                        pass
            except grpc.aio.AioRpcError as error:
                assert error.code() not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL), error
        await healthy(yard)
