"""Operators on text and files."""

from pathlib import Path

from modelyard.context import Context
from modelyard.operator.declaration import operator
from modelyard.operator.ports import Input


@operator(name="text.count", version="1")
def count(text: Input[str]) -> dict[str, int]:
    """Counts the lines, words and characters of a text."""
    return {"lines": len(text.splitlines()), "words": len(text.split()), "characters": len(text)}


@operator(name="files.list", version="1")
def list_files(ctx: Context) -> list[dict[str, str | int]]:
    """Lists the files that came with the call, with their sizes in bytes."""
    paths = {name: ctx.attachments[name] for name in sorted(ctx.attachments)}
    return [{"name": name, "size_bytes": path.stat().st_size} for name, path in paths.items()]


@operator(name="files.read", version="1")
def read_file(file: Input[Path], max_bytes: int = 65536) -> str:
    """Returns the beginning of a file as text."""
    if max_bytes < 1:
        raise ValueError(f"max_bytes must be at least 1, got {max_bytes}")
    with file.open("rb") as content:
        return content.read(max_bytes).decode(errors="replace")
