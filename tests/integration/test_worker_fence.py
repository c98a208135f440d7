"""A real worker ends work by itself when its agent has not put that off: also when nobody is there any more."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests.support.frames import Peer, wait_for


def fence(peer: Peer, key: str, after_ms: int, grace_ms: int = 200) -> None:
    peer.send(fence=[{"key": key, "after_ms": after_ms, "grace_ms": grace_ms}])


def test_command_is_ended_when_its_time_is_over(peer: Peer, place: Path) -> None:
    command = {"argv": ["sleep", "600"], "directory": str(place), "log_directory": str(place / "logs")}
    peer.send(run=[{"key": "a/1", "command": command}])
    peer.until("started", "a/1")
    fence(peer, "a/1", 100)
    assert peer.until("ended", "a/1")["error"]["cause"] == "cancelled"


def test_later_deadline_takes_the_place_of_an_earlier_one(peer: Peer, place: Path) -> None:
    command = {"argv": ["sleep", "0.6"], "directory": str(place), "log_directory": str(place / "logs")}
    peer.send(run=[{"key": "a/1", "command": command}])
    peer.until("started", "a/1")
    fence(peer, "a/1", 200)
    fence(peer, "a/1", 600_000)
    assert "error" not in peer.until("ended", "a/1")


def test_call_is_ended_after_its_agent_has_gone(
    peer: Peer, worker: tuple[subprocess.Popen[bytes], str], place: Path
) -> None:
    call = {"operator": "sleep", "params_json": '{"seconds": 600}', "directory": str(place / "a")}
    fenced = {"key": "a/1", "after_ms": 500, "grace_ms": 200}
    peer.send(run=[{"key": "a/1", "operator": call}], fence=[fenced])
    peer.until("started", "a/1")
    peer.close()
    again = Peer(worker[1])
    ended: dict[str, Any] = again.until("ended", "a/1")
    again.close()
    assert ended["error"]["cause"] == "cancelled"
    assert worker[0].poll() is None


def test_call_that_does_not_heed_its_end_takes_the_worker_along(
    peer: Peer, worker: tuple[subprocess.Popen[bytes], str], place: Path
) -> None:
    call = {"operator": "tests.support.sample_operators:unheeding", "directory": str(place)}
    peer.send(run=[{"key": "a/1", "operator": call}])
    peer.until("started", "a/1")
    fence(peer, "a/1", 100)
    wait_for(lambda: worker[0].poll() is not None)
