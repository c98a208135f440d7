"""Options of commands that take a job file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import UsageError
from cli.options.work_values import attachments_of

if TYPE_CHECKING:
    from modelyard.client.aio import Client
    from modelyard.v1 import task_pb2

JobFile = Annotated[str, typer.Argument(help="A job file, YAML or JSON; - reads stdin")]
Counts = Annotated[
    list[str],
    typer.Option("--count", help="ROLE=N: instead of the file's count; repeatable", metavar="ROLE=N"),
]

Data = Annotated[
    list[str],
    typer.Option(
        metavar="FILE|DIR/|sha256:DIGEST[:PATH]",
        help="File, directory or artefact that every instance finds at PATH, or its own name, in its directory; "
        "repeatable",
        show_default=False,
    ),
]


def data_of(words: Sequence[str]) -> dict[str, Path | str]:
    """What --data names, by where it will lie. Raises UsageError."""
    return attachments_of(words, "--data")


async def stored(client: Client, data: Mapping[str, Path | str]) -> list[task_pb2.Attachment]:
    """The same in the store, as a job is given it."""
    return [await client.artifacts.attachment(source, path) for path, source in data.items()]


def counts_of(words: list[str]) -> dict[str, int]:
    """How many instances each role shall have. Raises UsageError."""
    found = {}
    for word in words:
        name, _, number = word.partition("=")
        if not name or not number.isdecimal() or len(number) > 9:
            raise UsageError(f"{word!r} is no ROLE=N", next_step="for example --count worker=4")
        found[name] = int(number)
    return found
