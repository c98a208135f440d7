"""Seats dial each other's leased ports before anything runs in them, with real worker processes (S3.6)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.frames import Message, Peer, wait_for, worker_process
from tests.support.seat_shim import Shim


@pytest.fixture
def shims(place: Path) -> Iterator[list[Shim]]:
    """Three seats, each kept by a process of its own, with a port each."""
    with ExitStack() as stack:
        found = []
        for number in (1, 2, 3):
            directory = place / str(number)
            directory.mkdir(mode=0o700)
            _, path = stack.enter_context(worker_process(directory))
            peer = Peer(path)
            stack.callback(peer.close)
            shim = Shim(peer, directory, key=f"t-{number}/1/1/1")
            shim.seat = shim.open("c10d", lease_path=str(place / "ports"))
            found.append(shim)
        yield found


def target(shim: Shim, **more: Any) -> Message:
    port = shim.seat["ports"]["c10d"]
    return {
        "role": "worker",
        "index": 0,
        "host": "127.0.0.1",
        "port": port,
        "task_id": shim.seat["task_id"],
        **more,
    }


def check(shim: Shim, *targets: Message, callers: int = 0, timeout_ms: int = 10_000, number: int = 1) -> None:
    shim.order(check={"number": number, "targets": targets, "callers": callers, "timeout_ms": timeout_ms})


def checked(shim: Shim, number: int = 1) -> list[Message]:
    """What could not be reached."""
    found = shim.until(lambda event: event.get("checked", {}).get("number") == number)
    return list(found["checked"]["unreached"])


def dial(port: int) -> socket.socket:
    """As soon as somebody listens."""
    found: list[socket.socket] = []

    def answers() -> bool:
        with suppress(ConnectionRefusedError):
            found.append(socket.create_connection(("127.0.0.1", port), timeout=5))
        return bool(found)

    wait_for(answers)
    return found[0]


def test_seats_reach_each_other_and_stop_answering(shims: list[Shim]) -> None:  # S3.6
    for shim in shims:
        check(shim, *(target(other) for other in shims if other is not shim), callers=2)
    for shim in shims:
        assert checked(shim) == []
    for shim in shims:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", shim.seat["ports"]["c10d"]), timeout=5)


def test_port_of_a_check_can_be_bound_without_reuse_afterwards(shims: list[Shim]) -> None:  # S3.6
    """Nothing of the connections is left at it."""
    one, two, three = shims
    check(one, callers=2)
    check(two, target(one))
    check(three, target(one))
    for shim in shims:
        assert checked(shim) == []
    port = one.seat["ports"]["c10d"]
    script = f"import socket; s = socket.socket(); s.bind(('', {port})); s.listen(); print('bound')"
    one.order(launch={"epoch": 1, "processes": [{"argv": ["python3", "-c", script]}]})
    assert one.until_state("ENDED")["exit"]["cause"] == "EXIT_CAUSE_SUCCESS"


def test_peer_that_does_not_answer_is_named_with_its_address_and_why(shims: list[Shim]) -> None:  # S3.6
    one, two, _ = shims
    check(one, target(two, role="ps", index=4), timeout_ms=300)
    (unreached,) = checked(one)
    port = two.seat["ports"]["c10d"]
    assert unreached == {
        "role": "ps", "index": 4, "address": f"127.0.0.1:{port}", "error": "Connection refused",
    }  # fmt: skip


def test_address_at_which_another_seat_answers_is_found_out(shims: list[Shim]) -> None:
    """As where every machine tells 127.0.0.1."""
    one, two, three = shims
    check(two, callers=1, timeout_ms=2_000)
    check(one, target(two, task_id=three.seat["task_id"]))
    (unreached,) = checked(one)
    assert "somebody else answers" in unreached["error"]


def test_name_that_is_not_known_is_told(shims: list[Shim]) -> None:
    check(shims[0], target(shims[1], host="no-such-host.invalid"))
    (unreached,) = checked(shims[0])
    assert unreached["error"].startswith("the name is not known here")


def test_peer_that_answers_late_is_waited_for(shims: list[Shim]) -> None:
    one, two, _ = shims
    check(one, target(two))
    one.order(9, stop={"signal": "NONSENSE"})
    one.until_told("refusal")
    check(two, callers=1)
    assert checked(one) == checked(two) == []


def test_launch_ends_a_check(shims: list[Shim]) -> None:
    """The port is the program's from then on."""
    one = shims[0]
    check(one, callers=5, timeout_ms=600_000)
    port = one.seat["ports"]["c10d"]
    script = f"import socket; s = socket.socket(); s.bind(('', {port})); s.listen(); print('bound')"
    with dial(port):
        one.order(launch={"epoch": 1, "processes": [{"argv": ["python3", "-c", script]}]})
        assert one.until_state("ENDED")["exit"]["cause"] == "EXIT_CAUSE_SUCCESS"


def test_running_seat_dials_and_does_not_answer(shims: list[Shim]) -> None:
    one, two, _ = shims
    one.launch(1, "sleep 600")
    one.until_state("RUNNING")
    check(two, callers=1)
    check(one, target(two), callers=3)
    assert checked(one) == checked(two) == []


def test_strangers_that_connect_do_not_count(shims: list[Shim]) -> None:
    one, two, _ = shims
    check(one, callers=1)
    port = one.seat["ports"]["c10d"]
    with dial(port) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n" * 20)
        check(two, target(one))
        assert checked(two) == []
    assert checked(one) == []
