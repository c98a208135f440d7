"""Files of the state directory that the supervisor and the commands share. Standard library only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

LINE_LENGTH = 400
"""More of a line of a log is not shown to people."""


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """The whole file or none of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)


def read_ready(path: Path) -> dict[str, Any] | None:
    """A ready file; None if there is none. Ready files are written atomically."""
    try:
        document = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return document if isinstance(document, dict) and isinstance(document.get("pid"), int) else None


def process_start(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot; None if there is none. With the pid it names one
    process for good."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def command_line(pid: int) -> list[str]:
    """The words that started a process; none if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def last_lines(path: Path, count: int = 3, since: int = 0) -> list[str]:
    """The end of a log, from byte `since` on."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(since, size - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line[:LINE_LENGTH] for line in text.splitlines() if line.strip()][-count:]
