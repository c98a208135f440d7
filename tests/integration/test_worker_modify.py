"""Changes of what a real worker has, over its socket (S0.7): commands, repetitions, what is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.frames import Peer, wait_for


def send_script(peer: Peer, place: Path, key: str, script: str, **more: Any) -> Path:
    """Runs a script; its own directory."""
    room = place / key.replace("/", "-")
    (room / "work").mkdir(parents=True)
    command = {
        "argv": ["sh", "-c", script],
        "directory": str(room / "work"),
        "log_directory": str(room),
        "env": {"YARD_PARAMS": str(room / "params.json"), "READY": str(room / "ready")},
        **more,
    }
    peer.send(run=[{"key": key, "command": command}])
    return room


def modify(peer: Peer, key: str, revision: int, params: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The worker's answer to a change."""
    peer.send(modify=[{"key": key, "params_json": json.dumps(params), "revision": revision, **more}])
    while True:
        for frame in peer.frames:
            for said in frame.get("modified", ()):
                if (said["key"], said["revision"]) == (key, revision):
                    frame["modified"].remove(said)
                    return said
        assert peer.receive(), "closed"


WAIT = 'trap \'cat "$YARD_PARAMS" > got; exit 0\' USR1; touch "$READY"; while :; do sleep 0.01; done'


def test_running_command_finds_its_file_changed_and_gets_the_signal(peer: Peer, place: Path) -> None:
    room = send_script(peer, place, "a/1", WAIT, params_json='{"a":1,"n":12345678901234567890}')
    wait_for((room / "ready").exists)
    assert modify(peer, "a/1", 1, {"b": 2})["accepted"]
    assert json.loads((room / "params.json").read_text()) == {"a": 1, "n": 12345678901234567890, "b": 2}
    assert modify(peer, "a/1", 2, {"b": 3}, signal=10)["accepted"]
    assert "error" not in peer.until("ended", "a/1")
    assert json.loads((room / "work/got").read_text())["b"] == 3
    assert {path.name for path in room.iterdir()} == {"work", "ready", "params.json", "stdout", "stderr"}


def test_waiting_command_starts_with_its_changed_parameters(peer: Peer, place: Path) -> None:
    first = send_script(peer, place, "a/1", WAIT, params_json="{}")
    wait_for((first / "ready").exists)
    with_params = send_script(peer, place, "a/2", 'cat "$YARD_PARAMS"', params_json='{"a":1}')
    without = send_script(peer, place, "a/3", 'cat "$YARD_PARAMS"')
    for number, key in enumerate(("a/2", "a/3"), 1):
        assert modify(peer, key, number, {"b": 2}, signal=10)["accepted"]
    peer.send(modify=[{"key": "a/1", "params_json": "{}", "revision": 3, "signal": 10}])
    peer.until("ended", "a/3")
    assert json.loads((with_params / "stdout").read_text()) == {"a": 1, "b": 2}
    assert json.loads((without / "stdout").read_text()) == {"b": 2}


def test_running_command_without_a_file_refuses(peer: Peer, place: Path) -> None:
    room = send_script(peer, place, "a/1", WAIT)
    wait_for((room / "ready").exists)
    said = modify(peer, "a/1", 1, {"b": 2}, signal=10)
    assert not said["accepted"]
    assert "without parameters" in said["message"]
    assert not (room / "params.json").exists()


def test_command_whose_file_cannot_be_written_refuses(peer: Peer, place: Path) -> None:
    room = send_script(peer, place, "a/1", WAIT, params_json="{}")
    wait_for((room / "ready").exists)
    (room / "params.json.new").mkdir()
    said = modify(peer, "a/1", 1, {"b": 2})
    assert not said["accepted"]
    assert "cannot be written" in said["message"]


def test_work_that_is_not_there_is_unknown(peer: Peer, place: Path) -> None:
    send_script(peer, place, "a/1", "exit 0", params_json="{}")
    peer.until("ended", "a/1")
    for key in ("a/1", "a/9"):
        said = modify(peer, key, 1, {"b": 2})
        assert (said["accepted"], said["unknown"]) == (False, True)


def test_call_answers_the_same_change_again_and_refuses_an_older_one(peer: Peer) -> None:
    operator = "tests.support.sample_operators:lasting"
    peer.send(run=[{"key": "a/1", "operator": {"operator": operator, "params_json": '{"target":1}'}}])
    peer.until("started", "a/1")
    assert modify(peer, "a/1", 5, {"target": 2})["accepted"]
    assert modify(peer, "a/1", 5, {"target": 2})["accepted"]
    assert "not newer" in modify(peer, "a/1", 4, {"target": 3})["message"]
    assert modify(peer, "a/1", 6, {"target": 0})["accepted"]
    assert peer.until("ended", "a/1")["value_json"] == "[6,0]"
