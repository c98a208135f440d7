"""A real worker process as a shim: commands, their logs, limits and ends."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.frames import Peer, is_alive, wait_for


def send_command(peer: Peer, place: Path, key: str, *argv: str, **more: Any) -> None:
    command = {
        "argv": argv,
        "directory": str(place),
        "log_directory": str(place / "logs"),
        "record_path": str(place / "w1.records"),
        **more,
    }
    peer.send(run=[{"key": key, "command": command}])


def run_command(peer: Peer, place: Path, *argv: str, **more: Any) -> dict[str, Any]:
    send_command(peer, place, "a/1", *argv, **more)
    return peer.until("ended", "a/1")


def test_command_writes_logs_and_record(peer: Peer, place: Path) -> None:
    ended = run_command(peer, place, "sh", "-c", 'pwd; echo "$WORD" >&2', env={"WORD": "hello"})
    assert "error" not in ended
    assert (place / "logs/stdout").read_text() == f"{place}\n"
    assert (place / "logs/stderr").read_text() == "hello\n"
    assert ended["stdout_bytes"] == len(f"{place}\n")
    assert ended["enforcement"] == "none"
    assert json.loads((place / "w1.records").read_text()) == ended


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("exit 3", {"cause": "exit", "message": "exited with code 3", "exit_code": 3}),
        ("kill -SEGV $$", {"cause": "signal", "message": "was ended by SIGSEGV (11)", "signal": 11}),
    ],
)
def test_command_that_fails_says_how(peer: Peer, place: Path, script: str, error: dict[str, Any]) -> None:
    assert run_command(peer, place, "sh", "-c", script)["error"] == error


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["no-such-program"], "there is no program 'no-such-program' on PATH"),
        (["./missing"], "there is no file './missing'"),
        (["./plain"], "'./plain' is not executable"),
        (["./empty"], "Exec format error"),
        ([""], "the command is empty"),
    ],
)
def test_command_that_cannot_start_is_a_setup_failure(
    peer: Peer, place: Path, argv: list[str], message: str
) -> None:
    (place / "plain").write_text("x")
    (place / "empty").write_text("x")
    (place / "empty").chmod(0o755)
    error = run_command(peer, place, *argv)["error"]
    assert error["cause"] == "setup"
    assert message in error["message"]


def test_command_leaves_no_process_behind(peer: Peer, place: Path) -> None:
    # reliability 7: also one that made itself a session of its own
    script = "sleep 600 & echo $!; setsid sh -c 'echo $$; exec sleep 600' & sleep 0.2"
    run_command(peer, place, "sh", "-c", script)
    pids = [int(line) for line in (place / "logs/stdout").read_text().split()]
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


def test_cancel_command_ends_its_group(peer: Peer, place: Path) -> None:
    send_command(peer, place, "a/1", "sh", "-c", "sleep 600 & wait")
    started = peer.until("started", "a/1")
    peer.send(cancel=[{"key": "a/1", "grace_ms": 10000}])
    error = peer.until("ended", "a/1")["error"]
    assert error == {"cause": "cancelled", "exit_code": 0, "signal": signal.SIGTERM}
    assert not is_alive(started["pid"])


def test_cancel_command_that_ignores_sigterm_is_killed_after_the_grace(peer: Peer, place: Path) -> None:
    send_command(peer, place, "a/1", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    wait_for(lambda: (place / "logs/stdout").exists() and (place / "logs/stdout").read_text())
    peer.send(cancel=[{"key": "a/1", "grace_ms": "100"}])
    assert peer.until("ended", "a/1")["error"]["signal"] == signal.SIGKILL


def test_command_memory_limit_without_cgroup_is_an_rlimit(peer: Peer, place: Path) -> None:
    limits = {"memory_bytes": 256 * 1024 * 1024}
    ended = run_command(peer, place, "sh", "-c", "sleep 0.1; ulimit -v", limits=limits)
    assert (place / "logs/stdout").read_text() == f"{256 * 1024}\n"
    assert ended["enforcement"] == "rlimit"


def test_command_enters_its_cgroups_before_it_runs(peer: Peer, place: Path) -> None:
    group = place / "group"
    group.mkdir()
    (group / "cgroup.procs").write_text("")
    ended = run_command(peer, place, "sh", "-c", "echo $$", limits={"cgroup_paths": [str(group)]})
    assert (group / "cgroup.procs").read_text() == (place / "logs/stdout").read_text()
    assert ended["enforcement"] == "cgroup"


def test_command_whose_cgroup_is_missing_is_a_setup_failure(peer: Peer, place: Path) -> None:
    ended = run_command(peer, place, "true", limits={"cgroup_paths": [str(place / "none")]})
    assert ended["error"]["cause"] == "setup"
    assert "cannot enter the cgroup" in ended["error"]["message"]


def test_command_killed_for_memory_is_out_of_memory(peer: Peer, place: Path) -> None:
    # The kernel's counter is stood in for by a file that the command itself writes.
    group = place / "group"
    group.mkdir()
    (group / "cgroup.procs").write_text("")
    (group / "memory.events").write_text("oom 0\noom_kill 0\n")
    script = f"printf 'oom 1\\noom_kill 1\\n' > {group}/memory.events; kill -KILL $$"
    limits = {"cgroup_paths": [str(group)], "memory_bytes": 1000}
    error = run_command(peer, place, "sh", "-c", script, limits=limits)["error"]
    assert error["cause"] == "out_of_memory"
    assert "1000 bytes" in error["message"]


def test_command_outlives_the_connection(worker: tuple[subprocess.Popen[bytes], str], place: Path) -> None:
    first = Peer(worker[1])
    send_command(first, place, "a/1", "sh", "-c", "sleep 0.3; echo done")
    pid = first.until("started", "a/1")["pid"]
    first.close()
    second = Peer(worker[1])
    inventory = second.until("inventory")
    assert inventory["running"][0]["pid"] == pid
    assert "error" not in second.until("ended", "a/1")
    assert (place / "logs/stdout").read_text() == "done\n"
    second.close()


def test_commands_run_one_after_the_other_in_one_worker(peer: Peer, place: Path) -> None:
    for number in range(5):
        send_command(peer, place, f"a{number}/1", "sh", "-c", f"echo {number}")
    for number in range(5):
        peer.until("ended", f"a{number}/1")
    assert (place / "logs/stdout").read_text() == "0\n1\n2\n3\n4\n"


def test_command_that_stands_for_another_tells_how_that_ended(peer: Peer, place: Path) -> None:
    outcome = place / "outcome.json"
    told = {"cpu_time_s": 7.5, "error": {"cause": "out_of_memory", "message": "too much"}}
    script = f"echo '{json.dumps(told)}' > {outcome}; exit 1"
    ended = run_command(peer, place, "sh", "-c", script, outcome_path=str(outcome))
    assert (ended["cpu_time_s"], ended["error"]) == (7.5, told["error"])


def test_command_that_stands_for_another_and_says_nothing_is_a_setup_failure(peer: Peer, place: Path) -> None:
    ended = run_command(peer, place, "true", outcome_path=str(place / "none.json"))
    assert ended["error"]["cause"] == "setup"


def test_command_that_was_killed_is_cleaned_up_after(peer: Peer, place: Path) -> None:  # reliability 7
    mark = place / "cleaned"
    more = {
        "outcome_path": str(place / "none.json"),
        "cleanup_argv": ["sh", "-c", f'echo "$WORD" > {mark}'],
        "env": {"WORD": "gone"},
    }
    send_command(peer, place, "a/1", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done", **more)
    wait_for(lambda: (place / "logs/stdout").exists() and (place / "logs/stdout").read_text())
    peer.send(cancel=[{"key": "a/1", "grace_ms": 100}])
    ended = peer.until("ended", "a/1")
    assert ended["error"]["cause"] == "cancelled"
    assert mark.read_text() == "gone\n"
