"""A real worker process that keeps a seat: epochs, processes, ports, signs, ends (S3.5, S3.6, S3.8, S3.10)."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.frames import Peer, is_alive, wait_for, worker_process
from tests.support.seat_shim import Shim


@pytest.fixture
def shim(peer: Peer, place: Path) -> Shim:
    return Shim(peer, place)


def binds(port: int) -> bool:
    """Whether somebody else could take the port now."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def ready_when_signalled(path: Path) -> str:
    """A shell that ignores SIGTERM and says when it does so."""
    return f"trap '' TERM; touch {path}; while :; do sleep 0.05; done"


# --- life


def test_seat_is_told_open_with_ports_before_it_counts_as_started(shim: Shim) -> None:  # S3.6
    seat = shim.open("c10d", {"name": "http", "low": 28000, "high": 28999})
    assert (seat["job_id"], seat["role"], seat["index"], seat["epoch"]) == ("j-1", "worker", 2, 0)
    assert 28000 <= seat["ports"]["http"] <= 28999
    assert shim.peer.until("started", shim.key)["start_time_ms"] > 0
    assert not binds(seat["ports"]["c10d"])


def test_processes_get_files_env_and_stdin(shim: Shim) -> None:
    shim.open(env={"BASE": "base", "WORD": "old"})
    env = {"WORD": "new"}
    launch: dict[str, Any] = {
        "epoch": 1,
        "processes": [
            {
                "argv": ["sh", "-c", "cat; echo $BASE $WORD; cat sub/list; ./run"],
                "env": env,
                "stdin": "in\n",
            }
        ],
        "files": [
            {"path": "sub/list", "content": "ten\n"},
            {"path": "run", "content": "#!/bin/sh\necho ran\n", "is_executable": True},
        ],
    }
    shim.order(launch=launch)
    assert shim.until_state("ENDED")["exit"]["cause"] == "EXIT_CAUSE_SUCCESS"
    assert (shim.log / "stdout").read_text() == "in\nbase new\nten\nran\n"


def test_epochs_part_the_log_and_a_repeated_one_changes_nothing(shim: Shim) -> None:
    shim.open()
    shim.run(1, "echo one; echo one >&2")
    shim.launch(1, "echo again")
    shim.run(2, "echo two")
    assert (shim.log / "stdout").read_text() == "one\ntwo\n"
    assert (shim.log / "stderr").read_text() == "── epoch 1 ──\none\n── epoch 2 ──\n"


def test_lower_epoch_is_refused(shim: Shim) -> None:
    shim.open()
    shim.run(5, "true")
    shim.launch(4, "echo old", number=17)
    refusal = shim.until_told("refusal")
    assert (refusal["command"], refusal["reason"]) == (17, "STALE_EPOCH")


def test_stop_of_an_epoch_that_has_not_begun_keeps_it_from_beginning(shim: Shim) -> None:  # S3.10, I2
    """Its launch was lost, or comes too late."""
    shim.open()
    shim.run(1, "echo one")
    shim.order(stop={"epoch": 2, "signal": "SIGTERM", "grace_ms": 1000})
    assert shim.until_state("ENDED", 2)["exit"]["cause"] == "EXIT_CAUSE_STOPPED"
    shim.launch(2, "echo late")
    shim.run(3, "echo three")
    assert (shim.log / "stdout").read_text() == "one\nthree\n"


def test_launch_beside_a_running_epoch_is_refused(shim: Shim) -> None:
    shim.open()
    shim.launch(1, "sleep 60")
    shim.until_state("RUNNING")
    shim.launch(2, "true")
    assert shim.until_told("refusal")["reason"] == "RUNNING"
    shim.close()


def test_closed_seat_ends_its_work_and_the_worker_keeps_another(shim: Shim, peer: Peer, place: Path) -> None:
    shim.open("a")
    report = shim.close(outputs=["*.txt"])
    assert "error" not in report
    assert report["kept"] == ["*.txt"]
    assert json.loads((place / "w.records").read_text())["key"] == shim.key
    other = Shim(peer, place, "t-2/1/1/1")
    assert other.open("a")["state"] == "SEAT_STATE_OPEN"
    assert other.run(1, "true")["cause"] == "EXIT_CAUSE_SUCCESS"


