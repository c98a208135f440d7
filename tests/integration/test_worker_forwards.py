"""Local addresses of a seat's peers, with a real worker process and real sockets (S3.7)."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelyard.training.rendering.forwards import local_ip
from tests.support.frames import Peer, is_alive, wait_for
from tests.support.seat_shim import Shim

RESET = struct.pack("ii", 1, 0)


@pytest.fixture
def shim(peer: Peer, place: Path) -> Shim:
    return Shim(peer, place)


class Server:
    """Greets by its name, then says everything again, until the other side has said all."""

    def __init__(self, name: str, port: int = 0) -> None:
        self.name = name
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                threading.Thread(target=self._echo, args=(sock,), daemon=True).start()

    def _echo(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            sock.sendall(self.name.encode())
            while data := sock.recv(65_536):
                sock.sendall(data)

    def address(self, local: str, role: str = "master") -> dict[str, Any]:
        return peer_address(self.port, local, role)


def peer_address(port: int, local: str, role: str = "master") -> dict[str, Any]:
    """As PublishAddresses has it; port 0: it has no place."""
    found: dict[str, Any] = {"role": role, "index": 0, "local": {"c10d": local}}
    return {**found, "ip": "127.0.0.1", "node": "n", "ports": {"c10d": port}} if port else found


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    found = [Server("one"), Server("two")]
    yield found
    for server in found:
        server.listener.close()


class Seat:
    """One that runs, with one local address."""

    def __init__(self, shim: Shim) -> None:
        self.shim = shim
        seat = shim.open("c10d", forward=True)
        self.local = (local_ip(0), int(seat["forward_port"]))
        self.revision = 0

    @property
    def address(self) -> str:
        return f"{self.local[0]}:{self.local[1]}"

    @property
    def worker_pid(self) -> int:
        return int(self.shim.peer.frames[0]["inventory"]["pid"])

    def launch(self, *addresses: dict[str, Any], script: str = "sleep 600") -> None:
        self.shim.launch(1, script, addresses=addresses, address_revision=1)
        self.shim.until_state("RUNNING", 1)
        self.revision = 1

    def publish(self, *addresses: dict[str, Any]) -> None:
        self.revision += 1
        self.shim.order(addresses={"revision": self.revision, "addresses": list(addresses)})

    def connect(self) -> socket.socket:
        sock = socket.create_connection(self.local, timeout=20)
        sock.settimeout(20)
        return sock


@pytest.fixture
def seat(shim: Shim) -> Seat:
    return Seat(shim)


def forwarders_of(pid: int) -> list[int]:
    """The processes below a worker that forward: one, or for a moment none."""
    found = subprocess.run(
        ["pgrep", "-P", str(pid), "-f", "forwards.forwarder"], capture_output=True, text=True, check=False
    )
    return [int(word) for word in found.stdout.split()]


def test_peer_is_reached_at_its_local_address(seat: Seat, servers: list[Server]) -> None:
    seat.launch(servers[0].address(seat.address))
    with seat.connect() as sock:
        assert sock.recv(3) == b"one"
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"


def test_peer_that_moved_is_reached_at_the_old_address_and_old_connections_break(  # S3.7
    seat: Seat, servers: list[Server]
) -> None:
    seat.launch(servers[0].address(seat.address))
    with seat.connect() as old:
        assert old.recv(3) == b"one"
        seat.publish(servers[1].address(seat.address))
        with pytest.raises(ConnectionResetError):
            old.recv(1)
    with seat.connect() as new:
        assert new.recv(3) == b"two"


def test_address_that_is_out_of_date_changes_nothing(seat: Seat, servers: list[Server]) -> None:
    seat.launch(servers[0].address(seat.address))
    seat.publish(servers[1].address(seat.address))
    seat.revision = 0
    seat.publish(servers[0].address(seat.address))
    seat.shim.order(9, stop={"signal": "SIGNONSENSE"})
    seat.shim.until_told("refusal")
    with seat.connect() as sock:
        assert sock.recv(3) == b"two"


def test_connection_to_a_peer_that_is_nowhere_waits_until_it_is_somewhere(
    seat: Seat, servers: list[Server]
) -> None:
    seat.launch(peer_address(0, seat.address))
    with seat.connect() as sock:
        sock.sendall(b"early")
        seat.publish(servers[0].address(seat.address))
        assert sock.recv(3) == b"one"
        assert sock.recv(5) == b"early"


def test_connection_to_a_peer_that_does_not_listen_yet_waits(seat: Seat) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    seat.launch(peer_address(port, seat.address))
    with seat.connect() as sock:
        server = Server("late", port)
        assert sock.recv(4) == b"late"
        server.listener.close()


def test_half_close_reaches_the_other_side_and_the_answer_comes_back(
    seat: Seat, servers: list[Server]
) -> None:
    seat.launch(servers[0].address(seat.address))
    with seat.connect() as sock:
        sock.sendall(b"all")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"oneall"


def test_much_data_against_a_slow_reader_arrives_whole(seat: Seat, servers: list[Server]) -> None:
    seat.launch(servers[0].address(seat.address))
    block = os.urandom(1 << 20)
    with seat.connect() as sock:
        assert sock.recv(3) == b"one"
        sender = threading.Thread(target=lambda: [sock.sendall(block) for _ in range(32)])
        sender.start()
        for _ in range(32):
            assert read_exactly(sock, len(block)) == block
        sender.join(20)


def test_reset_by_the_peer_reaches_the_program(seat: Seat) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        seat.launch(peer_address(listener.getsockname()[1], seat.address))
        with seat.connect() as sock:
            peer, _ = listener.accept()
            sock.sendall(b"x")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            peer.close()
            with pytest.raises(ConnectionResetError):
                sock.recv(1)


def test_many_connections_at_once_all_pass(seat: Seat, servers: list[Server]) -> None:
    seat.launch(servers[0].address(seat.address))
    socks = [seat.connect() for _ in range(300)]
    for number, sock in enumerate(socks):
        sock.sendall(number.to_bytes(4, "big"))
    for number, sock in enumerate(socks):
        assert read_exactly(sock, 7) == b"one" + number.to_bytes(4, "big")
        sock.close()


def test_address_that_is_not_published_any_more_is_closed(seat: Seat, servers: list[Server]) -> None:
    seat.launch(servers[0].address(seat.address))
    with seat.connect() as sock:
        assert sock.recv(3) == b"one"
        seat.publish()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    with pytest.raises(ConnectionRefusedError), seat.connect():
        pass


def test_local_address_beyond_the_seat_is_refused(seat: Seat, servers: list[Server]) -> None:
    """Nothing but loopback, at the seat's own port."""
    seat.launch()
    seat.publish(servers[0].address(f"0.0.0.0:{seat.local[1]}"))
    assert seat.shim.until_told("refusal")["reason"] == "ADDRESSES"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", seat.local[1]), timeout=5)


