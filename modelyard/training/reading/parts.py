"""What definitions and job files have in common, from YAML: templates, files, edges, policies. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from modelyard.documents.problems import Findings, Position, Reason, shown
from modelyard.documents.section import VARIABLE, Section, check_path
from modelyard.documents.yaml_text import Node
from modelyard.training.expressions.grammar import ExpressionError
from modelyard.training.expressions.patterns import check
from modelyard.training.expressions.templates import Template, Tree, template
from modelyard.training.rendering.creation import File

T = TypeVar("T")
FILE_CHARACTERS_MOST = 256 << 10


def one_template(section: Section, name: str) -> Template | None:
    """A text with expressions; None: there is none."""
    node = section.node_of(name)
    return None if node is None else _template(node, section.position(name), section.findings)


def templates(section: Section, name: str, most: int = 1_000) -> tuple[Template, ...]:
    """A list of texts with expressions."""
    found = [_template(node, at, section.findings) for node, at in section.items(name, most)]
    return tuple(filter(None, found))


def variables(section: Section, name: str) -> tuple[tuple[str, Template], ...]:
    """A mapping of environment variables."""
    return tuple(_by_variable(section, name, _template))


def json_variables(section: Section, name: str) -> tuple[tuple[str, Tree], ...]:
    """A mapping of environment variables that hold JSON."""
    return tuple(_by_variable(section, name, tree))


def _by_variable(
    section: Section, name: str, read: Callable[[Node, Position, Findings], T | None]
) -> list[tuple[str, T]]:
    inner, found = section.section(name), []
    for variable in inner.names()[:1_000] if inner else ():
        assert inner is not None
        node, at = inner.node_of(variable), inner.position(variable)
        if not VARIABLE.fullmatch(variable):
            message = f"{shown(variable)!r} is no name of a variable"
            section.findings.add(Reason.BAD_NAME, message, at, "letters, digits and _, no digit first")
        elif node is not None and (value := read(node, at, section.findings)) is not None:
            found.append((variable, value))
    return found


def _template(node: Node, at: Position, findings: Findings) -> Template | None:
    if node.fields is not None or node.items is not None:
        findings.add(Reason.WRONG_TYPE, f"it is {node.kind}, and should be a text", at)
        return None
    text = node.scalar if isinstance(node.scalar, str) else _written(node.scalar)
    if len(text) > FILE_CHARACTERS_MOST or "\0" in text:
        findings.add(Reason.TOO_LARGE, f"at most {FILE_CHARACTERS_MOST} characters, none of them NUL", at)
        return None
    try:
        return template(text)
    except ExpressionError as error:
        # Within a text in one line the column can be told exactly.
        more = error.offset if "\n" not in text else 0
        findings.add(Reason.BAD_EXPRESSION, f"{error.message}: {shown(text)}", at, column_more=more)
        return None


def _written(scalar: Any) -> str:
    if scalar is None:
        return ""
    return str(scalar).lower() if isinstance(scalar, bool) else str(scalar)


def tree(node: Node, at: Position, findings: Findings) -> Tree:
    """Nested mappings and lists with templates at their leaves."""
    if node.fields is not None:
        inner = [
            (name, tree(value, _below(at.inner(name), value), findings))
            for name, value in node.fields.items()
        ]
        return Tree(fields=tuple(inner))
    if node.items is not None:
        items = [
            tree(value, _below(at.inner(index), value), findings) for index, value in enumerate(node.items)
        ]
        return Tree(items=tuple(items))
    if isinstance(node.scalar, str):
        return Tree(leaf=_template(node, at, findings))
    return Tree(leaf=node.scalar)


def _below(at: Position, node: Node) -> Position:
    return Position(at.path, node.line, node.column)


def files(section: Section, name: str) -> tuple[File, ...]:
    """Files below the instance's directory."""
    return tuple(_file(Section(node, at, section.findings)) for node, at in section.items(name, 100))


def _file(section: Section) -> File:
    path = one_template(section, "path")
    if path is None:
        section.wrong("path", Reason.MISSING_FIELD, "a file needs a path")
    elif len(path.parts) == 1 and isinstance(path.parts[0], str):
        check_path(path.parts[0], section.position("path"), section.findings)
    node = section.node_of("json")
    content = one_template(section, "content")
    each, line = section.word("each").removeprefix("roles."), one_template(section, "line")
    if bool(each) is not (line is not None):
        section.wrong(
            "each", Reason.CONTRADICTION, "each and line go together", "each: roles.worker, line: ${it.ip}"
        )
    if sum([content is not None, node is not None, line is not None]) != 1:
        section.wrong("content", Reason.CONTRADICTION, "a file has one of content, json, and each with line")
    found = File(
        path=path or template("file"),
        content=content,
        json=None if node is None else tree(node, section.position("json"), section.findings),
        each=each,
        line=line,
        is_executable=section.flag("executable"),
    )
    section.end()
    return found


def pattern(section: Section, name: str, text: str) -> str:
    """A regular expression; noted and empty if it is none."""
    wrong = check(text)
    if wrong:
        step = "RE2's syntax: without backreferences and without looking ahead or behind"
        section.wrong(name, Reason.BAD_PATTERN, f"{shown(text)!r} is no regular expression: {wrong}", step)
        return ""
    return text


def parsed(section: Section, name: str, read: Callable[[str], T], default: T) -> T:
    """A word that `read` makes a value of; its ValueError is noted."""
    text = section.word(name)
    if not text:
        return default
    try:
        return read(text)
    except ValueError as error:
        section.wrong(name, Reason.BAD_VALUE, str(error))
        return default


def globs(section: Section, name: str) -> tuple[str, ...]:
    """Globs below a directory."""
    found = section.texts(name, 100)
    return tuple(text for text in found if check_path(text, section.position(name), section.findings))