def test_seat_closed_as_a_failure_says_why(shim: Shim) -> None:
    shim.open()
    assert shim.close(is_failure=True, message="not ready in time")["error"] == {
        "cause": "error",
        "message": "not ready in time",
    }


def test_cancelled_seat_ends_what_runs(shim: Shim) -> None:
    shim.open()
    shim.launch(1, "sleep 60")
    pid = shim.until_state("RUNNING")["pids"][0]
    shim.peer.send(cancel=[{"key": shim.key, "grace_ms": 5000}])
    report = shim.peer.until("ended", shim.key)
    assert report["error"] == {"cause": "cancelled"}
    assert not is_alive(pid)
    assert shim.until_state("CLOSED")["exit"]["signal"] == signal.SIGTERM


def test_order_for_a_seat_that_is_not_here_is_refused(peer: Peer, place: Path) -> None:
    nobody = Shim(peer, place, "t-9/1/1/1")
    nobody.launch(1, "true", number=3)
    assert nobody.until_told("refusal")["reason"] == "UNKNOWN_SEAT"


# --- ends


@pytest.mark.parametrize(
    ("script", "cause", "code", "number"),
    [
        ("exit 3", "EXIT_CAUSE_EXIT", 3, 0),
        ("kill -SEGV $$", "EXIT_CAUSE_SIGNAL", 0, 11),
        ("true", "EXIT_CAUSE_SUCCESS", 0, 0),
    ],
)
def test_end_tells_cause_and_last_lines(
    shim: Shim, script: str, cause: str, code: int, number: int
) -> None:  # S3.8
    shim.open()
    shim.run(1, "echo of an earlier epoch")
    end = shim.run(2, f"seq 1 50; {script}")
    assert (end["cause"], end["exit_code"], end["signal"]) == (cause, code, number)
    assert end["last_lines"] == [*map(str, range(31, 51))]
    assert (end["role"], end["index"], end["epoch"]) == ("worker", 2, 2)


def test_first_failure_of_several_processes_is_the_end(shim: Shim) -> None:
    shim.open()
    end = shim.run(1, "exit 0", "exit 4", "sleep 0.3")
    assert (end["process"], end["exit_code"]) == (1, 4)


def test_failure_takes_the_others_along_where_they_end_together(shim: Shim) -> None:
    shim.open()
    end = shim.run(1, "sleep 60", "exit 4", ends_together=True)
    assert (end["process"], end["exit_code"], end["cause"]) == (1, 4, "EXIT_CAUSE_EXIT")


@pytest.mark.parametrize("argv", [["no-such-program"], ["./missing"], [], [""]])
def test_what_cannot_start_is_an_end_of_its_epoch(shim: Shim, argv: list[str]) -> None:
    shim.open("a")
    shim.order(launch={"epoch": 1, "processes": [{"argv": ["sleep", "60"]}, {"argv": argv}]})
    ended = shim.until_state("ENDED")
    assert ended["exit"]["cause"] == "EXIT_CAUSE_SETUP"
    assert not binds(ended["ports"]["a"])
    assert not any(is_alive(pid) for pid in ended["pids"])
    assert shim.run(2, "true")["cause"] == "EXIT_CAUSE_SUCCESS"


@pytest.mark.parametrize("path", ["../out", "/tmp/out", "a/../../out", "link/out", ""])
def test_file_outside_the_directory_is_refused(shim: Shim, place: Path, path: str) -> None:
    shim.open()
    (shim.work / "link").symlink_to(place)
    end = shim.run(1, "true", files=[{"path": path, "content": "x"}])
    assert end["cause"] == "EXIT_CAUSE_SETUP"
    assert not (place / "out").exists()


# --- stops


def test_stop_asks_first_and_tells_what_became_of_it(shim: Shim) -> None:
    shim.open()
    shim.launch(1, "trap 'echo saved; exit 7' USR1; touch ready; while :; do sleep 0.05; done")
    wait_for((shim.work / "ready").exists)
    shim.order(stop={"epoch": 1, "signal": "SIGUSR1", "grace_ms": 10_000})
    end = shim.until_state("ENDED")["exit"]
    assert (end["cause"], end["exit_code"]) == ("EXIT_CAUSE_STOPPED", 7)
    assert "saved" in end["last_lines"]


