"""Errors for people: what happened, why, the next command. Never a traceback.

Owns how an error is shown and which exit code it means. Imports no gRPC.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass

from cli import exit_codes


class CommandError(Exception):
    """A command cannot go on. `why` and `next_step` are shown on lines of their own."""

    def __init__(self, message: str, *, code: int, why: str = "", next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.why = why
        self.next_step = next_step


class UsageError(CommandError):
    """What was typed makes no sense."""

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message, code=exit_codes.USAGE, next_step=next_step)


@dataclass(frozen=True, slots=True)
class Report:
    """An error, ready to show."""

    message: str
    exit_code: int
    reason: str = ""
    why: str = ""
    field: str = ""
    next_step: str = ""
    request_id: str = ""


def report_of(error: Exception) -> Report | None:
    """What to show for an expected error; None: it is a defect."""
    from modelyard.errors import YardError
    from modelyard.settings import SettingsError

    if isinstance(error, CommandError):
        return Report(error.message, error.code, why=error.why, next_step=error.next_step)
    if isinstance(error, SettingsError):
        return Report(str(error), exit_codes.NOT_ALLOWED, "SETTINGS", next_step=error.next_step)
    if isinstance(error, YardError):
        return _of_yard_error(error)
    if isinstance(error, OSError):
        return _of_os_error(error)
    return None


def _of_yard_error(error: object) -> Report:
    from modelyard.errors import YardError

    assert isinstance(error, YardError)
    code = exit_codes.OF_REASON.get(error.reason)
    if code is None:
        code = exit_codes.OF_STATUS.get(error.code, exit_codes.WORK_FAILED)
    next_step = error.next_step
    if error.reason == "CONNECTION_FAILED":
        next_step = (
            "yard up (with --trainer, --models what they serve), or name another yard: yard config view"
        )
    if error.reason in ("TOKEN_MISSING", "TOKEN_INVALID") and not next_step:
        next_step = "yard config view shows which token is sent"
    return Report(
        error.message or error.code,
        code,
        error.reason,
        field=error.field,
        next_step=next_step,
        request_id=error.metadata.get("request_id", ""),
    )


def _of_os_error(error: OSError) -> Report:
    what = error.strerror or str(error)
    where = f"{error.filename}: " if error.filename else ""
    code = (
        exit_codes.USAGE
        if isinstance(error, FileNotFoundError | IsADirectoryError)
        else exit_codes.WORK_FAILED
    )
    return Report(f"{where}{what}", code, "FILE")


def show(report: Report, output: str = "table") -> int:
    """Writes the error to stderr and returns the exit code. JSON output gets a JSON error."""
    if output in ("json", "jsonl"):
        sys.stderr.write(json.dumps({"error": _document(report)}, ensure_ascii=False) + "\n")
        return report.exit_code
    lines = [f"{_red('error:')} {report.message}"]
    if report.why:
        lines.append(f"  why: {report.why}")
    if report.field:
        lines.append(f"  field: {report.field}")
    if report.next_step:
        lines.append(f"  next: {report.next_step}")
    if report.exit_code in (exit_codes.WORK_FAILED, exit_codes.OUTCOME_UNKNOWN) and report.request_id:
        lines.append(f"  request: {report.request_id}")
    sys.stderr.write("\n".join(lines) + "\n")
    return report.exit_code


def _document(report: Report) -> dict[str, object]:
    return {
        "message": report.message,
        "reason": report.reason,
        "exitCode": report.exit_code,
        "field": report.field,
        "why": report.why,
        "nextStep": report.next_step,
        "requestId": report.request_id,
    }


def _red(text: str) -> str:
    return f"\x1b[1;31m{text}\x1b[0m" if colour_wanted(sys.stderr) else text


def colour_wanted(stream: object) -> bool:
    """A terminal, and nobody said no (NO_COLOR, TERM=dumb)."""
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
