"""What a frame writes: whole, in order, and together where it is ready together."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from modelyard.serving.calls import Answer, Call
from modelyard.serving.link import Link
from modelyard.serving.server import Server
from modelyard.serving.wire import Decoder, Message, encode

THREADS, EACH = 4, 200


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    other.settimeout(20)
    with closing(one), closing(other):
        yield one, other


def taken(end: socket.socket, count: int) -> list[Message]:
    decoder, found = Decoder(), list[Message]()
    while len(found) < count:
        room = decoder.room()
        got = end.recv_into(room)
        assert got, found
        found += decoder.received(got)
    return found


def test_results_of_a_batch_are_one_write(ends: tuple[socket.socket, socket.socket]) -> None:
    link = Link(ends[0])
    messages = [encode({"kind": "result", "id": number}, [b"x" * number]) for number in range(32)]
    link.send_all(messages)
    # Of a socket of datagrams each write would be one; of a stream all of it is there at once.
    assert len(ends[1].recv(1 << 16, socket.MSG_PEEK)) == sum(len(one) for m in messages for one in m)
    assert [message.header["id"] for message in taken(ends[1], 32)] == [*range(32)]


def test_threads_write_whole_messages_each_in_its_order(ends: tuple[socket.socket, socket.socket]) -> None:
    link = Link(ends[0])

    def send(thread: int) -> None:
        for number in range(EACH):
            large = b"y" * (100_000 if number % 50 == 0 else 10)
            link.send({"kind": "result", "id": number, "thread": thread}, [large])

    threads = [threading.Thread(target=send, args=(number,)) for number in range(THREADS)]
    for one in threads:
        one.start()
    found = taken(ends[1], THREADS * EACH)
    for one in threads:
        one.join()
    for number in range(THREADS):
        own = [message.header["id"] for message in found if message.header["thread"] == number]
        assert own == [*range(EACH)]


def test_answer_of_which_no_message_can_be_made_is_a_failure(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    server = Server("secret", 1, 1 << 20)
    server._link = Link(ends[0])
    calls = [Call(number, (), ()) for number in (1, 2)]
    server._live = {call.id: call for call in calls}
    bad = Answer(parameters={"share": float("nan")}).header("result", 1)
    server._finish([(calls[0], bad, ()), (calls[1], Answer().header("result", 2), ())])
    told = [(message.kind, message.header["id"]) for message in taken(ends[1], 2)]
    assert told == [("failure", 1), ("result", 2)]
    assert not server._live
