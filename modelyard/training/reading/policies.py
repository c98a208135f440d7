"""Edges, readiness, restarts, status, stop and clean from YAML, the same in definitions and job files. Pure."""

from __future__ import annotations

import re
import signal
from typing import Any

from modelyard.documents.problems import Reason, shown, suggestion
from modelyard.documents.section import Section, check_path
from modelyard.quantities import parse_duration
from modelyard.training.policies.conduct import AtEnd, Clean, Stop
from modelyard.training.policies.quorum import Quorum, quorum
from modelyard.training.policies.readiness import Dependency, OnTimeout, Readiness, ReadinessKind, metric_sign
from modelyard.training.policies.restarts import Action, Cause, Per, Restart, RestartScope, Rule, ScopeKind
from modelyard.training.policies.status import RolePolicy
from modelyard.training.reading.parts import globs, parsed, pattern

SIGNALS = ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2")
"""By which an instance may be asked to end."""
CAUSES = {cause.value: cause for cause in Cause if cause not in (Cause.SUCCESS, Cause.STOPPED)}
"""By which something may be restarted."""

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
        if word in CAUSES:
            found.add(CAUSES[word])
        else:
            section.wrong(name, Reason.BAD_VALUE, f"{shown(word)!r} is no cause", suggestion(word, CAUSES))
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
