"""Values of operators as files for commands: of a JSON string the text itself, of other JSON the JSON.

Owns the reading of a string of any length in pieces. Blocks: call it in a thread.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from modelyard.context import unquoted

_PIECE_CHARACTERS = 1 << 20
# What is certainly whole: of the two escapes of one character beyond the basic plane neither comes alone.
_WHOLE = re.compile(
    r"(?:[^\\]+|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}|\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\[^u])*"
)


class ValueUnreadable(Exception):
    """An input is said to be the JSON of a value, and is not."""

    next_step = "give the input without is_value, or let the operator that made it run again"


def is_text(path: Path) -> bool:
    """Whether a file of JSON holds a string."""
    with path.open("rb") as file:
        return file.read(1) == b'"'


def text_of(data: bytes) -> bytes:
    """The text of a JSON string; other JSON as it is. Raises ValueUnreadable."""
    try:
        return unquoted(data)
    except ValueError as error:
        raise ValueUnreadable(f"an input is no JSON: {error}") from error


def write_text(source: Path, target: Path) -> None:
    """Writes the text of the JSON string in `source`. Raises ValueUnreadable, OSError."""
    try:
        with source.open(encoding="utf-8", newline="") as reader:
            reader.read(1)
            with target.open("x", encoding="utf-8", newline="") as writer:
                rest = ""
                while piece := reader.read(_PIECE_CHARACTERS):
                    rest += piece
                    # The last character may be the quote that ends it all.
                    whole = _WHOLE.match(rest, 0, len(rest) - 1)
                    assert whole is not None
                    writer.write(json.loads(f'"{whole[0]}"', strict=False))
                    rest = rest[whole.end() :]
                writer.write(json.loads(f'"{rest}', strict=False))
    except ValueError as error:
        raise ValueUnreadable(f"an input is no JSON: {error}") from error
