"""A real worker process, driven frame by frame."""

import base64
import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.frames import Peer, is_alive, worker_process

HERE = "tests.support.sample_operators:"


def test_call_with_override_returns_value(peer: Peer) -> None:
    ended = peer.call("a/1", HERE + "greet", '{"name":"x","times":1.0}', override_json='{"name":"y"}')
    assert ended["value_json"] == '"hello y"'
    assert ended["end_time_ms"] >= ended["start_time_ms"] > 0


def test_call_with_inputs_gets_text_and_files(peer: Peer, place: Path) -> None:
    # S0.6
    inputs = {"text": {"data": base64.b64encode(b"abc").decode()}}
    assert peer.call("a/1", HERE + "upper", inputs=inputs)["value_json"] == '"ABC"'
    inputs = {"data": {"data": base64.b64encode(b"abc").decode()}}
    ended = peer.call("a/2", HERE + "attached", inputs=inputs, directory=str(place / "t"))
    assert ended["value_json"] == '"abcabc"'
    (place / "file").write_text("xyz")
    ended = peer.call("a/3", HERE + "attached", inputs={"data": {"path": str(place / "file")}})
    assert ended["value_json"] == '"xyzxyz"'


def test_call_context_knows_its_attempt(peer: Peer) -> None:
    task = {"task_id": "t-1", "attempt": 2, "epoch": "77", "account": "ann", "array_index": 4}
    ended = peer.call("a/1", HERE + "identity", task=task)
    assert json.loads(ended["value_json"]) == ["t-1", 2, 77, "ann", 4]


@pytest.mark.parametrize(
    ("operator", "params", "cause", "message"),
    [
        ("raising", "{}", "error", "KeyError: 'lost'"),
        ("leaving", "{}", "error", "called sys.exit(3)"),
        ("unjson", "{}", "error", "the result contains a object, which JSON cannot carry"),
        ("greet", "{}", "setup", "parameter 'name' of operator 'greet' is missing"),
        ("greet", "[]", "setup", "must be a JSON object"),
        ("upper", "{}", "setup", "input 'text' of operator 'upper' is missing"),
        ("nothing", "{}", "setup", "has no function 'nothing'"),
    ],
)
def test_call_that_fails_says_why(peer: Peer, operator: str, params: str, cause: str, message: str) -> None:
    error = peer.call("a/1", HERE + operator, params)["error"]
    assert error["cause"] == cause
    assert message in error["message"]


def test_call_that_raises_shows_the_users_frames_only(peer: Peer) -> None:
    traceback = peer.call("a/1", HERE + "raising")["error"]["traceback"]
    assert "in raising" in traceback
    assert "modelyard/worker" not in traceback


def test_call_output_goes_to_its_own_logs_with_byte_counts(peer: Peer, place: Path) -> None:
    logs = place / "logs"
    ended = peer.call("a/1", HERE + "talking", log_directory=str(logs))
    stdout, stderr = (logs / "stdout").read_bytes(), (logs / "stderr").read_bytes()
    assert sorted(stdout.splitlines()) == [b"from a descriptor", b"printed"]
    assert b"logged" in stderr
    assert b"warned" in stderr
    assert b"from a child" in stderr
    assert (ended["stdout_bytes"], ended["stderr_bytes"]) == (len(stdout), len(stderr))


def test_silent_call_makes_no_files(peer: Peer, place: Path) -> None:
    ended = peer.call("a/1", "echo", log_directory=str(place / "logs"), directory=str(place / "dir"))
    assert "stdout_bytes" not in ended
    assert not (place / "logs").exists()
    assert not (place / "dir").exists()


def test_process_left_by_a_call_is_ended(peer: Peer) -> None:
    pid = json.loads(peer.call("a/1", HERE + "leftover")["value_json"])
    assert not is_alive(pid)


@pytest.mark.parametrize("operator", [HERE + "spinning", HERE + "awaiting", "sleep"])
def test_cancel_running_call_ends_it_and_the_worker_goes_on(peer: Peer, operator: str) -> None:
    params = '{"seconds":600}' if operator == "sleep" else "{}"
    peer.send(run=[{"key": "a/1", "operator": {"operator": operator, "params_json": params}}])
    peer.until("started", "a/1")
    peer.send(cancel=[{"key": "a/1", "grace_ms": 1000}])
    assert peer.until("ended", "a/1")["error"]["cause"] == "cancelled"
    assert peer.call("a/2", "echo", '{"value":1}')["value_json"] == "1"


def test_cancel_waiting_call_ends_it_unstarted(peer: Peer) -> None:
    run = [
        {"key": "a/1", "operator": {"operator": "sleep", "params_json": '{"seconds":600}'}},
        {"key": "a/2", "operator": {"operator": "echo"}},
    ]
    peer.send(run=run)
    peer.until("started", "a/1")
    peer.send(cancel=[{"key": "a/2"}])
    ended = peer.until("ended", "a/2")
    assert ended.get("start_time_ms", 0) == 0
    assert ended["error"]["cause"] == "cancelled"


def test_cancel_if_waiting_leaves_a_running_call_alone(peer: Peer) -> None:
    peer.send(run=[{"key": "a/1", "operator": {"operator": "sleep", "params_json": '{"seconds":0.3}'}}])
    peer.until("started", "a/1")
    peer.send(cancel=[{"key": "a/1", "if_waiting": True}])
    assert "error" not in peer.until("ended", "a/1")


def test_call_that_catches_its_cancellation_may_finish(peer: Peer) -> None:
    peer.send(run=[{"key": "a/1", "operator": {"operator": HERE + "stubborn"}}])
    peer.until("progress", "a/1")
    peer.send(cancel=[{"key": "a/1"}])
    assert peer.until("ended", "a/1")["value_json"] == '"kept going, True"'


