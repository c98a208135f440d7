"""The tables of README.md, which say what is known to differ."""

from __future__ import annotations

from pathlib import Path

README = Path(__file__).with_name("README.md")


def table_after(title: str) -> list[list[str]]:
    """The cells of the table below a heading, row by row."""
    text = README.read_text(encoding="utf-8").split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row[1:-1].split("|")] for row in rows[1:]]


def codes() -> dict[str, list[str]]:
    """Of each wrong request: what the three servers say."""
    return {row[0]: row[1:4] for row in table_after("Wrong requests")}


def differences() -> dict[tuple[str, str], set[str]]:
    """Of each model and each other server: in what its answers are not ours."""
    return _by_model("Answers")


def sayings() -> dict[tuple[str, str], set[str]]:
    """The same of metadata."""
    return _by_model("What models say of themselves")


def _by_model(title: str) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for models, servers, what, _ in table_after(title):
        for model in models.split(", "):
            for server in servers.split(", "):
                found.setdefault((model, server), set()).update(what.split(", "))
    return found
