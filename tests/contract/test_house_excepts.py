"""Whoever catches everything says why, and lets it be known: raised again, written down or answered."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("services", "modelyard", "cli", "bench")
BROAD = {"Exception", "BaseException"}
WRITES = {"format_exc", "print_exc"}


def names(handler: ast.ExceptHandler) -> set[str]:
    """What it catches; of a bare one everything."""
    if handler.type is None:
        return {"BaseException"}
    return {one.id for one in ast.walk(handler.type) if isinstance(one, ast.Name)}


def is_known(handler: ast.ExceptHandler) -> bool:
    """Whether what was caught goes somewhere."""
    for one in (part for statement in handler.body for part in ast.walk(statement)):
        if isinstance(one, ast.Raise) or (isinstance(one, ast.Name) and one.id == handler.name):
            return True
        if isinstance(one, ast.Attribute) and one.attr in WRITES:
            return True
    return False


def is_explained(handler: ast.ExceptHandler, lines: list[str]) -> bool:
    """By a comment: the line before it, its own, or the first of what it does."""
    first = handler.lineno - 1
    return any("# " in line for line in lines[max(first - 1, 0) : handler.body[0].lineno])


def test_broad_except_says_why_and_swallows_nothing() -> None:
    wrong = []
    for path in sorted(one for folder in FOLDERS for one in (ROOT / folder).rglob("*.py")):
        text = path.read_text()
        for handler in ast.walk(ast.parse(text)):
            if not isinstance(handler, ast.ExceptHandler) or not names(handler) & BROAD:
                continue
            if not is_known(handler) or not is_explained(handler, text.splitlines()):
                wrong.append(f"{path.relative_to(ROOT)}:{handler.lineno}")
    assert not wrong
