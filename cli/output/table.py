"""Plain tables: aligned columns, cut to the terminal's width; uncut in a pipe. Imports nothing heavy."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Sequence

_GAP = "  "
_LEGIBLE = 8
"""A column is cut to no less, whatever the terminal has."""


def write_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Titles and rows to stdout."""
    for line in format_table(titles, rows, _room()):
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def write_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Name and value below each other; empty values are left out, further lines are indented."""
    shown = [(name, value) for name, value in fields if value]
    indent = max((len(name) for name, _ in shown), default=0) + len(_GAP)
    for name, value in shown:
        first, *more = value.splitlines() or [""]
        sys.stdout.write(f"{name:<{indent}}{first}\n")
        sys.stdout.writelines(f"{'':<{indent}}{line}\n" for line in more)
    sys.stdout.flush()


def format_table(titles: Sequence[str], rows: Sequence[Sequence[str]], room: int | None) -> list[str]:
    """The lines of a table of at most `room` cells wide (None: as wide as needed).

    What is too long is cut in the widest columns; never in the first, which says what to type to see more.
    """
    clean = [[_one_line(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(titles, *clean, strict=True)]
    if room is not None:
        least = [widths[0], *(max(_width(title), _LEGIBLE) for title in titles[1:])]
        widths = _narrowed(widths, least, room - len(_GAP) * (len(widths) - 1))
    return [_line(row, widths) for row in [titles, *clean]]


def _narrowed(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """The widths with the greatest of them cut alike, none below its least, until they come to `room`."""
    narrow = list(widths)
    for most in range(max(widths), 0, -1):
        narrow = [
            max(min(width, most), min(width, floor)) for width, floor in zip(widths, least, strict=True)
        ]
        if sum(narrow) <= room:
            break
    # Cutting all of them alike may have taken a few cells too many: the last column has the rest.
    narrow[-1] = min(widths[-1], max(narrow[-1], narrow[-1] + room - sum(narrow)))
    return narrow


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [_fit(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return _GAP.join(padded).rstrip()


def _fit(cell: str, width: int) -> str:
    if _width(cell) > width:
        while cell and _width(cell) > width - 1:
            cell = cell[:-1]
        cell += "…"
    return cell + " " * (width - _width(cell))


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _one_line(cell: str) -> str:
    """One line, and nothing in it that a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in cell)


def _room() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
