"""`kind: Framework` from YAML: compiled to the same values that a plug-in makes, or all that is wrong with it. Pure."""

from __future__ import annotations

from typing import Any

from modelyard.training.checking import Checker, Scope, Vocabulary
from modelyard.training.document import Node, read
from modelyard.training.framework import (
    COUNT_MOST,
    Count,
    Create,
    Framework,
    Param,
    ParamType,
    Port,
    ProgressSource,
    Role,
)
from modelyard.training.parts import (
    clean,
    dependencies,
    files,
    json_variables,
    one_template,
    pattern,
    readiness,
    restart,
    role_policy,
    stop,
    templates,
    variables,
)  # fmt: skip
from modelyard.training.problems import Findings, Kind, Position, Reason, Refused, shown, suggestion
from modelyard.training.readiness import ReadinessKind, cycle
from modelyard.training.restarts import ScopeKind
from modelyard.training.section import ID, Section, check_name
from modelyard.training.status import Condition, JobPolicy, condition

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
    found = framework_of(documents[0], findings, text) if documents else None
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
    from modelyard.quantities import parse_duration

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
    ports = _ports(service) if service else ()
    inner = section.section("functions")
    functions = inner or Section(Node(section.at.line, section.at.column), section.at, Findings())
    base = Role(name=name)
    parts = {
        part: functions.section(part) if inner else None
        for part in ("create", "ready", "restart", "status", "progress", "stop", "clean")
    }
    status = parts["status"].section("role") if parts["status"] else None
    found = Role(
        name=name,
        summary=section.text("summary", most=500),
        count=_count(section),
        ports=ports,
        creation=_create(parts["create"]) if parts["create"] else base.creation,
        edges=dependencies(functions, "depend") if inner else (),
        readiness=_ready(parts["ready"]) if parts["ready"] else base.readiness,
        restarts=restart(parts["restart"], base.restarts) if parts["restart"] else base.restarts,
        policy=role_policy(status, base.policy) if status else base.policy,
        progress_from=_progress(parts["progress"]) if parts["progress"] else base.progress_from,
        stopping=stop(parts["stop"], base.stopping) if parts["stop"] else base.stopping,
        cleaning=clean(parts["clean"], base.cleaning) if parts["clean"] else base.cleaning,
    )
    if parts["status"]:
        parts["status"].end()
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
    section.end()
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
    everyone = Condition("any", "", tuple(Condition("role", role) for role in roles))
    enders = Condition("all", "", tuple(Condition("role", role) for role in ends))
    if inner is None:
        return JobPolicy(succeeded=enders, failed=everyone)
    drain = inner.section("drain")
    found = JobPolicy(
        succeeded=policy_words(inner, "succeeded", roles, enders),
        failed=policy_words(inner, "failed", roles, everyone),
        drain_s=tuple((name, drain.duration_s(name, 300.0)) for name in drain.names()) if drain else (),
    )
    for name, _ in found.drain_s:
        if name not in roles:
            inner.wrong(
                "drain", Reason.UNKNOWN_ROLE, f"there is no role {shown(name)!r}", suggestion(name, roles)
            )
    inner.end()
    return found


def policy_words(section: Section, name: str, roles: tuple[str, ...], default: Condition) -> Condition:
    """A condition over roles."""
    text = section.text(name)
    if not text:
        return default
    try:
        return condition(text, roles)
    except LookupError as error:
        word = str(error.args[0])
        section.wrong(name, Reason.UNKNOWN_ROLE, f"there is no role {shown(word)!r}", suggestion(word, roles))
    except ValueError as error:
        section.wrong(name, Reason.BAD_VALUE, str(error))
    return default


def vocabulary(framework: Framework) -> Vocabulary:
    """What its expressions may name."""
    return Vocabulary(
        params=frozenset(param.name for param in framework.params),
        ports={role.name: frozenset(port.name for port in role.address()) for role in framework.roles},
        ranks=frozenset(framework.ranks),
    )