def test_process_that_was_stopped_where_it_was_hears_the_signal(shim: Shim) -> None:
    shim.open()
    shim.launch(1, "exec sleep 60")
    pid = shim.until_state("RUNNING")["pids"][0]
    os.kill(pid, signal.SIGSTOP)
    shim.order(stop={"epoch": 1, "signal": "SIGTERM", "grace_ms": 60_000})
    assert shim.until_state("ENDED")["exit"]["signal"] == signal.SIGTERM


def test_stop_kills_the_whole_tree_after_the_grace(shim: Shim) -> None:  # S3.10
    shim.open()
    (shim.work / "inner.sh").write_text(ready_when_signalled(shim.work / "inner"))
    shim.launch(1, f"setsid sh -c '(setsid sh inner.sh &)'; {ready_when_signalled(shim.work / 'outer')}")
    wait_for(lambda: (shim.work / "outer").exists() and (shim.work / "inner").exists())
    shim.order(stop={"epoch": 1, "signal": "SIGTERM", "grace_ms": 200})
    end = shim.until_state("ENDED")["exit"]
    assert (end["cause"], end["signal"]) == ("EXIT_CAUSE_STOPPED", signal.SIGKILL)
    assert not running_below(shim.peer)


def test_child_of_a_shell_that_goes_at_once_keeps_its_grace(shim: Shim) -> None:
    """A checkpoint is saved although the wrapper has ended."""
    saves = "trap 'sleep 0.5; echo saved > saved; exit 0' TERM; touch ready; while :; do sleep 0.05; done"
    shim.open()
    (shim.work / "saves").write_text(saves)
    shim.launch(1, "sh saves & wait")
    wait_for((shim.work / "ready").exists)
    shim.order(stop={"epoch": 1, "signal": "SIGTERM", "grace_ms": 10_000})
    shim.until_state("ENDED")
    assert (shim.work / "saved").exists()


def test_daemon_that_left_its_session_ends_with_its_epoch(shim: Shim) -> None:
    shim.open()
    shim.run(1, "setsid sleep 60 & echo $! > pid; setsid sh -c '(sleep 61 &)' ")
    assert not is_alive(int((shim.work / "pid").read_text()))
    assert not running_below(shim.peer)


def running_below(peer: Peer) -> list[int]:
    import psutil

    pid = peer.frames[0]["inventory"]["pid"]
    return [child.pid for child in psutil.Process(pid).children(recursive=True) if is_alive(child.pid)]


# --- ports


def test_port_is_free_for_the_process_and_held_before_and_after(shim: Shim) -> None:  # S3.7
    port = shim.open("a")["ports"]["a"]
    assert not binds(port)
    serves = f"import socket; s = socket.socket(); s.bind(('127.0.0.1', {port})); s.listen(); print('bound')"
    end = shim.run(1, f'{sys.executable} -c "{serves}"')
    assert (end["cause"], end["last_lines"]) == ("EXIT_CAUSE_SUCCESS", ["bound"])
    assert not binds(port)
    shim.close()
    wait_for(lambda: binds(port))


def test_no_number_is_leased_twice_while_its_seat_runs(
    worker: tuple[subprocess.Popen[bytes], str], place: Path
) -> None:
    """The port of a launched seat is bound by nobody; still the next seat does not get it."""
    few = {"name": "a", "low": 27500, "high": 27501}
    first = Shim(Peer(worker[1]), place)
    taken = first.open(few)["ports"]["a"]
    first.launch(1, "sleep 60")
    first.until_state("RUNNING")
    other_place = place / "other"
    other_place.mkdir(mode=0o700)
    with worker_process(other_place) as (_, path):
        second = Shim(Peer(path), place, "t-2/1/1/1")
        assert second.open(few)["ports"]["a"] == 27500 + 27501 - taken
        third_place = place / "third"
        third_place.mkdir(mode=0o700)
        with worker_process(third_place) as (_, third_path):
            third = Shim(Peer(third_path), place, "t-3/1/1/1")
            third.ask_open(few)
            error = third.peer.until("ended", third.key)["error"]
            assert error["cause"] == "setup"
            assert "every port from 27500 to 27501 is taken" in error["message"]
            third.peer.close()
        second.peer.close()
    first.close()
    first.peer.close()


