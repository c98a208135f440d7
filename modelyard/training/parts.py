"""What definitions and job files have in common, from YAML: templates, files, edges, policies. Pure."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from typing import Any, TypeVar

from modelyard.training.conduct import AtEnd, Clean, Stop
from modelyard.training.document import Node
from modelyard.training.expressions import ExpressionError
from modelyard.training.framework import File
from modelyard.training.problems import Findings, Position, Reason, shown, suggestion
from modelyard.training.quorum import Quorum, quorum
from modelyard.training.readiness import Dependency, OnTimeout, Readiness, ReadinessKind, metric_sign
from modelyard.training.restarts import Action, Cause, Per, Restart, RestartScope, Rule, ScopeKind
from modelyard.training.section import VARIABLE, Section, check_path
from modelyard.training.status import RolePolicy
from modelyard.training.templates import Template, Tree, template

T = TypeVar("T")
PATTERN_MOST = 300
FILE_CHARACTERS_MOST = 256 << 10
SIGNALS = ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2")
"""By which an instance may be asked to end."""
_CAUSES = {cause.value: cause for cause in Cause if cause is not Cause.STOPPED}
_COUNTED_CAUSES = frozenset(_CAUSES.values()) - {Cause.SUCCESS}


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
    if len(text) > PATTERN_MOST:
        section.wrong(name, Reason.BAD_PATTERN, f"a pattern has at most {PATTERN_MOST} characters")
        return ""
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        section.wrong(name, Reason.BAD_PATTERN, f"{shown(text)!r} is no regular expression: {error}")
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


_KINDS = {kind.value: kind for kind in ReadinessKind}
_NEEDS = {
    ReadinessKind.LISTENING: "port", ReadinessKind.HTTP: "port", ReadinessKind.LOG: "pattern",
    ReadinessKind.FILE: "path", ReadinessKind.METRIC: "metric", ReadinessKind.FUNCTION: "function",
}  # fmt: skip


def readiness(section: Section, default: ReadinessKind) -> Readiness:
    """The fields until, port, path, pattern, metric and function of a section."""
    kind = section.choice("until", default, _KINDS)
    needed = _NEEDS.get(kind, "")
    if needed and needed not in section:
        section.wrong(needed, Reason.MISSING_FIELD, f"until: {kind.value} needs {needed}")
    metric = section.word("metric")
    if kind is ReadinessKind.METRIC:
        return parsed(section, "metric", metric_sign, Readiness(kind=kind, metric=metric, comparison=">="))
    path = section.text("path")
    if kind is ReadinessKind.FILE and path:
        check_path(path, section.position("path"), section.findings)
    if kind is ReadinessKind.HTTP:
        path = path if path.startswith("/") else f"/{path}"
    return Readiness(
        kind=kind, port=section.word("port"), path=path, pattern=pattern(section, "pattern", section.text("pattern")),
        function=section.word("function"),
    )  # fmt: skip


def dependency(section: Section) -> Dependency:
    """One edge."""
    role = section.word("role")
    if not role:
        section.wrong("role", Reason.MISSING_FIELD, "a dependency names a role")
    words = {word.value: word for word in OnTimeout}
    found = Dependency(
        role=role,
        until=readiness(section, ReadinessKind.READY),
        quorum=parsed(section, "quorum", quorum, Quorum()),
        timeout_s=section.duration_s("timeout", 0.0),
        on_timeout=section.choice("on_timeout", OnTimeout.FAIL, words),
    )
    section.end()
    return found


def dependencies(section: Section, name: str) -> tuple[Dependency, ...]:
    """A list of edges."""
    return tuple(dependency(Section(node, at, section.findings)) for node, at in section.items(name, 100))


def causes(section: Section, name: str, default: frozenset[Cause]) -> frozenset[Cause]:
    """A list of causes; those that are named only."""
    if name not in section:
        return default
    found = set()
    for word in section.texts(name, 50):
        if word in _CAUSES and _CAUSES[word] in _COUNTED_CAUSES:
            found.add(_CAUSES[word])
        else:
            known = [cause.value for cause in _COUNTED_CAUSES]
            section.wrong(name, Reason.BAD_VALUE, f"{shown(word)!r} is no cause", suggestion(word, known))
    return frozenset(found)


def scope(section: Section, name: str, default: RestartScope) -> RestartScope:
    """ "instance", "role", "job", or a list of roles."""
    node = section.node_of(name)
    if node is not None and node.items is not None:
        return RestartScope(ScopeKind.ROLES, section.texts(name, 100))
    words = {kind.value: RestartScope(kind) for kind in (ScopeKind.INSTANCE, ScopeKind.ROLE, ScopeKind.JOB)}
    word = section.word(name)
    if word and word not in words:
        section.wrong(
            name, Reason.BAD_VALUE, f"{shown(word)!r} is no scope", "instance, role, job, or a list of roles"
        )
    return words.get(word, default)


def restart(section: Section, base: Restart) -> Restart:
    """What is said of restarts, laid over what holds without."""
    span = [node.plain() for node, _ in section.items("backoff", 2)] if "backoff" in section else []
    found_scope = scope(section, "scope", base.scope)
    default_per = Per.INSTANCE if found_scope.kind is ScopeKind.INSTANCE else Per.JOB
    found = Restart(
        when=causes(section, "when", base.when),
        scope=found_scope,
        most=section.integer("max", base.most, -1, 100_000),
        per=section.choice(
            "per", default_per if "scope" in section else base.per, {per.value: per for per in Per}
        ),
        backoff_s=_span(section, span, 0, base.backoff_s),
        backoff_most_s=max(_span(section, span, 1, base.backoff_most_s), _span(section, span, 0, 0.0)),
        uncounted=causes(section, "uncounted", base.uncounted),
        reset_after_s=section.duration_s("reset_after", base.reset_after_s),
        rules=_rules(section, base),
        may_move=section.flag("may_move", base.may_move),
    )
    section.end()
    return found


def _span(section: Section, span: list[Any], index: int, default: float) -> float:
    from modelyard.quantities import parse_duration

    if index >= len(span):
        return default
    try:
        return min(parse_duration(str(span[index])), 86_400.0)
    except ValueError as error:
        section.wrong(
            "backoff", Reason.BAD_VALUE, str(error), "backoff: [1s, 30s]: the first, and the longest"
        )
        return default


def _rules(section: Section, base: Restart) -> tuple[Rule, ...]:
    if "rules" not in section:
        return base.rules
    return tuple(_rule(Section(node, at, section.findings)) for node, at in section.items("rules", 100))


def _rule(section: Section) -> Rule:
    actions = {action.value: action for action in Action}
    found_scope = scope(section, "scope", RestartScope()) if "scope" in section else None
    found = Rule(
        causes=causes(section, "cause", frozenset()),
        exit_codes=tuple(filter(None, (_codes(section, text) for text in section.texts("exit", 100)))),
        signals=frozenset(filter(None, (_signal(section, text) for text in section.texts("signal", 50)))),
        log=pattern(section, "log", section.text("log")),
        action=section.choice("do", Action.RESTART, actions),
        scope=found_scope,
        is_counted=section.flag("counted", True),
        avoid_node=section.flag("avoid_node"),
    )
    section.end()
    return found


def _codes(section: Section, text: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"([0-9]{1,3})(?:\s*-\s*([0-9]{1,3}))?", text)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not 0 <= low <= high <= 255:
        section.wrong(
            "exit", Reason.BAD_VALUE, f"{shown(text)!r} is no exit code", "write for example 3 or 128-255"
        )
        return None
    return low, high


def _signal(section: Section, text: str) -> int:
    name = f"SIG{text.removeprefix('SIG')}"
    if name not in signal.Signals.__members__:
        section.wrong("signal", Reason.BAD_VALUE, f"{shown(text)!r} is no signal", "write for example KILL")
        return 0
    return int(signal.Signals[name])


def role_policy(section: Section, base: RolePolicy) -> RolePolicy:
    """The first status policy."""
    found = RolePolicy(
        succeeded=parsed(section, "succeeded", quorum, base.succeeded),
        failed=parsed(section, "failed", quorum, base.failed),
        running=parsed(section, "running", quorum, base.running),
        is_endless=section.flag("endless", base.is_endless),
    )
    section.end()
    return found


def stop(section: Section, base: Stop) -> Stop:
    """How an instance is asked to end."""
    words = {name: name for name in SIGNALS}
    name = section.word("signal", base.signal).removeprefix("SIG")
    if name not in words:
        section.wrong(
            "signal", Reason.BAD_VALUE, f"{shown(name)!r} asks nobody to end", f"one of {', '.join(SIGNALS)}"
        )
        name = base.signal
    found = Stop(signal=name, grace_s=section.duration_s("grace", base.grace_s, 3_600.0))
    section.end()
    return found


def clean(section: Section, base: Clean) -> Clean:
    """What becomes of instances at the end, and what is kept."""
    found = Clean(
        at_end=section.choice("at_end", base.at_end, {word.value: word for word in AtEnd}),
        drain_s=section.duration_s("drain", base.drain_s),
        keep=globs(section, "keep") if "keep" in section else base.keep,
    )
    section.end()
    return found


def globs(section: Section, name: str) -> tuple[str, ...]:
    """Globs below a directory."""
    found = section.texts(name, 100)
    return tuple(text for text in found if check_path(text, section.position(name), section.findings))


def json_text(value: Any) -> str:
    """As it is shown of a default."""
    return "" if value is None else json.dumps(value)
