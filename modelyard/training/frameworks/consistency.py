"""What only shows when all of a framework is there: names in expressions, edges, scopes, cycles. Pure."""

from __future__ import annotations

from modelyard.documents.problems import Findings, Position, Reason, shown, suggestion
from modelyard.documents.section import Section
from modelyard.training.frameworks.framework import Framework, Role
from modelyard.training.policies.readiness import ReadinessKind, cycle
from modelyard.training.policies.restarts import ScopeKind
from modelyard.training.rendering.checking import Checker, Scope, Vocabulary
from modelyard.training.rendering.creation import Create


def vocabulary(framework: Framework) -> Vocabulary:
    """What its expressions may name."""
    return Vocabulary(
        params=frozenset(param.name for param in framework.params),
        ports={role.name: frozenset(port.name for port in role.address()) for role in framework.roles},
        ranks=frozenset(framework.ranks),
        forwarded=frozenset(role.name for role in framework.roles if role.forwards),
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
