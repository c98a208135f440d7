"""Messages between the models service and a frame: a JSON header and buffers, each with its length before it.

    <II  length of the header, number of buffers
    <Q   length, for each buffer
    header, UTF-8 JSON, an object with "kind"; then the buffers one after the other

Pure, standard library only: whoever owns a socket, blocking or asyncio's, moves the bytes. `Decoder` says where the
next bytes belong, so that a large tensor is received in its place (`socket.recv_into`, `asyncio.BufferedProtocol`).

service → frame
    hello   {secret}
    call    {id, left_ms, inputs: [{name, datatype, shape, parameters?}], outputs?: [name], parameters?}, and a buffer
            for each input
    batch   {calls: [as of call, …]}, their buffers in order: computed as one, answered one by one
    cancel  {id}
    end     {}: finish what runs, then leave
frame → service
    welcome    {pid, python}
    loaded     {load_s, memory_bytes, golden_digest, warnings}
    unloadable {code, field, message}
    result     {id, outputs: [{name, datatype, shape, parameters}], times_ns: {wait, input, compute, output},
                parameters?, is_last?}, and a buffer for each output; parameters has viz_error where a drawing failed
    part       as result: one of many; the last of them is a result with is_last true
    failure    {id, code, field, message}

`left_ms` 0: no deadline. Each call gets exactly one `result` or `failure`, after any number of `part`. The failure
UNAVAILABLE says that the frame leaves, and that the call has not begun.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Header = dict[str, Any]
Buffer = bytes | bytearray | memoryview

HEADER_BYTES_MOST = 16 << 20
BUFFERS_MOST = 4096
MESSAGE_BYTES_MOST = 1 << 30
GREETING_BYTES_MOST = 16 << 10
"""Of whoever has not shown the secret yet."""

_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_PREFIX = struct.Struct("<II")
_SCRATCH_BYTES = 64 << 10
"""The lengths of all buffers of a message fit into it."""
_JOINED_BYTES_MOST = 64 << 10
_ALIGNMENT = 64


class BadMessage(ValueError):
    """What came is no message: the connection is of no further use."""


class Message:
    """One message. Its buffers are slices of one piece of memory, which they keep."""

    __slots__ = ("buffers", "header")

    def __init__(self, header: Header, buffers: list[memoryview]) -> None:
        self.header = header
        self.buffers = buffers

    @property
    def kind(self) -> str:
        return str(self.header["kind"])


def encode(header: Header, buffers: Sequence[Buffer] = ()) -> list[Buffer]:
    """What has to be sent, in order; a small message is one piece. Large buffers are not copied.

    Raises ValueError: the header is no JSON, or nobody would take so much as one message.
    """
    sizes = [memoryview(one).nbytes for one in buffers]
    text = _JSON(header).encode()
    before = _PREFIX.size + 8 * len(sizes) + len(text)
    total = sum(sizes)
    if (
        len(text) > HEADER_BYTES_MOST - _ALIGNMENT
        or len(sizes) > BUFFERS_MOST
        or total > MESSAGE_BYTES_MOST - before
    ):
        raise ValueError(
            f"a message with a header of {len(text)} bytes and {len(sizes)} buffers of {total} bytes"
        )
    # The first buffer begins where numpy can use it as it is: a JSON text may end in blanks.
    text += b" " * (-before % _ALIGNMENT if sizes else 0)
    head = _PREFIX.pack(len(text), len(sizes)) + struct.pack(f"<{len(sizes)}Q", *sizes) + text
    if not sizes:
        return [head]
    if total <= _JOINED_BYTES_MOST:
        return [b"".join((head, *buffers))]
    return [head, *(one for one, size in zip(buffers, sizes, strict=True) if size)]


class Decoder:
    """Messages out of a stream of bytes: put bytes into `room()`, then say with `received` how many.

    `bytes_most` bounds one message before any memory is taken for it, and may be changed between messages. `allocate`
    gives the memory of a large message: writable, of so many bytes.
    """

    def __init__(
        self,
        bytes_most: int = MESSAGE_BYTES_MOST,
        allocate: Callable[[int], Buffer] = bytearray,
    ) -> None:
        self.bytes_most = bytes_most
        self._allocate = allocate
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._filled = 0
        self._body: memoryview | None = None
        self._needed = 0

    def room(self, size_hint: int = -1) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._body is not None:
            return self._body[self._filled :]
        return self._scratch[self._filled :]

    def received(self, count: int) -> list[Message]:
        """The messages that are whole now. Raises BadMessage."""
        self._filled += count
        if self._body is not None:
            if self._filled < len(self._body):
                return []
            body, self._body, self._filled = self._body, None, 0
            return [_message(body)]
        return list(self._taken())

    def _taken(self) -> Iterator[Message]:
        """Whole messages from the scratch; the beginning of one that does not fit into it gets a place of its own."""
        begin = 0
        while True:
            total = self._total(self._scratch[begin : self._filled])
            if total is None or begin + total > self._filled:
                break
            # A copy of its own: the scratch is written over by what comes next.
            yield _message(memoryview(bytearray(self._scratch[begin : begin + total])))
            begin += total
        rest = self._scratch[begin : self._filled]
        if total is not None and total > _SCRATCH_BYTES:
            self._body = memoryview(self._allocate(total)).cast("B")
            self._body[: len(rest)] = rest
        elif begin:
            self._scratch[: len(rest)] = bytes(rest)
        self._filled = len(rest)

    def _total(self, begun: memoryview) -> int | None:
        """Bytes of the whole message that begins here; None: too little of it is there. Raises BadMessage."""
        if len(begun) < _PREFIX.size:
            return None
        header, count = map(int, _PREFIX.unpack_from(begun))
        if not header or header > HEADER_BYTES_MOST or count > BUFFERS_MOST:
            raise BadMessage(f"a header of {header} bytes and {count} buffers is no message")
        before = _PREFIX.size + 8 * count
        if before + header > self.bytes_most:
            raise BadMessage(f"a message of more than {self.bytes_most} bytes")
        if len(begun) < before:
            return None
        sizes: tuple[int, ...] = struct.unpack_from(f"<{count}Q", begun, _PREFIX.size)
        total = before + header + sum(sizes)
        if total > self.bytes_most:
            raise BadMessage(f"a message of {total} bytes, and at most {self.bytes_most} are taken")
        return total


def _message(body: memoryview) -> Message:
    length, count = _PREFIX.unpack_from(body)
    sizes = struct.unpack_from(f"<{count}Q", body, _PREFIX.size)
    begin = _PREFIX.size + 8 * count
    try:
        header = json.loads(bytes(body[begin : begin + length]))
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"a header is no JSON: {error}") from None
    if not isinstance(header, dict) or not isinstance(header.get("kind"), str):
        raise BadMessage("a header is an object with a kind")
    begin += length
    buffers = []
    for size in sizes:
        buffers.append(body[begin : begin + size])
        begin += size
    return Message(header, buffers)