def test_seats_one_after_the_other_leave_no_descriptor(peer: Peer, place: Path) -> None:
    pid = peer.frames[0]["inventory"]["pid"] if peer.frames or peer.receive() else 0
    counts = []
    for number in range(12):
        shim = Shim(peer, place, f"t-{number}/1/1/1")
        shim.open("a", "b")
        shim.run(
            1, "cat", "true", signs=[{"id": 1, "log": "x"}, {"id": 2, "http": {"port": "a", "path": "/"}}]
        )
        shim.launch(2, "sleep 60")
        shim.until_state("RUNNING", 2)
        shim.close()
        counts.append(len(list(Path(f"/proc/{pid}/fd").iterdir())))
    assert len(set(counts[2:])) == 1


# --- signs


def test_signs_are_told_once_an_epoch(shim: Shim) -> None:  # S3.5
    port = shim.open("http")["ports"]["http"]
    signs = [
        {"id": 1, "listening": "http"},
        {"id": 2, "http": {"port": "http", "path": "/"}},
        {"id": 3, "log": "^ready (\\d+)$"},
        {"id": 4, "file": "out/*.done"},
        {"id": 5, "log": "never"},
    ]
    script = f"echo ready 12; mkdir -p out; touch out/a.done; exec {sys.executable} -m http.server {port}"
    shim.launch(1, script, signs=signs)
    shim.until(lambda _: seen(shim) >= {1, 2, 3, 4})
    told = [event["sign"] for event in shim.events if "sign" in event]
    assert sorted(sign["id"] for sign in told) == [1, 2, 3, 4]
    assert {sign["id"]: sign["detail"] for sign in told}[3] == "ready 12"
    shim.order(stop={"epoch": 1, "signal": "SIGKILL", "grace_ms": 0})
    assert sorted(shim.until_state("ENDED")["seen_signs"]) == [1, 2, 3, 4]
    shim.events.clear()
    shim.launch(2, "sleep 60", signs=signs)
    assert shim.until_state("RUNNING", 2)["seen_signs"] == []
    shim.close()


def seen(shim: Shim) -> set[int]:
    return {event["sign"]["id"] for event in shim.events if "sign" in event}


def test_line_that_ends_with_the_process_is_seen(shim: Shim) -> None:
    shim.open()
    shim.run(1, "printf 'last words'", signs=[{"id": 1, "log": "words$"}])
    assert seen(shim) == {1}


def test_pattern_that_would_take_for_ever_is_dropped(shim: Shim) -> None:
    shim.open()
    end = shim.run(1, f"echo {'a' * 60}; echo b", signs=[{"id": 1, "log": "(a+)+$x"}, {"id": 2, "log": "b"}])
    assert end["cause"] == "EXIT_CAUSE_SUCCESS"
    assert "takes too long" in shim.until_told("refusal")["message"]
    assert seen(shim) == {2}


@pytest.mark.parametrize(
    "sign", [{"log": "("}, {"listening": "none"}, {"file": "../x"}, {"http": {"port": "x"}}]
)
def test_sign_that_cannot_be_watched_is_refused_and_the_launch_goes_on(
    shim: Shim, sign: dict[str, Any]
) -> None:
    shim.open()
    assert shim.run(1, "true", signs=[{"id": 1, **sign}])["cause"] == "EXIT_CAUSE_SUCCESS"
    assert shim.until_told("refusal")["reason"] == "SIGN"


def test_stop_by_a_signal_that_is_none_is_refused(shim: Shim) -> None:
    shim.open()
    shim.launch(1, "sleep 60")
    shim.until_state("RUNNING")
    shim.order(7, stop={"epoch": 1, "signal": "SIGNOTHING"})
    refusal = shim.until_told("refusal")
    assert (refusal["command"], refusal["reason"]) == (7, "SIGNAL")
    shim.close()


