"""What a local address costs: connections, round trips, bytes and memory, against the peer's own address."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figures import Figure, percentile, repeat
from modelyard.training.rendering.forwards import local_ip
from modelyard.worker.forwards.forwards import Forwards
from modelyard.worker.seats.ports import Leases

TURNS, DIALS, ROUNDS, MEGABYTES, MANY = 3, 200, 3_000, 1_000, 1_000

Address = tuple[str, int]


def measure() -> list[Figure]:
    with TemporaryDirectory() as place, _echo() as own:
        leases = Leases(f"{place}/ports")
        forwards = Forwards(leases.lease_forward(), {})
        local = (local_ip(0), forwards.port)
        peer = {"ip": own[0], "node": "n", "ports": {"p": own[1]}, "local": {"p": f"{local[0]}:{local[1]}"}}
        forwards.follow([peer])
        try:
            return [
                *_compared("a connection and its first byte", "µs", _dial_us, own, local),
                *_compared(
                    "a round trip of 64 bytes, median", "µs", lambda at: _round_us(at, 0.5), own, local
                ),
                *_compared("a round trip of 64 bytes, p99", "µs", lambda at: _round_us(at, 0.99), own, local),
                *_compared("one stream", "MB/s", _rate, own, local),
                Figure(
                    f"forwards: {MANY} connections at once, each answered",
                    "s",
                    repeat(TURNS, lambda: _many_s(local)),
                ),
                Figure("forwards: memory of the process, its own", "MB", (_memory_mb(forwards.pid),)),
            ]
        finally:
            forwards.close()
            leases.close()


def _compared(
    what: str, unit: str, figure: Callable[[Address], float], own: Address, local: Address
) -> list[Figure]:
    return [
        Figure(f"forwards: {what}, direct", unit, repeat(TURNS, lambda: figure(own))),
        Figure(f"forwards: {what}, local address", unit, repeat(TURNS, lambda: figure(local))),
    ]


@contextmanager
def _echo() -> Iterator[Address]:
    """Says everything again; after a first byte S counts instead, and says how much it was."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2_048)
    threading.Thread(target=_serve, args=(listener,), daemon=True).start()
    try:
        yield listener.getsockname()
    finally:
        listener.close()


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(sock,), daemon=True).start()


def _answer(sock: socket.socket) -> None:
    # What is left open at the end is broken off.
    with suppress(ConnectionError), sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if (first := sock.recv(1)) == b"S":
            count = 0
            while data := sock.recv(1 << 20):
                count += len(data)
            sock.sendall(str(count).encode())
            return
        sock.sendall(first)
        while data := sock.recv(1 << 16):
            sock.sendall(data)


def _dial(at: Address) -> socket.socket:
    sock = socket.create_connection(at)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _dial_us(at: Address) -> float:
    begun = time.perf_counter()
    for _ in range(DIALS):
        with _dial(at) as sock:
            sock.sendall(b"x")
            sock.recv(1)
    return (time.perf_counter() - begun) / DIALS * 1e6


def _round_us(at: Address, share: float) -> float:
    taken = []
    with _dial(at) as sock:
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            sock.sendall(b"x" * 64)
            sock.recv(64)
            taken.append(time.perf_counter() - begun)
    return percentile(taken, share) * 1e6


def _rate(at: Address) -> float:
    block, begun = bytes(1 << 20), time.perf_counter()
    with _dial(at) as sock:
        sock.sendall(b"S")
        for _ in range(MEGABYTES):
            sock.sendall(block)
        sock.shutdown(socket.SHUT_WR)
        count = int(sock.recv(100))
    return count / (time.perf_counter() - begun) / 1e6


def _many_s(at: Address) -> float:
    begun = time.perf_counter()
    socks = [_dial(at) for _ in range(MANY)]
    for sock in socks:
        sock.sendall(b"x")
    for sock in socks:
        sock.recv(1)
        sock.close()
    return time.perf_counter() - begun


def _memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1_000