def test_modify_running_call_changes_its_params(peer: Peer) -> None:
    # S0.7
    call = {"operator": HERE + "following", "params_json": '{"target":1}'}
    peer.send(run=[{"key": "a/1", "operator": call}])
    peer.until("started", "a/1")
    peer.send(modify=[{"key": "a/1", "params_json": '{"target":"x"}', "revision": 1}])
    refused = peer.until("modified")
    assert refused["accepted"] is False
    assert "must be an integer" in refused["message"]
    peer.send(modify=[{"key": "a/1", "params_json": '{"target":5}', "revision": 2}])
    assert peer.until("ended", "a/1")["value_json"] == "5"


def test_lost_connection_work_goes_on_and_reports_wait_for_acknowledgement(
    worker: tuple[subprocess.Popen[bytes], str],
) -> None:
    first = Peer(worker[1])
    first.until("inventory")
    first.send(
        run=[
            {"key": "a/1", "operator": {"operator": "sleep", "params_json": '{"seconds":0.2}'}},
            {"key": "a/2", "operator": {"operator": "echo"}},
        ]
    )
    first.until("started", "a/1")
    first.close()
    second = Peer(worker[1])
    inventory = second.until("inventory")
    known = {item["key"] for name in ("running", "ended") for item in inventory.get(name, ())}
    assert known | set(inventory.get("waiting", ())) == {"a/1", "a/2"}
    ended = {item["key"] for item in inventory.get("ended", ())}
    while ended != {"a/1", "a/2"}:
        ended |= {item["key"] for frame in second.receive() for item in frame.get("ended", ())}
    third = Peer(worker[1])
    reports = third.until("inventory")["ended"]
    assert sorted(item["key"] for item in reports) == ["a/1", "a/2"]
    third.send(ack=["a/1", "a/2"])
    third.call("a/3", "echo")
    fourth = Peer(worker[1])
    assert [item["key"] for item in fourth.until("inventory")["ended"]] == ["a/3"]
    for connection in (second, third, fourth):
        connection.close()


def test_run_of_a_known_key_is_not_run_twice(peer: Peer, place: Path) -> None:
    first = peer.call("a/1", "echo", '{"value":1}')
    peer.frames.clear()
    again = peer.call("a/1", "echo", '{"value":2}')
    assert again == first


def test_thousand_calls_in_one_frame_are_all_reported_once(peer: Peer) -> None:
    keys = [f"a{n}/1" for n in range(1000)]
    peer.send(run=[{"key": key, "operator": {"operator": "echo", "params_json": "{}"}} for key in keys])
    while len(peer.ended) < 1000:
        peer.receive()
    reports = [report["key"] for frame in peer.frames for report in frame.get("ended", ())]
    assert sorted(reports) == sorted(keys)


def test_call_that_ends_its_process_closes_the_connection(
    peer: Peer, worker: tuple[subprocess.Popen[bytes], str]
) -> None:
    peer.until("inventory")
    peer.send(run=[{"key": "a/1", "operator": {"operator": HERE + "dying"}}])
    while peer.receive():
        continue
    assert worker[0].wait() == 9


def test_quit_ends_the_worker_after_the_last_acknowledgement(
    peer: Peer, worker: tuple[subprocess.Popen[bytes], str]
) -> None:
    peer.call("a/1", "echo")
    peer.send(quit=True)
    peer.send(ack=["a/1"])
    assert worker[0].wait() == 0


def test_garbage_closes_the_connection_and_nothing_else(
    peer: Peer, worker: tuple[subprocess.Popen[bytes], str]
) -> None:
    # reliability 9
    peer.until("inventory")
    peer.socket.sendall(b"\xff" * 64)
    while peer.receive():
        continue
    second = Peer(worker[1])
    assert second.call("a/1", "echo", '{"value":2}')["value_json"] == "2"
    second.close()


def test_socket_is_private(place: Path, worker: tuple[subprocess.Popen[bytes], str]) -> None:
    assert Path(worker[1]).stat().st_mode & 0o777 == 0o600


def test_worker_without_agent_ends_itself(place: Path) -> None:
    with worker_process(place, "--orphan-timeout", "0.2") as (process, _):
        assert process.wait() == 0


def test_signal_of_a_past_cancellation_harms_nobody(
    peer: Peer, worker: tuple[subprocess.Popen[bytes], str]
) -> None:
    peer.call("a/1", "echo")
    worker[0].send_signal(signal.SIGUSR1)
    assert peer.call("a/2", "echo", '{"value":3}')["value_json"] == "3"


def test_call_of_an_operator_with_libraries_makes_files(peer: Peer, place: Path) -> None:  # S1.3
    pytest.importorskip("polars")
    (place / "table.csv").write_text("a,b\n1,x\n2,y\n3,x\n4,y\n")
    inputs = {"table": {"path": str(place / "table.csv")}}
    ended = peer.call(
        "a/1", "table.split", '{"test_ratio":0.5,"to":"csv"}', inputs=inputs, directory=str(place / "t")
    )
    files = {file["name"]: Path(file["path"]).read_text().splitlines() for file in ended["files"]}
    assert [len(lines) for lines in files.values()] == [3, 3]
    assert sorted(files) == ["test", "train"]
    inputs = {"table": {"path": str(place / "t" / "train.csv")}}
    seen = json.loads(
        peer.call("a/2", "table.preview", "{}", inputs=inputs, directory=str(place / "u"))["value_json"]
    )
    assert seen["rows"] == 2
    error = peer.call("a/3", "table.preview", '{"rows":-1}', inputs=inputs)["error"]
    assert "rows" in error["message"]
