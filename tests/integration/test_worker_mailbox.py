"""Programs of a real seat tell their progress over HTTP, as Hugging Face's Trainer does and by `report` (issue 5.7)."""

from __future__ import annotations

import http.client
import json
import socket
import stat
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.frames import Message, Peer
from tests.support.seat_shim import Shim
from tests.support.training_reports import HUGGING_FACE

REPORTS = """
import signal, sys, time
from modelyard import report
signal.signal(signal.SIGTERM, signal.SIG_IGN)
step = 0
while not report(step, 100, loss=1 / (step + 1), message="on its way"):
    step += 1
    time.sleep(0.05)
print("saved at", step, flush=True)
"""


@pytest.fixture
def shim(peer: Peer, place: Path) -> Shim:
    return Shim(peer, place)


def python(text: str, **env: str) -> dict[str, Any]:
    return {"argv": [sys.executable, "-c", text], "env": env}


def progress(shim: Shim) -> Message:
    found = shim.until_told("progress")
    found.pop("update_time")
    return found


def test_hugging_faces_trainer_reports_without_a_line_of_code(shim: Shim) -> None:
    shim.open()
    env = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "example.org"}
    shim.order(launch={"epoch": 1, "processes": [python(HUGGING_FACE)]})
    assert progress(shim) == {
        "ratio": 0.75, "remaining_s": 12.0, "step": 30, "total_steps": 40, "epoch": 1.5,
        "metrics": {"loss": 0.125, "learning_rate": 5e-05},
    }  # fmt: skip
    assert shim.until_state("ENDED", 1)["exit"]["cause"] == "EXIT_CAUSE_SUCCESS", shim.events
    assert "answered 200" in (shim.log / "stdout").read_text()
    shim.close()
    other = Shim(shim.peer, shim.place, "t-2/1/1/1")
    other.open(env=env)
    other.order(launch={"epoch": 1, "processes": [python(HUGGING_FACE)]})
    assert progress(other)["step"] == 30, "a proxy is not asked for this machine"
    other.close()
    assert not (other.log / "report.token").exists()


def test_program_reports_until_it_is_to_stop(shim: Shim) -> None:
    shim.open(env={"PYTHONPATH": str(Path(__file__).parents[2])})
    shim.order(launch={"epoch": 1, "processes": [python(REPORTS)]})
    first = progress(shim)
    assert first == {
        "step": 0, "total_steps": 100, "ratio": 0.0, "metrics": {"loss": 1.0}, "message": "on its way"
    }  # fmt: skip
    shim.order(stop={"epoch": 1, "grace_ms": 20_000})
    shim.until_state("ENDED", 1)
    assert (shim.log / "stdout").read_text().startswith("saved at ")
    assert (shim.log / "stderr").read_text().count("\n") == 1, "nothing but the line of the epoch"
    shim.close()


def address(shim: Shim) -> tuple[str, int, str]:
    """Where the mailbox of a running seat is, and its token."""
    out = shim.log / "stdout"
    shim.launch(1, "echo $YARD_REPORT_URL; touch told; sleep 60", signs=[{"id": 1, "file": "told"}])
    shim.until_told("sign")
    where = urlsplit(out.read_text().strip())
    token = shim.log / "report.token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    return where.hostname or "", where.port or 0, token.read_text()


def post(host: str, port: int, token: str, body: str, method: str = "POST") -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request(method, "/report", body, {"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    return answer.status, document


def test_mailbox_takes_reports_from_who_has_the_token_and_nothing_else(shim: Shim) -> None:
    shim.open()
    host, port, token = address(shim)
    assert host == "127.0.0.1"
    assert post(host, port, token, '{"step": 1}') == (200, {"should_stop": False})
    for wrong in ("", "x", token + "x"):
        assert post(host, port, wrong, '{"step": 2}')[0] == 401
    for body, status in (("", 400), ("[1]", 400), ("{}", 400), ("[" * 60_000, 400), ("x" * 70_000, 413)):
        assert post(host, port, token, body)[0] == status
    assert post(host, port, token, '{"step": 2}', "PUT")[0] == 405
    shim.close()


def test_who_says_nothing_does_not_keep_others_from_reporting(shim: Shim) -> None:
    shim.open()
    host, port, token = address(shim)
    mute = [socket.create_connection((host, port)) for _ in range(5)]
    for link in mute:
        link.sendall(b"POST / HTTP/1.1\r\n")
    assert post(host, port, token, '{"step": 1}')[0] == 200
    for link in mute:
        link.close()
    assert shim.close()["key"] == shim.key