def test_killed_forwarder_is_replaced_at_the_same_address(seat: Seat, servers: list[Server]) -> None:
    seat.launch(servers[0].address(seat.address))

    [first] = forwarders_of(seat.worker_pid)
    with seat.connect() as sock:
        assert sock.recv(3) == b"one"
        # Only what has lived for a second is replaced at once.
        seat.shim.until_told("activity")
        os.kill(first, signal.SIGKILL)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    wait_for(lambda: forwarders_of(seat.worker_pid) not in ([], [first]))

    def answers() -> bool:
        try:
            with seat.connect() as again:
                return again.recv(3) == b"one"
        except ConnectionRefusedError:
            return False

    wait_for(answers)


def test_forwarding_goes_on_while_no_agent_is_there(seat: Seat, servers: list[Server]) -> None:
    seat.launch(servers[0].address(seat.address))
    seat.shim.peer.close()
    with seat.connect() as sock:
        assert sock.recv(3) == b"one"


def test_end_of_processes_leaves_local_addresses_and_the_end_of_the_seat_takes_them(
    seat: Seat, servers: list[Server]
) -> None:
    seat.launch(servers[0].address(seat.address), script="true")
    seat.shim.until_state("ENDED", 1)
    with seat.connect() as sock:
        assert sock.recv(3) == b"one"
    [forwarder] = forwarders_of(seat.worker_pid)
    seat.shim.close()
    assert not is_alive(forwarder)
    with pytest.raises(ConnectionRefusedError):
        seat.connect()


def test_killed_shim_takes_its_forwarder_along(seat: Seat, servers: list[Server]) -> None:
    seat.launch(servers[0].address(seat.address))
    [forwarder] = forwarders_of(seat.worker_pid)
    os.kill(seat.worker_pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(forwarder))


def test_programs_are_told_where_peers_are_before_they_start(shim: Shim) -> None:  # S3.7
    """Also without local addresses."""
    shim.open("c10d")
    shim.run(1, "cat ../addresses.json", addresses=[peer_address(1234, "")], address_revision=7)
    assert '"revision": 7' in (shim.log / "stdout").read_text()


def read_exactly(sock: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        data = sock.recv(min(65_536, count - len(found)))
        assert data, f"it ended after {len(found)} bytes"
        found += data
    return found


def read_all(sock: socket.socket) -> bytes:
    found = b""
    while data := sock.recv(65_536):
        found += data
    return found


def test_program_that_is_gone_costs_nothing_while_the_peer_is_silent(seat: Seat) -> None:
    """The peer neither reads nor ends; what is to be said again and again is not heard."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        seat.launch(peer_address(listener.getsockname()[1], seat.address))
        with seat.connect() as sock:
            peer, _ = listener.accept()
            sock.sendall(b"x" * 100)
        with peer:
            [forwarder] = map(psutil.Process, forwarders_of(seat.worker_pid))
            before = forwarder.cpu_times().user
            seat.shim.until_told("activity")
            assert forwarder.cpu_times().user - before < 0.5
            assert read_exactly(peer, 100) == b"x" * 100
            assert peer.recv(1) == b""
