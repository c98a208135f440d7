"""Messages with fields taken from a table of boundary values, made from their descriptors."""

from __future__ import annotations

import random
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

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
                add(message, field, chance, depth)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            getattr(message, field.name).CopyFrom(value(field, chance, depth))
        else:
            setattr(message, field.name, value(field, chance, depth))


def add(message: Message, field: Any, chance: random.Random, depth: int) -> None:
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
