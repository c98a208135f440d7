"""Operators on text and files."""

import re
from pathlib import Path
from typing import Any, Literal

from modelyard.context import Context
from modelyard.operator.declaration import operator
from modelyard.operator.failure import OperatorFailed
from modelyard.operator.ports import Input

_BORDERS = {"line": r"\r?\n", "paragraph": r"(?:\r?\n[ \t]*){2,}"}


@operator(name="text.count", version="1")
def count(text: Input[str]) -> dict[str, int]:
    """Counts the lines, words and characters of a text."""
    return {"lines": len(text.splitlines()), "words": len(text.split()), "characters": len(text)}


@operator(name="text.split", version="1")
def split(text: Input[str], by: Literal["line", "paragraph", "word"] = "line", size: int = 1) -> list[str]:
    """Divides a text into pieces of so many lines, paragraphs or words: the items of a map."""
    if size < 1:
        raise OperatorFailed(f"size must be at least 1, got {size}")
    between = {"line": "\n", "paragraph": "\n\n", "word": " "}[by]
    pieces = (
        text.split() if by == "word" else [piece for piece in re.split(_BORDERS[by], text) if piece.strip()]
    )
    return [between.join(pieces[first : first + size]) for first in range(0, len(pieces), size)]


@operator(name="text.join", version="1")
def join(texts: Input[Any], between: str = "\n") -> str:
    """Joins a list of texts to one; anything else in the list is written as it is shown."""
    if not isinstance(texts, list):
        raise OperatorFailed(
            f"texts is no list: {str(texts)[:60]}", "connect several nodes to it, or one that gives a list"
        )
    return between.join(text if isinstance(text, str) else str(text) for text in texts)


@operator(name="text.replace", version="1")
def replace(text: Input[str], find: str, replacement: str = "") -> str:
    """Replaces every occurrence of a text in another."""
    if not find:
        raise OperatorFailed("find must not be empty")
    return text.replace(find, replacement)


@operator(name="files.list", version="1")
def list_files(ctx: Context) -> list[dict[str, str | int]]:
    """Lists the files that came with the call, with their sizes in bytes."""
    paths = {name: ctx.attachments[name] for name in sorted(ctx.attachments)}
    return [{"name": name, "size_bytes": path.stat().st_size} for name, path in paths.items()]


@operator(name="files.read", version="1")
def read_file(file: Input[Path], max_bytes: int = 65536) -> str:
    """Returns the beginning of a file as text."""
    if max_bytes < 1:
        raise OperatorFailed(f"max_bytes must be at least 1, got {max_bytes}")
    with file.open("rb") as content:
        return content.read(max_bytes).decode(errors="replace")