def check_framework(
    framework: Framework, findings: Findings, sections: dict[str, Section], whole: Section | None = None
) -> None:
    """What only shows when all of it is there: names in expressions, edges, scopes, cycles."""
    top = whole.at if whole else Position()
    checker = Checker(vocabulary(framework), findings)
    for role in framework.roles:
        section = sections.get(role.name)
        at = section.at if section else Position(f"roles.{role.name}")
        check_create(
            role.creation, role.name, checker, at.inner("functions").inner("create"), framework, findings
        )
        check_edges(role, framework, findings, at.inner("functions"))
        check_scopes(role, framework.role_names, findings, at.inner("functions").inner("restart"))
    circle = cycle({role.name: role.depend() for role in framework.roles})
    if circle:
        step = "wait for an address instead (until: address), or take one of these dependencies away"
        findings.add(
            Reason.CYCLE,
            f"these roles wait for each other to start: {' → '.join(circle)}",
            top.inner("roles"),
            step,
        )


def check_create(
    create: Create, role: str, checker: Checker, at: Position, framework: Framework, findings: Findings
) -> None:
    """Every name in what makes an instance."""
    process = Scope(role=role, has_process=True)
    for name in ("argv", "argv_prepend", "argv_append"):
        for index, part in enumerate(getattr(create, name)):
            checker.check([part], process, at.inner(name).inner(index))
    for variable, value in create.env:
        checker.check([value], process, at.inner("env").inner(variable))
    for variable, tree in create.env_json:
        checker.check(tree.leaves(), process, at.inner("env_json").inner(variable))
    if create.stdin:
        checker.check([create.stdin], process, at.inner("stdin"))
    if create.processes:
        checker.check([create.processes], Scope(role=role, has_self=False), at.inner("procs"))
    for index, file in enumerate(create.files):
        below = at.inner("files").inner(index)
        if file.each and file.each not in framework.role_names:
            step = suggestion(file.each, framework.role_names)
            findings.add(
                Reason.UNKNOWN_ROLE, f"there is no role {shown(file.each)!r}", below.inner("each"), step
            )
            continue
        scope = Scope(role=role, each=file.each)
        checker.check(filter(None, [file.path, file.content]), scope, below)
        checker.check(filter(None, [file.line]), scope, below.inner("line"))
        checker.check(file.json.leaves() if file.json else (), scope, below.inner("json"))


def check_edges(role: Role, framework: Framework, findings: Findings, at: Position) -> None:
    """Whether roles and ports that edges and readiness name are there."""
    known = framework.role_names
    for index, edge in enumerate(role.depend()):
        below = at.inner("depend").inner(index)
        peer = framework.role(edge.role)
        if peer is None:
            if edge.role:
                step = suggestion(edge.role, known)
                findings.add(
                    Reason.UNKNOWN_ROLE, f"there is no role {shown(edge.role)!r}", below.inner("role"), step
                )
            continue
        check_port(peer, edge.until.port, findings, below.inner("port"))
        if edge.until.kind is ReadinessKind.SUCCEEDED and peer.policy.is_endless:
            message = f"{peer.name} is endless: it never succeeds, so this would wait for ever"
            findings.add(Reason.CONTRADICTION, message, below.inner("until"))
    check_port(role, role.ready().port, findings, at.inner("ready").inner("port"))


def check_port(role: Role, port: str, findings: Findings, at: Position) -> None:
    """Whether a port that is named is there."""
    names = [each.name for each in role.address()]
    if port and port not in names:
        step = suggestion(port, names, f"name it in roles.{role.name}.service.ports")
        findings.add(Reason.UNKNOWN_PORT, f"{role.name} has no port {shown(port)!r}", at, step)


def check_scopes(role: Role, known: tuple[str, ...], findings: Findings, at: Position) -> None:
    """Whether roles that scopes name are there, and the role itself among them."""
    restarts = role.restarts
    for scope in [restarts.scope, *(rule.scope for rule in restarts.rules if rule.scope)]:
        for name in scope.roles:
            if name not in known:
                step = suggestion(name, known)
                findings.add(
                    Reason.UNKNOWN_ROLE, f"there is no role {shown(name)!r}", at.inner("scope"), step
                )
        if scope.kind is ScopeKind.ROLES and role.name not in scope.roles:
            message = f"the scope leaves {role.name} out, which is what failed"
            findings.add(Reason.CONTRADICTION, message, at.inner("scope"), f"add {role.name}")
