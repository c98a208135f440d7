"""Frames on a socket: a 4-byte big-endian length and a JSON object.

Owns the framing. Must not know what the messages mean.
"""

import json
import struct
from typing import Any

Message = dict[str, Any]

HEADER = struct.Struct(">I")
MAX_BYTES = 64 * 1024 * 1024

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class BadFrame(ValueError):
    """What came is not a frame; the connection cannot go on."""


def encode(message: Message) -> bytes:
    """One frame."""
    body = _encode(message).encode()
    return HEADER.pack(len(body)) + body


class FrameBuffer:
    """Collects bytes until they are messages."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes. Raises `BadFrame`."""
        pending = self._pending
        pending += data
        messages, start = [], 0
        while len(pending) - start >= 4:
            (size,) = HEADER.unpack_from(pending, start)
            if size > MAX_BYTES:
                raise BadFrame(f"a frame of {size} bytes; at most {MAX_BYTES} are allowed")
            end = start + 4 + size
            if len(pending) < end:
                break
            messages.append(_decode(pending[start + 4 : end]))
            start = end
        del pending[:start]
        return messages


def _decode(body: bytearray) -> Message:
    try:
        message = json.loads(body)
    except ValueError as error:
        raise BadFrame(f"a frame that is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise BadFrame("a frame that is not an object")
    return message
