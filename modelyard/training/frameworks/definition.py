"""`kind: Framework` from YAML: compiled to the same values that a plug-in makes, or all that is wrong with it. Pure."""

from __future__ import annotations

from functools import partial
from typing import Any

from modelyard.documents.problems import Findings, Kind, Position, Reason, Refused, shown, suggestion
from modelyard.documents.section import ID, Section, check_name
from modelyard.documents.yaml_text import Node, locate, read
from modelyard.quantities import parse_duration
from modelyard.training.frameworks.consistency import check_framework
from modelyard.training.frameworks.framework import (
    COUNT_MOST,
    Count,
    Framework,
    Param,
    ParamType,
    Port,
    ProgressSource,
    Role,
)
from modelyard.training.policies.readiness import ReadinessKind
from modelyard.training.policies.status import Condition, JobPolicy
from modelyard.training.reading.parts import (
    files,
    json_variables,
    one_template,
    pattern,
    templates,
    variables,
)
from modelyard.training.reading.policies import clean, dependencies, readiness, restart, role_policy, stop
from modelyard.training.reading.policy_words import policy_words
from modelyard.training.rendering.creation import Create

ROLES_MOST = 64
_TYPES = {kind.value: kind for kind in ParamType} | {"str": ParamType.STRING, "int": ParamType.INTEGER,
          "float": ParamType.NUMBER, "bool": ParamType.BOOLEAN}  # fmt: skip


def compile_framework(text: str) -> Framework:
    """The one framework of a text. Raises `Refused` with everything that is wrong."""
    findings = Findings(Kind.FRAMEWORK)
    documents = read(text, findings)
    findings.refuse()
    if len(documents) != 1:
        findings.add(Reason.MALFORMED, f"it has {len(documents)} documents, and should have one", Position())
    found = None
    if documents:
        with findings.of(Kind.FRAMEWORK, partial(locate, documents[0])):
            found = framework_of(documents[0], findings, text)
    findings.refuse()
    if found is None:
        raise Refused(findings.all())
    return found


def framework_of(node: Node, findings: Findings, text: str = "") -> Framework | None:
    """One document; None where nothing can be made of it. Everything that is wrong is noted."""
    section = Section(node, Position("", node.line, node.column), findings)
    if node.fields is None:
        return None
    section.node_of("kind")
    framework_id = section.word("id")
    if not ID.fullmatch(framework_id):
        step = "small letters, digits and -, at most 63"
        section.wrong("id", Reason.BAD_NAME, f"{shown(framework_id)!r} is no id of a framework", step)
    params = tuple(_param(name, inner) for name, inner in section.sections("params", 200))
    roles, sections = _roles(section)
    names = tuple(role.name for role in roles)
    ranks = section.texts("ranks", ROLES_MOST)
    for name in ranks:
        if name not in names:
            section.wrong(
                "ranks", Reason.UNKNOWN_ROLE, f"there is no role {shown(name)!r}", suggestion(name, names)
            )
    if len(set(ranks)) < len(ranks):
        section.wrong("ranks", Reason.CONTRADICTION, "a role is there twice")
    ends = [role.name for role in roles if not role.policy.is_endless]
    found = Framework(
        id=framework_id, summary=section.text("summary", most=500), params=params, roles=roles, ranks=ranks,
        job_status=_job_policy(section, names, ends), ttl_s=section.duration_s("ttl", 86_400.0), source=text,
    )  # fmt: skip
    section.end()
    check_framework(found, findings, sections, section)
    return found


def _param(name: str, section: Section) -> Param:
    check_name(name, section.at, section.findings, "parameter")
    kind = section.choice("type", ParamType.STRING, _TYPES)
    node = section.node_of("default")
    found = Param(
        name=name,
        type=kind,
        default=None
        if node is None
        else param_value(kind, node.plain(), section.position("default"), section.findings),
        is_required=section.flag("required"),
        summary=section.text("summary", most=500),
        choices=tuple(
            param_value(kind, each.plain(), at, section.findings)
            for each, at in section.items("choices", 100)
        ),
        least=section.number("min", 0, -1e15, 1e15) if "min" in section else None,
        most=section.number("max", 0, -1e15, 1e15) if "max" in section else None,
    )
    section.end()
    return found


def param_value(kind: ParamType, value: Any, at: Position, findings: Findings) -> Any:
    """A value of that type, or None with a problem."""
    wanted: dict[ParamType, tuple[type, ...]] = {
        ParamType.STRING: (str,), ParamType.INTEGER: (int,), ParamType.NUMBER: (int, float),
        ParamType.BOOLEAN: (bool,), ParamType.DURATION: (str, int, float),
    }  # fmt: skip
    if type(value) in wanted[kind] and (not isinstance(value, str) or len(value) <= 4_096):
        if kind is not ParamType.DURATION:
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            findings.add(Reason.BAD_VALUE, str(error), at)
            return None
    findings.add(Reason.WRONG_TYPE, f"{shown(repr(value))} is no {kind.value}", at)
    return None


