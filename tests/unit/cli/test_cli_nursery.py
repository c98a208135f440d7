"""The first start of a yard's services: one interpreter that becomes each of them, and is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.supervisor.child import environment
from cli.supervisor.files import command_line
from cli.supervisor.nursery import Born, bear
from cli.supervisor.plan import Program


def program(folder: Path, name: str, *argv: str) -> Program:
    return Program(name, argv, folder / f"{name}.json", folder / f"{name}.log")


def born(folder: Path, *programs: Program) -> dict[str, Born]:
    return bear(programs, environment({}), folder / "up.log")


def test_service_is_a_child_of_its_own_session_with_its_own_words_and_log(tmp_path: Path) -> None:
    words = (
        sys.executable,
        "-m",
        "services.store",
        "--state",
        str(tmp_path / "none"),
        "--port",
        "0",
        "--no-such",
    )
    store = program(tmp_path, "store", *words)
    wait = program(
        tmp_path, "scheduler", sys.executable, "-m", "services.scheduler", "--state", str(tmp_path)
    )
    made = born(tmp_path, store, wait)
    # The scheduler is still on its way; the store was told nonsense.
    assert made["store"].wait(30) == 2
    assert "no-such" in store.log_file.read_text()
    scheduler = made["scheduler"]
    try:
        assert scheduler.poll() is None
        assert os.getsid(scheduler.pid) == scheduler.pid
        assert [word for word in command_line(scheduler.pid) if word] == [*wait.argv]
    finally:
        scheduler.kill()
    assert scheduler.wait(30) == -signal.SIGKILL and scheduler.poll() == -signal.SIGKILL


def test_wait_for_a_service_that_goes_on_is_given_up_in_time(tmp_path: Path) -> None:
    argv = (sys.executable, "-m", "services.scheduler", "--state", str(tmp_path))
    scheduler = born(tmp_path, program(tmp_path, "scheduler", *argv))["scheduler"]
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            scheduler.wait(0.01)
    finally:
        scheduler.send_signal(signal.SIGKILL)
        scheduler.wait(30)


def test_program_that_is_no_module_of_this_python_is_left_to_the_caller(tmp_path: Path) -> None:
    assert born(tmp_path, program(tmp_path, "other", "/bin/true")) == {}
