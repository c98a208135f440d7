"""The supervisor's decisions, its files, and what it calls its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.errors import CommandError, UsageError
from cli.options.work_values import inputs_of, options_of, params_of
from cli.supervisor.child import MOST_QUICK_FAILURES, Child
from cli.supervisor.files import last_lines, process_start, read_ready, write_atomically
from cli.supervisor.options import Options, remember, remembered
from cli.supervisor.plan import Program, programs, share_of_machine
from cli.supervisor.state import CannotStart, client_toml, held, prepare
from cli.supervisor.stop import is_service, is_supervisor, stop_yard


def test_options_are_given_then_remembered_then_default(tmp_path: Path) -> None:
    assert remembered(tmp_path) == Options()
    remember(tmp_path, Options(agents=3, port_base=8000))
    assert remembered(tmp_path, agents=None, port_base=9000) == Options(agents=3, port_base=9000)
    (tmp_path / "yard.toml").write_text("agents = ")
    with pytest.raises(CommandError, match=r"yard\.toml"):
        remembered(tmp_path)


@pytest.mark.parametrize("given", [{"port_base": 70000}, {"agents": -1}])
def test_options_that_make_no_sense_are_refused(tmp_path: Path, given: dict[str, int]) -> None:
    with pytest.raises(CommandError):
        remembered(tmp_path, **given)


def test_plan_splits_the_machine_evenly_and_starts_services_first(tmp_path: Path) -> None:
    options = Options(agents=2, cpu=4.0, memory_bytes=8 << 30, port_base=8000)
    assert share_of_machine(options) == (2.0, 4 << 30)
    plan = programs(tmp_path, options)
    assert [program.name for program in plan] == [
        "scheduler",
        "store",
        "graph",
        "agent-node-1",
        "agent-node-2",
    ]
    agent = " ".join(plan[3].argv)
    assert "--node node-1 --scheduler 127.0.0.1:8000 --store 127.0.0.1:8001" in agent
    assert f"--cpu 2 --memory {4 << 30}" in agent
    assert "--tls" not in " ".join(plan[0].argv)


def test_plan_of_one_agent_leaves_the_machine_to_it(tmp_path: Path) -> None:
    assert "--cpu" not in programs(tmp_path, Options())[3].argv


def test_plan_beyond_loopback_is_encrypted(tmp_path: Path) -> None:
    options = Options(host="0.0.0.0", port_base=8000)
    plan = programs(tmp_path, options)
    assert all("--tls" in program.argv for program in plan[:3])
    assert "--ca-file" in plan[3].argv
    assert options.ports == {"scheduler": 8000, "store": 8001, "graph": 8002, "scheduler (agents)": 8009}
    assert str(tmp_path / "tls" / "ca.pem") in client_toml(tmp_path, options)


def test_state_is_held_by_one_supervisor(tmp_path: Path) -> None:
    state = tmp_path / "yard"
    with held(state):
        write_atomically(state / "run" / "up.json", f'{{"pid": {os.getpid()}}}')
        with pytest.raises(CannotStart, match=str(os.getpid())), held(state):
            pass
    with held(state):
        prepare(state, Options())
    assert (state / "secrets" / "admin.token").stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700


def test_state_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStart, match="cannot be used"), held(tmp_path / "file" / "yard"):
        pass


def test_pid_of_a_stranger_is_never_ours(tmp_path: Path) -> None:
    stranger = os.getpid()
    assert not is_service(stranger, tmp_path)
    assert is_supervisor({"pid": stranger, "start_ticks": process_start(stranger)})
    assert not is_supervisor({"pid": stranger, "start_ticks": 1})
    assert not is_supervisor({"pid": 2**22 + 1, "start_ticks": 1})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "scheduler.json").write_text(f'{{"pid": {stranger}}}')
    assert stop_yard(tmp_path).names == ()


def test_ready_file_that_is_none_is_not_read(tmp_path: Path) -> None:
    assert read_ready(tmp_path / "none.json") is None
    (tmp_path / "half.json").write_text('{"pid"')
    assert read_ready(tmp_path / "half.json") is None


def test_last_lines_are_few_and_short(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n" + "\n".join(f"line {number} " + "x" * 1000 for number in range(10)))
    lines = last_lines(log, 2, since=4)
    assert [line[:6] for line in lines] == ["line 8", "line 9"]
    assert max(map(len, lines)) <= 400
    assert last_lines(tmp_path / "none") == []


def program(tmp_path: Path, script: str) -> Program:
    argv = (sys.executable, "-c", script)
    return Program("x", argv, tmp_path / "x.json", tmp_path / "x.log")


def ended(child: Child) -> None:
    while not child.poll():
        os.sched_yield()


def test_child_that_fails_quickly_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    child = Child(program(tmp_path, "print('no room'); raise SystemExit(2)"))
    for _ in range(MOST_QUICK_FAILURES):
        assert not child.hopeless
        child.start(dict(os.environ))
        ended(child)
    assert child.hopeless
    assert child.why() == "exit code 2\n    no room"


def test_child_is_ready_by_its_own_ready_file_only(tmp_path: Path) -> None:
    child = Child(program(tmp_path, "import time; time.sleep(60)"))
    child.start(dict(os.environ))
    try:
        write_atomically(tmp_path / "x.json", '{"pid": 1}')
        assert not child.poll()
        assert not child.ready
        write_atomically(tmp_path / "x.json", f'{{"pid": {child.pid}}}')
        child.poll()
        assert child.ready
    finally:
        child.stop()
        assert child.wait(10)


def test_child_that_ends_is_not_ready_and_is_due_again(tmp_path: Path) -> None:
    child = Child(program(tmp_path, "pass"))
    child.start(dict(os.environ))
    child.ready = True
    ended(child)
    assert (child.ready, child.pid, child.due) == (False, 0, False)


def test_params_are_json_else_text_else_a_file(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text("[1]")
    assert params_of(["a=1", "b=x y", 'c={"d": null}', f"e=@{tmp_path}/v.json", "f="]) == {
        "a": 1,
        "b": "x y",
        "c": {"d": None},
        "e": [1],
        "f": "",
    }
    (tmp_path / "bad.json").write_text("[")
    with pytest.raises(UsageError, match="is not JSON"):
        params_of([f"e=@{tmp_path}/bad.json"])
    with pytest.raises(UsageError, match="key=value"):
        params_of(["novalue"])


def test_inputs_are_files_artefacts_or_text(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("x")
    assert inputs_of([f"a=@{path}", "b=sha256:00", "c=text"]) == {"a": path, "b": "sha256:00", "c": b"text"}
    with pytest.raises(UsageError, match="there is no file"):
        inputs_of(["a=@nowhere"])


def test_options_that_were_not_given_are_left_out() -> None:
    assert options_of(node="", cpu=0.0, memory="1Gi", label=["zone=a"], resource=["licence=2"]) == {
        "memory": "1Gi",
        "node_labels": {"zone": "a"},
        "custom": {"licence": 2.0},
    }
    with pytest.raises(UsageError, match="--resource"):
        options_of(resource=["licence=many"])


def test_supervisor_stops_only_what_it_started(tmp_path: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(tmp_path)])
    try:
        stop_yard(tmp_path)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
