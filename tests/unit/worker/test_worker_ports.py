"""Leased ports: whoever else is on the machine, a program finds its number free (N4)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard.worker.seats.ports import Leases, NoPortFree, listening
from services.agent.workers.traces import private_directory


@pytest.fixture
def locks(tmp_path: Path) -> str:
    return str(tmp_path / "ports")


@contextlib.contextmanager
def greedy_neighbour() -> Iterator[None]:
    """Somebody who takes every port that the kernel gives, and keeps the last hundreds."""
    is_over = threading.Event()

    def take() -> None:
        held: list[socket.socket] = []
        while not is_over.is_set():
            held.append(socket.create_server(("127.0.0.1", 0)))
            held.append(socket.create_connection(held[-1].getsockname()))
            while len(held) > 300:
                held.pop(0).close()
        for one in held:
            one.close()

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def bound(number: int) -> socket.socket:
    """As a program binds that has never heard of SO_REUSEADDR."""
    program = socket.socket()
    try:
        program.bind(("0.0.0.0", number))
    except OSError:
        program.close()
        raise
    return program


def test_two_hundred_seats_of_three_ports_beside_a_greedy_neighbour_all_bind() -> None:
    names = [{"name": name} for name in ("a", "b", "c")]
    # The file of locks that agents have: what else is tested on this machine meanwhile leases ports too.
    locks = str(private_directory() / "ports")

    def use(_: int) -> list[int]:
        seat = Leases(locks)
        try:
            seat.lease(names)
            numbers = list(seat.numbers.values())
            for _ in range(2):
                seat.let_go()
                with contextlib.ExitStack() as programs:
                    for number in numbers:
                        programs.enter_context(bound(number))
                seat.hold_again()
            return numbers
        finally:
            seat.close()

    with greedy_neighbour(), ThreadPoolExecutor(20) as pool:
        leased = list(pool.map(use, range(200)))
    assert all(len(set(numbers)) == 3 for numbers in leased)


def test_number_stays_taken_until_its_seat_is_closed(locks: str) -> None:
    few = [{"name": "a", "low": 27600, "high": 27600}]
    first, second = Leases(locks), Leases(locks)
    first.lease(few)
    first.let_go()
    with pytest.raises(NoPortFree, match="every port from 27600 to 27600 is taken"):
        second.lease(few)
    first.close()
    second.lease(few)
    second.close()


def test_port_that_somebody_else_serves_is_not_leased(locks: str) -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        number = server.getsockname()[1]
        assert number in listening()
        seat = Leases(locks)
        with pytest.raises(NoPortFree):
            seat.lease([{"name": "a", "low": number, "high": number}])
        seat.close()


def test_held_port_is_not_listening(locks: str) -> None:
    seat = Leases(locks)
    seat.lease([{"name": "a"}])
    assert seat.numbers["a"] not in listening()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", seat.numbers["a"]))
    seat.close()
