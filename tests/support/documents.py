"""What the documents tell a reader to type: their fenced blocks, and a shell that types them.

Knows the form of the documents; what a page needs around it (files, versions, a receiver) its test brings.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.support.yard_process import ROOT, environment

_FENCE = re.compile(r"^( *)```([\w-]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_PLACES = ("*.md", "docs/**/*.md", "protos/*.md", "services/*/*.md", "deploy/**/*.md", "tests/**/*.md")
PROMPT = "$ "


class Block(NamedTuple):
    """One fenced block: of which page, at which line, in which language."""

    page: str
    line: int
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The lines to type: of a console those with a prompt, of a script all that say something."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        if self.language == "console":
            return [line.removeprefix(PROMPT) for line in lines if line.startswith(PROMPT)]
        return lines

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


class Typed(NamedTuple):
    """One line that was typed, and what came of it."""

    line: str
    code: int
    stdout: str
    stderr: str


@cache
def pages() -> tuple[str, ...]:
    """Every document of the project, by its path from the root."""
    found = {path.relative_to(ROOT).as_posix() for place in _PLACES for path in ROOT.glob(place)}
    return tuple(sorted(found))


@cache
def text(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str, *languages: str) -> Iterator[Block]:
    """Its fenced blocks in order, of these languages or of all."""
    for found in _FENCE.finditer(text(page)):
        if not languages or found[2] in languages:
            line = text(page).count("\n", 0, found.start()) + 1
            yield Block(page, line, found[2], found[3])


def inline(page: str) -> Iterator[str]:
    """What stands between single backticks outside of blocks, also over the end of a line."""
    outside = _FENCE.sub("", text(page))
    for found in re.findall(r"(?<!`)`([^`]+)`(?!`)", outside):
        yield " ".join(found.split())


def console_lines(page: str) -> list[str]:
    """What the console blocks of a page tell a reader to type, in order."""
    return [line for block in blocks(page, "console") for line in block.commands]


def type_in(
    lines: Sequence[str],
    state: Path,
    cwd: Path,
    extra: Mapping[str, str] | None = None,
    timeout_s: float = 100,
) -> list[Typed]:
    """Types the lines one after the other into one shell, whatever comes of each."""
    cwd.mkdir(exist_ok=True)
    kept = state / "typed"
    kept.mkdir(parents=True, exist_ok=True)
    script = "\n".join(
        f"{{ {line}\n}} >{kept}/{number}.out 2>{kept}/{number}.err; echo $? >{kept}/{number}.code"
        for number, line in enumerate(lines)
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**environment(state), "PATH": path, **(extra or {})}
    subprocess.run(
        ["bash", "-c", script], env=env, cwd=cwd, stdin=subprocess.DEVNULL, timeout=timeout_s, check=True
    )
    return [
        Typed(
            line,
            int((kept / f"{number}.code").read_text()),
            (kept / f"{number}.out").read_text(),
            (kept / f"{number}.err").read_text(),
        )
        for number, line in enumerate(lines)
    ]
