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
from google.protobuf.struct_pb2 import Struct
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelyard.errors import from_rpc_error
from modelyard.v1 import account_pb2, agent_link_pb2, node_pb2, operator_pb2, task_pb2
from tests.support.scheduler_service import Client, SchedulerYard, command, scheduler_yard
from tests.support.scripted_agent import connected

FILES = (task_pb2, operator_pb2, node_pb2, account_pb2, agent_link_pb2)
METHODS: list[MethodDescriptor] = [
    method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if not method.client_streaming
]
MUTATIONS = 200
INTEGERS = (0, 1, -1, 7, 2**31 - 1, -(2**31), 1_000)
LONGS = (*INTEGERS, 2**63 - 1, -(2**63), 2**53 + 1)
DOUBLES = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf"))
STRINGS = (
    "", "t-1", "t-2", "t-1.0", "t-1.5", "t-99999999999", "t-99999999999.16777213", "t--1", "t-1.", "t-²", "T-1",
    "n0", "nowhere", "ada", "default", "a b", "\0", "x\x00y", "\x1b[31m", "é" * 100, "‮", "../../etc/passwd",
    "' OR 1=1 --", "%s%n", "{" * 3_000, '{"a":' * 3_000, '{"a": 1e999}', '{"a": NaN}', "[]", "{}",
    '{"a":' + "9" * 400 + "}",
    "00000000-0000-0000-0000-000000000001", "a" * 64, "A" * 64, "x" * 70_000, "yard_task_AAAA", "AAAA", "9" * 30,
)  # fmt: skip
BYTES = (b"", b"\0", b"\xff" * 10, b"x" * 66_000)


def value(field: Any, chance: random.Random, depth: int) -> Any:
    """A value for one (element of a) field."""
    kinds = FieldDescriptor
    if field.type == kinds.TYPE_MESSAGE:
        message = message_factory.GetMessageClass(field.message_type)()
        mutate(message, chance, depth + 1)
        return message
    if field.type == kinds.TYPE_ENUM:
        return chance.choice((0, 1, 2, 3, 99, -1, 2**31 - 1))
    if field.type == kinds.TYPE_STRING:
        return chance.choice(STRINGS)
    if field.type == kinds.TYPE_BYTES:
        return chance.choice(BYTES)
    if field.type == kinds.TYPE_BOOL:
        return chance.random() < 0.5
    if field.type in (kinds.TYPE_DOUBLE, kinds.TYPE_FLOAT):
        return chance.choice(DOUBLES)
    return chance.choice(LONGS if field.type == kinds.TYPE_INT64 else INTEGERS)


def mutate(message: Message, chance: random.Random, depth: int = 0) -> None:
    """Sets some fields; a map or list gets a few entries."""
    if isinstance(message, Struct):
        _fill_struct(message, chance)
        return
    for field in message.DESCRIPTOR.fields:
        if depth > 4 or chance.random() > (0.6 if depth == 0 else 0.35):
            continue
        if field.is_repeated:
            for _ in range(chance.choice((1, 1, 2, 5))):
                _add(message, field, chance, depth)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            getattr(message, field.name).CopyFrom(value(field, chance, depth))
        else:
            setattr(message, field.name, value(field, chance, depth))


def _add(message: Message, field: Any, chance: random.Random, depth: int) -> None:
    many = getattr(message, field.name)
    entry = field.message_type
    if entry is None or not entry.GetOptions().map_entry:
        item = value(field, chance, depth)
        many.add().CopyFrom(item) if isinstance(item, Message) else many.append(item)
        return
    key = value(entry.fields_by_name["key"], chance, depth)
    item = value(entry.fields_by_name["value"], chance, depth)
    if isinstance(item, Message):
        many[key].CopyFrom(item)
    else:
        many[key] = item


def _fill_struct(struct: Struct, chance: random.Random) -> None:
    struct.fields["n"].number_value = chance.choice(DOUBLES)
    struct.fields["none"].Clear()
    inner = struct
    for _ in range(chance.choice((0, 3, 40))):
        inner = inner.fields["deep"].struct_value
    inner.fields["list"].list_value.values.add().string_value = chance.choice(STRINGS[:20])


def likely(request: Message) -> None:
    """Makes a request that would be taken, as far as names tell what belongs into it."""
    given = {"task_id": "t-1", "node": "n0", "name": "echo", "account": "default"}
    for field in request.DESCRIPTOR.fields:
        if field.name == "specs":
            request.specs.add().CopyFrom(command(name="x", priority=1, params_json='{"a": 1}'))  # type: ignore[attr-defined]
        elif field.name == "task_ids":
            request.task_ids.append("t-1")  # type: ignore[attr-defined]
        elif field.name in given and not field.is_repeated:
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
        mutate_one(inner[0], chance) if inner else _add(message, field, chance, 1)
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
    return tasks, state.next_number, state.next_spec, str(nodes)


async def call(client: Client, method: MethodDescriptor, request: bytes) -> str:
    """The code of the answer; streams are read for a moment."""
    kind = "unary_stream" if method.server_streaming else "unary_unary"
    answer = message_factory.GetMessageClass(method.output_type)
    path = f"/{method.containing_service.full_name}/{method.name}"
    rpc = getattr(client.channel, kind)(path, lambda data: data, answer.FromString)(request)
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
async def test_rpc_with_mutated_fields_is_answered_in_words(method: MethodDescriptor, tmp_path: Path) -> None:
    chance = random.Random(method.full_name)
    async with scheduler_yard(tmp_path) as yard, connected(yard, cpu=1):
        await yard.admin.submit(command(), command(array_size=9))
        client = yard.service_client if method.name == "ResolveToken" else yard.admin
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
            code = await call(client, method, request.SerializeToString())
            if code == "INVALID_ARGUMENT":
                assert picture(yard) == before, f"refused and yet something changed: {request}"
            codes[code] = codes.get(code, 0) + 1
        for _ in range(20):
            assert await call(client, method, os.urandom(chance.choice((1, 10, 1_000)))) != "INTERNAL"
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
