"""Tables, progress and errors as people see them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from cli import exit_codes
from cli.errors import CommandError, UsageError, colour_wanted, report_of, show
from cli.output.progress import Progress
from cli.output.table import format_table
from modelyard.errors import ConnectionFailed, YardError
from modelyard.settings import SettingsError


def test_table_aligns_columns_by_what_a_terminal_shows() -> None:
    lines = format_table(["ID", "NAME"], [["t-1", "数据"], ["t-22", "é"]], None)
    assert lines == ["ID    NAME", "t-1   数据", "t-22  é"]


def test_table_cuts_the_widest_columns_to_the_room() -> None:
    lines = format_table(["ID", "TEXT"], [["t-1", "x" * 50]], 20)
    assert lines == ["ID   TEXT", "t-1  " + "x" * 14 + "…"]
    lines = format_table(["ID", "WHERE", "N", "TEXT"], [["t-1", "y" * 40, "3", "x" * 50]], 40)
    assert lines == ["ID   WHERE            N  TEXT", f"t-1  {'y' * 14}…  3  {'x' * 14}…"]


def test_table_in_a_narrow_terminal_keeps_what_is_typed_and_a_few_letters_of_the_rest() -> None:
    lines = format_table(["DIGEST", "NAME", "N"], [["f" * 64, "some/long/path/of/a/file.csv", "3"]], 40)
    assert lines[1] == f"{'f' * 64}  some/lo…  3"


def test_table_shows_no_control_characters() -> None:
    assert format_table(["A"], [["red\x1b[31m\nnext"]], None) == ["A", "red [31m next"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (YardError("x", code="NOT_FOUND"), 3),
        (YardError("x", code="UNAUTHENTICATED"), 4),
        (YardError("x", code="PERMISSION_DENIED"), 4),
        (ConnectionFailed("x", code="UNAVAILABLE", reason="CONNECTION_FAILED"), 5),
        (YardError("x", code="ABORTED"), 6),
        (YardError("x", code="ALREADY_EXISTS"), 6),
        (YardError("x", code="FAILED_PRECONDITION"), 6),
        (YardError("x", code="INVALID_ARGUMENT"), 7),
        (YardError("x", code="RESOURCE_EXHAUSTED"), 6),
        (YardError("x", code="RESOURCE_EXHAUSTED", reason="NO_ROOM"), 8),
        (YardError("x", code="RESOURCE_EXHAUSTED", reason="LOW_DISK"), 5),
        (YardError("x", code="DEADLINE_EXCEEDED", reason="WAIT_TIMED_OUT"), 9),
        (YardError("x", code="UNAVAILABLE", reason="OUTCOME_UNKNOWN"), 10),
        (YardError("x", code="TASK_FAILED", reason="ERROR"), 1),
        (UsageError("x"), 2),
        (SettingsError("x"), 4),
        (FileNotFoundError(2, "no such file", "f"), 2),
        (OSError(28, "no space left"), 1),
    ],
)
def test_error_has_its_exit_code(error: Exception, code: int) -> None:
    report = report_of(error)
    assert report is not None
    assert report.exit_code == code
    assert report.message


def test_defect_is_no_expected_error() -> None:
    assert report_of(KeyError("x")) is None


def test_error_shows_why_field_and_next_command(capsys: pytest.CaptureFixture[str]) -> None:
    error = CommandError("it failed", code=6, why="because", next_step="yard down")
    report = report_of(error)
    assert report is not None
    assert show(report) == exit_codes.CONFLICT
    assert capsys.readouterr().err == "error: it failed\n  why: because\n  next: yard down\n"


def test_error_of_unknown_outcome_shows_the_request(capsys: pytest.CaptureFixture[str]) -> None:
    error = YardError("lost", code="UNAVAILABLE", reason="OUTCOME_UNKNOWN", metadata={"request_id": "r-1"})
    report = report_of(error)
    assert report is not None
    assert show(report, "json") == 10
    assert json.loads(capsys.readouterr().err)["error"]["requestId"] == "r-1"
    show(report)
    assert "request: r-1" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "wanted"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colour_follows_the_terminal_and_its_user(
    variables: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert colour_wanted(Terminal()) is wanted
    assert not colour_wanted(io.StringIO())


def test_progress_in_a_pipe_is_a_line_for_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("t-1")
    for percent in range(101):
        progress.update(percent / 100, f"step {percent}")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "t-1 0% step 0"
    assert lines[-1] == "t-1 100% step 100"
    assert len(lines) <= 12


def test_progress_on_a_terminal_is_one_line_that_can_be_cleared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    progress = Progress("t-1")
    progress.update(0.5, "half")
    progress.clear()
    assert "50%" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[2K")
    assert "\n" not in screen.getvalue()