def _roles(section: Section) -> tuple[tuple[Role, ...], dict[str, Section]]:
    found, sections = [], {}
    for name, inner in section.sections("roles", ROLES_MOST):
        check_name(name, inner.at, section.findings, "role")
        found.append(_role(name, inner))
        sections[name] = inner
    if not found:
        section.wrong("roles", Reason.MISSING_FIELD, "a framework has at least one role")
    return tuple(found), sections


def _role(name: str, section: Section) -> Role:
    service = section.section("service")
    ports, forwards = (_ports(service), service.flag("forward")) if service else ((), False)
    if service:
        service.end()
    inner = section.section("functions")
    functions = inner or Section(Node(section.at.line, section.at.column), section.at, Findings())
    base = Role(name=name)
    parts = {
        part: functions.section(part) if inner else None
        for part in ("create", "ready", "restart", "status", "progress", "stop", "clean")
    }
    found = Role(
        name=name,
        summary=section.text("summary", most=500),
        count=_count(section),
        ports=ports,
        forwards=forwards,
        creation=_create(parts["create"]) if parts["create"] else base.creation,
        edges=dependencies(functions, "depend") if inner else (),
        readiness=_ready(parts["ready"]) if parts["ready"] else base.readiness,
        restarts=restart(parts["restart"], base.restarts) if parts["restart"] else base.restarts,
        policy=role_policy(parts["status"], base.policy) if parts["status"] else base.policy,
        progress_from=_progress(parts["progress"]) if parts["progress"] else base.progress_from,
        stopping=stop(parts["stop"], base.stopping) if parts["stop"] else base.stopping,
        cleaning=clean(parts["clean"], base.cleaning) if parts["clean"] else base.cleaning,
    )
    if inner:
        inner.end()
    section.end()
    return found


def _ready(section: Section) -> Any:
    found = readiness(section, ReadinessKind.STARTED)
    if found.kind is ReadinessKind.READY:
        section.wrong("until", Reason.CONTRADICTION, "ready cannot be explained by ready")
    section.end()
    return found


def _progress(section: Section) -> ProgressSource:
    texts = section.texts("log", 20)
    found = ProgressSource(
        patterns=tuple(filter(None, (pattern(section, "log", text) for text in texts))),
        file=section.text("file"),
    )
    section.end()
    return found


def _count(section: Section) -> Count:
    node = section.node_of("count")
    if node is None:
        return Count()
    if node.fields is None:
        exact = section.integer("count", 1, 0, COUNT_MOST)
        return Count(exact, exact, exact)
    inner = section.section("count")
    assert inner is not None
    least, most = inner.integer("min", 0, 0, COUNT_MOST), inner.integer("max", COUNT_MOST, 0, COUNT_MOST)
    found = Count(inner.integer("default", max(1, least), 0, COUNT_MOST), least, most, inner.flag("elastic"))
    if not least <= found.default <= most:
        inner.wrong("default", Reason.CONTRADICTION, f"{found.default} is not within {least} … {most}")
    inner.end()
    return found


def _ports(section: Section) -> tuple[Port, ...]:
    found, inner = [], section.section("ports")
    for name in inner.names() if inner else ():
        assert inner is not None
        check_name(name, inner.position(name), section.findings, "port")
        node = inner.node_of(name)
        if node is not None and node.fields is not None:
            low, high = _range(inner, name)
            found.append(Port(name, low, high))
        elif inner.word(name) == "auto":
            found.append(Port(name))
        else:
            number = inner.integer(name, 0, 1, 65_535)
            found.append(Port(name, number, number))
    if len(found) > 32:
        section.wrong("ports", Reason.TOO_LARGE, "an instance has at most 32 ports")
    return tuple(found[:32])


def _range(outer: Section, name: str) -> tuple[int, int]:
    inner = outer.section(name)
    assert inner is not None
    low, high = inner.integer("from", 1_024, 1, 65_535), inner.integer("to", 65_535, 1, 65_535)
    if low > high:
        inner.wrong("from", Reason.CONTRADICTION, f"{low} is above {high}")
    inner.end()
    return low, high


def _create(section: Section) -> Create:
    found = Create(
        argv=templates(section, "argv"),
        argv_prepend=templates(section, "argv_prepend"),
        argv_append=templates(section, "argv_append"),
        env=variables(section, "env"),
        env_json=json_variables(section, "env_json"),
        files=files(section, "files"),
        stdin=one_template(section, "stdin"),
        processes=one_template(section, "procs"),
        ends_together=section.flag("ends_together", True),
        imports=section.texts("imports", 100),
    )
    section.end()
    return found


def _job_policy(section: Section, roles: tuple[str, ...], ends: list[str]) -> JobPolicy:
    inner = section.section("job_status")
    everyone = Condition.over("any", roles)
    enders = Condition.over("all", ends)
    if inner is None:
        return JobPolicy(succeeded=enders, failed=everyone)
    found = JobPolicy(
        succeeded=policy_words(inner, "succeeded", roles, enders),
        failed=policy_words(inner, "failed", roles, everyone),
    )
    inner.end()
    return found
