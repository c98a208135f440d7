"""A yard beyond loopback: its frames are reached by their own sockets, and by TLS where it is not proved that they are
on the service's machine (S2.4, S2.5)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psutil
import pytest

from tests.support.addresses import own_address
from tests.support.yard import Yard, new_yard

DOUBLE = """
class Double:
    def predict(self, x: int) -> int:
        return 2 * x
"""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard(is_up=False, agents=1, host="0.0.0.0", environ={"YARD_ADVERTISE": own_address()}) as made:
        up = made.up("--models")
        assert up.code == 0, f"{up.stderr}\n{made.logs()}"
        (made.state / "double.py").write_text(DOUBLE)
        yield made
        made.cli("down")


def doubled(yard: Yard, number: int) -> bool:
    called = yard.cli("model", "call", "double", "--input", f"x={number}", "-o", "json", timeout_s=150)
    assert called.code == 0, f"{called.stderr}\n{yard.logs()}"
    return str(2 * number) in json.dumps(json.loads(called.stdout))


def dialled_count(yard: Yard) -> int:
    """Connections that the service has made to this machine's address beyond loopback."""
    pid = yard.pid("models")
    return sum(
        one.pid == pid
        and bool(one.raddr)
        and one.raddr.ip == own_address()
        and one.laddr.port != yard.port + 4
        and one.status == psutil.CONN_ESTABLISHED
        for one in psutil.net_connections("tcp4")
    )


def test_frame_is_reached_by_its_socket_and_sealed_where_that_is_not_proved(yard: Yard) -> None:  # S2.4, S2.5
    pushed = yard.cli("model", "push", "double.py", timeout_s=200)
    assert pushed.code == 0, f"{pushed.stderr}\n{yard.logs()}"
    assert doubled(yard, 21)
    assert dialled_count(yard) == 0
    (home,) = yard.agent_homes()
    proof = home / "home"
    assert proof.stat().st_mode & 0o077 == 0
    proof.write_text("as on another machine")
    pid = yard.kill("models")
    yard.wait_for("models", not_pid=pid)
    assert doubled(yard, 33)
    assert dialled_count(yard) == 1
