"""Messages between the models service and a frame, however they are cut on their way."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.serving.wire import (
    BUFFERS_MOST,
    HEADER_BYTES_MOST,
    BadMessage,
    Decoder,
    Header,
    Message,
    encode,
)

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_MESSAGES = st.lists(
    st.tuples(
        st.dictionaries(st.text(), _JSON, max_size=4),
        st.lists(st.binary(max_size=400) | st.integers(0, 200_000).map(bytes), max_size=4),
    ),
    max_size=6,
)


def joined(header: Header, buffers: list[bytes]) -> bytes:
    return b"".join(encode(header, buffers))


def fed(decoder: Decoder, data: bytes, pieces: list[int]) -> list[Message]:
    """As a socket would give it: as much as there is room for, cut at will."""
    found, rest, cuts = [], memoryview(data), iter(pieces)
    while rest:
        room = decoder.room()
        assert len(room) > 0
        count = min(len(room), len(rest), next(cuts, len(rest)))
        room[:count] = rest[:count]
        rest = rest[count:]
        found += decoder.received(count)
    return found


@given(_MESSAGES, st.lists(st.integers(1, 5000), max_size=50))
def test_messages_cut_anywhere_come_back_whole(
    messages: list[tuple[Header, list[bytes]]], pieces: list[int]
) -> None:
    sent = [({"kind": "call", **header}, buffers) for header, buffers in messages]
    sent = [({**header, "kind": "call"}, buffers) for header, buffers in sent]
    data = b"".join(joined(header, buffers) for header, buffers in sent)
    got = fed(Decoder(), data, pieces)
    assert [(one.header, [bytes(part) for part in one.buffers]) for one in got] == sent


@given(st.binary(max_size=300))
def test_bytes_that_are_no_message_are_refused_or_wait_for_more(data: bytes) -> None:
    decoder = Decoder(bytes_most=1000)
    try:
        for message in fed(decoder, data, []):
            assert isinstance(message.kind, str)
    except BadMessage:
        pass


def test_buffers_of_a_message_stay_when_the_next_has_come() -> None:
    decoder = Decoder()
    [first] = fed(decoder, joined({"kind": "call"}, [b"first"]), [])
    [second] = fed(decoder, joined({"kind": "call"}, [b"second"]), [])
    assert bytes(first.buffers[0]) == b"first"
    assert bytes(second.buffers[0]) == b"second"


def test_a_large_buffer_is_sent_as_it_is_and_received_in_its_place() -> None:
    tensor = bytearray(1 << 20)
    pieces = encode({"kind": "call"}, [tensor])
    assert pieces[1] is tensor
    taken: list[int] = []

    def allocate(size: int) -> bytearray:
        taken.append(size)
        return bytearray(size)

    [message] = fed(Decoder(allocate=allocate), b"".join(pieces), [])
    assert taken == [sum(map(len, pieces))]
    assert message.buffers[0].nbytes == 1 << 20
    assert not message.buffers[0].readonly


def test_the_first_buffer_begins_where_numbers_may_lie() -> None:
    for length in range(70):
        head = encode({"kind": "call", "id": "x" * length}, [b"12345678" * 10_000])[0]
        assert len(head) % 64 == 0


@pytest.mark.parametrize(
    "prefix",
    [
        struct.pack("<II", 0, 0),
        struct.pack("<II", HEADER_BYTES_MOST + 1, 0),
        struct.pack("<II", 2, BUFFERS_MOST + 1),
        struct.pack("<IIQ", 2, 1, 1 << 63),
        struct.pack("<IIQQ", 2, 2, 600, 600),
        struct.pack("<II", 2000, 0),
    ],
)
def test_what_claims_to_be_large_is_refused_before_memory_is_taken(prefix: bytes) -> None:
    def allocate(size: int) -> bytearray:
        raise AssertionError(f"took {size} bytes")

    with pytest.raises(BadMessage):
        fed(Decoder(bytes_most=1000, allocate=allocate), prefix, [])


@pytest.mark.parametrize("text", [b"[]", b"{}", b'{"kind":1}', b"{", b"\xff", b"[" * 100_000])
def test_a_header_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(BadMessage):
        fed(Decoder(), struct.pack("<II", len(text), 0) + text, [])


def test_a_header_with_what_json_has_not_is_not_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode({"kind": "call", "left_ms": float("nan")})


def test_most_buffers_of_one_message_pass() -> None:
    buffers = [json.dumps(place).encode() for place in range(BUFFERS_MOST)]
    [message] = fed(Decoder(), joined({"kind": "batch"}, buffers), [])
    assert [bytes(one) for one in message.buffers] == buffers
