"""Requests and replies of the Open Inference Protocol as bytes.

Owns that large tensors are not copied: they stay slices of the message that they came in, and are joined into the
reply once. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from modelyard.oip.v2 import inference_pb2 as pb

Buffer = bytes | bytearray | memoryview

WHOLE_BYTES_MOST = 16 * 1024
"""Messages up to here are decoded as they are: cutting would cost more than it saves."""
_RAW_INPUT = 7 << 3 | 2
_RAW_OUTPUT = bytes([6 << 3 | 2])


class Request:
    """A ModelInferRequest whose raw contents lie apart."""

    __slots__ = ("message", "raw")

    def __init__(self, message: pb.ModelInferRequest, raw: Sequence[Buffer]) -> None:
        self.message = message
        self.raw = raw


def decode(data: bytes) -> Request:
    """Raises DecodeError, as protobuf does."""
    if len(data) <= WHOLE_BYTES_MOST:
        message = pb.ModelInferRequest.FromString(data)
        return Request(message, message.raw_input_contents)
    kept, raw = _cut(memoryview(data))
    return Request(pb.ModelInferRequest.FromString(b"".join(kept)), raw)


def _cut(data: memoryview) -> tuple[list[memoryview], list[memoryview]]:
    """The fields of a message that are no raw contents, and those that are."""
    kept: list[memoryview] = []
    raw: list[memoryview] = []
    at = 0
    try:
        while at < len(data):
            start = at
            tag, at = _varint(data, at)
            at, value = _skip(data, at, tag & 7)
            if tag == _RAW_INPUT:
                raw.append(data[value:at])
            else:
                kept.append(data[start:at])
    except IndexError:
        raise DecodeError("the message ends in the middle of a field") from None
    if at != len(data):
        raise DecodeError("the message ends in the middle of a field")
    return kept, raw


def _skip(data: memoryview, at: int, kind: int) -> tuple[int, int]:
    """Where the field ends whose content begins at `at`, and where its value begins."""
    if kind == 2:
        length, at = _varint(data, at)
        return at + length, at
    if kind == 0:
        return _varint(data, at)[1], at
    if kind == 1:
        return at + 8, at
    if kind == 5:
        return at + 4, at
    raise DecodeError("a field has a type that does not exist")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise DecodeError("a number is longer than ten bytes")


def encode(reply: pb.ModelInferResponse, raw: Sequence[Buffer]) -> bytes:
    """The reply with its raw contents, of which each byte is copied once."""
    parts: list[Buffer] = [reply.SerializeToString()]
    for content in raw:
        parts.append(_RAW_OUTPUT + _length(len(content)))
        parts.append(content)
    return b"".join(parts)


def _length(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def encode_in_stream(reply: bytes) -> bytes:
    """A ModelStreamInferResponse around an encoded reply."""
    return b"".join((bytes([2 << 3 | 2]), _length(len(reply)), reply))
