"""A name of a module, a file or a place in words has to lead somewhere: in documents, docstrings and comments."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("services", "modelyard", "cli", "bench", "tests")
PLACES = (*ROOMS, "docs", "protos", "deploy", ".ci")
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
PATH = re.compile(rf"`((?:{'|'.join(map(re.escape, PLACES))})/[\w./-]*\w/?)`")
MODULE = re.compile(rf"`((?:{'|'.join(ROOMS)})(?:\.[A-Za-z_]\w*)+)(?:\(\))?`")
# Packages of protos are not Python's.
PROTOS = re.compile(r"modelyard\.v\d")
# What the measurements write, and the group of entry points in which packages bring frameworks.
ELSEWHERE = {"bench/results/latest.json", "modelyard.frameworks"}


def documents() -> list[Path]:
    folders = ("docs", *ROOMS, "deploy", "protos")
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.md"))
    return sorted({*ROOT.glob("*.md"), *found})


def words() -> Iterator[tuple[str, str]]:
    """Where and what people read: documents, docstrings, comments."""
    for path in documents():
        yield str(path.relative_to(ROOT)), path.read_text()
    for path in sorted(one for room in ROOMS for one in (ROOT / room).rglob("*.py")):
        where, text = str(path.relative_to(ROOT)), path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield where, ast.get_docstring(node) or ""
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield where, token.string


@cache
def sections(path: Path) -> set[str]:
    """What can be linked to in a document: its headings, as they are written in addresses."""
    headings = re.findall(
        r"^#+ +(.+)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S), flags=re.M
    )
    return {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in headings}


@cache
def is_name(dotted: str) -> bool:
    """Of a package or module of this house, or of something that is written in one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        if place.is_dir() and count == len(parts):
            return True
        source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if source.is_file():
            said = set(re.findall(r"\w+", source.read_text()))
            return all(part in said for part in parts[count:])
    return False


def test_links_of_documents_lead_somewhere() -> None:
    wrong = []
    for path in documents():
        for target in LINK.findall(path.read_text()):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, section = target.partition("#")
            there = (path.parent / file).resolve() if file else path
            if not there.exists() or (section and there.suffix == ".md" and section not in sections(there)):
                wrong.append(f"{path.relative_to(ROOT)}: {target}")
    assert not wrong


def test_paths_in_words_are_there() -> None:
    wrong = {
        f"{where}: {path}"
        for where, text in words()
        for path in PATH.findall(text)
        if not (ROOT / path).exists() and path not in ELSEWHERE
    }
    assert not wrong


def test_modules_in_words_are_there() -> None:
    wrong = {
        f"{where}: {name}"
        for where, text in words()
        for name in MODULE.findall(text)
        if not PROTOS.match(name) and name not in ELSEWHERE and not is_name(name)
    }
    assert not wrong
