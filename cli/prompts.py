"""Questions; only on a terminal, else the flag that answers them is asked for."""

from __future__ import annotations

import sys

from cli.errors import UsageError


def confirm(question: str, *, yes: bool) -> None:
    """Returns if the answer is yes; raises UsageError otherwise, or when nobody can answer."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("this asks first, and there is no terminal", next_step="add --yes")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was done")