def test_progress_is_read_from_lines_and_from_a_file(shim: Shim) -> None:
    shim.open()
    script = (
        'echo \'step 3/10 loss=0.5\'; echo \'{"step": 4, "total": 8, "acc": 0.9, "message": "hi"}\' > p.jsonl'
    )
    patterns = [{"log": r"step (?P<step>\d+)/(?P<total>\d+) loss=(?P<loss>[\d.]+)"}, {"file": "p.jsonl"}]
    shim.run(1, script, progress=patterns)
    # Which of the two is looked at first after they were written is chance.
    told = sorted(
        (event["progress"] for event in shim.events if "progress" in event), key=lambda one: one["step"]
    )
    assert [(p["step"], p["total_steps"], p["ratio"], p["metrics"]) for p in told] == [
        (3, 10, 0.3, {"loss": 0.5}),
        (4, 8, 0.5, {"acc": 0.9}),
    ]
    assert told[1]["message"] == "hi"


# --- stacks


def test_stacks_are_asked_of_those_who_can_tell(shim: Shim) -> None:
    shim.open()
    hears = (
        "import faulthandler, signal, time; faulthandler.register(signal.SIGUSR1); print('r'); time.sleep(60)"
    )
    shim.launch(1, f'exec {sys.executable} -u -c "{hears}"', "exec sleep 61", signs=[{"id": 1, "log": "^r$"}])
    shim.until_told("sign")
    shim.order(dump_stacks={})
    stacks = shim.until_told("stacks")
    assert 'File "<string>", line 1 in <module>' in stacks
    assert "sleep 61" in stacks
    assert "faulthandler.register" in stacks
    shim.close()


# --- who comes later


def test_later_agent_finds_the_seat_and_what_was_not_acknowledged(
    worker: tuple[subprocess.Popen[bytes], str], place: Path
) -> None:
    first = Shim(Peer(worker[1]), place)
    port = first.open("a")["ports"]["a"]
    first.run(1, "exit 3")
    opened = first.numbers[0]
    first.order(ack=opened)
    first.launch(2, "sleep 60")
    first.until_state("RUNNING", 2)
    first.peer.close()
    later = Shim(Peer(worker[1]), place)
    seat = later.until(lambda event: "seat" in event)["seat"]
    assert (seat["state"], seat["epoch"], seat["ports"]) == ("SEAT_STATE_RUNNING", 2, {"a": port})
    assert opened not in later.numbers
    assert later.until_state("ENDED")["exit"]["exit_code"] == 3
    assert json.loads((later.log / "seat.json").read_text())["epoch"] == 2
    os.kill(seat["pids"][0], signal.SIGKILL)
    assert later.until(lambda event: event.get("seat", {}).get("exit", {}).get("epoch") == 2)
    later.close()
    later.peer.close()


def test_seat_ends_in_time_while_no_agent_is_there(shim: Shim) -> None:
    """S3.11: what it has started ends by its signal, within the grace; the report waits for the next agent."""
    shim.open(run_timeout_ms=1_000, grace_ms=5_000)
    shim.launch(1, f"trap 'echo ended; exit 0' TERM; touch {shim.log}/ready; while :; do sleep 0.05; done")
    wait_for((shim.log / "ready").exists)
    shim.peer.close()
    wait_for(lambda: "ended" in (shim.log / "stdout").read_text())
    wait_for(
        lambda: (
            "timeout" in (shim.place / "w.records").read_text()
            if (shim.place / "w.records").exists()
            else False
        )
    )


def test_seat_without_processes_ends_in_time(shim: Shim) -> None:
    shim.open(run_timeout_ms=1)
    error = shim.peer.until("ended", shim.key)["error"]
    assert error["cause"] == "timeout" and "run_timeout" in error["message"]


def test_limit_follows_what_the_agent_says(shim: Shim) -> None:
    """S0.7: lifted, then set anew."""
    shim.open(run_timeout_ms=600_000)
    shim.order(limit={"after_ms": -1})
    shim.order(limit={"after_ms": 0})
    assert shim.peer.until("ended", shim.key)["error"]["cause"] == "timeout"
