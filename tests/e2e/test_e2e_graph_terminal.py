"""`yard graph run --watch` as people see it: drawn on a terminal, told line by line in a pipe; and when they leave."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.wait import wait_until_sync
from tests.support.yard import Yard, new_yard
from tests.support.yard_process import environment

ROWS, COLUMNS = 24, 90
CLEAR = "\x1b["


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard() as made:
        yield made


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, yard: Yard, *words: str) -> None:
        self._main, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        environ = environment(yard.state, {"TERM": "xterm-256color"})
        environ.pop("NO_COLOR", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli", *words],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=environ,
            cwd=yard.state,
        )
        os.close(inner)
        self.shown = ""

    def until(self, text: str) -> None:
        """Reads until the text was shown."""
        while text not in self.shown:
            chunk = self._read()
            assert chunk, self.shown
            self.shown += chunk

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Reads to the end; the exit code."""
        while chunk := self._read():
            self.shown += chunk
        os.close(self._main)
        return self._process.wait(30)

    def _read(self) -> str:
        try:
            return os.read(self._main, 65536).decode(errors="replace")
        except OSError:
            return ""


def save(yard: Yard, name: str, nodes: list[dict[str, Any]], edges: list[tuple[str, str]]) -> None:
    lines = [{"source": source, "target": target, "kind": "order"} for source, target in edges]
    drawn = {"nodes": [{**node, "cache": "off"} for node in nodes], "edges": lines}
    assert yard.cli("graph", "save", name, "-", stdin=json.dumps(drawn)).code == 0


def small(yard: Yard, name: str) -> None:
    nodes = [
        {"id": "a", "operator": "echo"},
        {"id": "bad", "operator": "fail", "initial_params": {"message": "on purpose"}},
        {"id": "c", "operator": "echo"},
    ]
    save(yard, name, nodes, [("a", "bad"), ("bad", "c")])


def test_levels_are_drawn_on_a_terminal_and_what_failed_is_told(yard: Yard) -> None:
    small(yard, "drawn")
    terminal = Terminal(yard, "graph", "run", "drawn", "--watch")
    assert terminal.end() == 1
    last = terminal.shown.rpartition(CLEAR)[2].replace("\r", "")
    lines = [line.split() for line in last.splitlines()]
    assert lines[0][-2:] == ["1/1", "✓"]
    assert ["1", "1/1", "✗", "bad"] in lines and ["2", "1/1", "✓"] in lines
    assert "failed: bad on node-" in last and "on purpose" in last
    assert max(len(line) for line in last.splitlines() if "1/1" in line) < COLUMNS


def test_in_a_pipe_each_commit_is_a_line_and_results_stand_alone(yard: Yard) -> None:
    small(yard, "piped")
    done = yard.cli("graph", "run", "piped", "--watch")
    assert done.code == 1 and CLEAR not in done.stderr
    told = [line.split()[:3] for line in done.stderr.splitlines() if line[:6].strip().isdecimal()]
    assert told == [["1", "computed", "a"], ["2", "failed", "bad"], ["3", "computed", "c"]]
    assert "a.result\tnull\n" in done.stdout and "failed" not in done.stdout


def test_interrupted_watcher_leaves_the_run_alone_and_says_how_to_go_on(yard: Yard, tmp_path: Path) -> None:
    go = tmp_path / "go"
    waits = {"argv": ["sh", "-c", f"until [ -e {go} ]; do sleep 0.05; done"]}
    save(yard, "left", [{"id": "waits", "command": waits}], [])
    terminal = Terminal(yard, "graph", "run", "left", "--watch")
    terminal.until("1 running")
    terminal.interrupt()
    assert terminal.end() == 130
    assert "goes on" in terminal.shown and "yard graph cancel r-" in terminal.shown
    run = yard.json("graph", "runs", "--project", "left")["runs"][0]
    assert run["state"] == "RUN_STATE_RUNNING"
    go.touch()
    wait_until_sync(
        lambda: yard.json("graph", "result", run["id"])["state"] == "RUN_STATE_SUCCEEDED",
        "it ends",
        timeout_s=30,
    )
