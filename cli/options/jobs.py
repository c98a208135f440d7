"""Options of commands that take a job file."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.errors import UsageError

JobFile = Annotated[str, typer.Argument(help="A job file, YAML or JSON; - reads stdin")]
Counts = Annotated[
    list[str],
    typer.Option("--count", help="ROLE=N: instead of the file's count; repeatable", metavar="ROLE=N"),
]


def counts_of(words: list[str]) -> dict[str, int]:
    """How many instances each role shall have. Raises UsageError."""
    found = {}
    for word in words:
        name, _, number = word.partition("=")
        if not name or not number.isdecimal() or len(number) > 9:
            raise UsageError(f"{word!r} is no ROLE=N", next_step="for example --count worker=4")
        found[name] = int(number)
    return found
