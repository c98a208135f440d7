"""What only shows when a job and its framework are there: names, numbers, cycles; and which text said what. Pure."""

from __future__ import annotations

import re

from modelyard.documents.problems import Findings, Kind, Position, Reason, shown
from modelyard.training.frameworks.consistency import check_create, check_edges, check_scopes, vocabulary
from modelyard.training.frameworks.framework import COUNT_MOST, Framework
from modelyard.training.jobs.job import RoleInfo
from modelyard.training.plans.plan import Plan, PlannedRole
from modelyard.training.policies.quorum import QuorumKind
from modelyard.training.policies.readiness import cycle
from modelyard.training.rendering.checking import Checker
from modelyard.training.rendering.creation import Create
from modelyard.training.rendering.forwards import FORWARDS_MOST


def check_plan(plan: Plan, framework: Framework, findings: Findings, are_counts_right: bool) -> None:
    """Notes everything that is wrong; `framework` is without what the job says."""
    if are_counts_right:
        _check_counts(plan, findings)
    _check_forwards(plan, findings)
    checker = Checker(vocabulary(plan.framework), findings)
    for planned in plan.roles:
        _check_role(planned, plan, framework, checker, findings)
    circle = cycle({role.name: plan.edges(role.name) for role in plan.roles})
    if circle:
        message = f"these roles wait for each other to start: {' → '.join(circle)}"
        findings.add(Reason.CYCLE, message, Position("roles"), "wait for an address instead: until: address")


def _check_counts(plan: Plan, findings: Findings) -> None:
    total = sum(map(_most, plan.roles))
    if not sum(role.count for role in plan.roles):
        findings.add(
            Reason.NO_INSTANCES, "no role has an instance", Position("roles"), "roles.<role>.count: 1"
        )
    if total > COUNT_MOST:
        message = f"{total} instances; a job has at most {COUNT_MOST}"
        findings.add(Reason.TOO_LARGE, message, Position("roles"))
    deciding = map(plan.role, plan.framework.job_status.succeeded.roles())
    if not any(role and role.count for role in deciding):
        message = (
            f"it could never succeed: {plan.framework.job_status.succeeded} names no role that has instances"
        )
        findings.add(
            Reason.CONTRADICTION, message, Position("roles"), "give one of them a count, or set job_status"
        )


def _check_forwards(plan: Plan, findings: Findings) -> None:
    total = 0
    for planned in plan.roles:
        ports, at = len(planned.role.address()), Position(f"roles.{planned.name}.forward")
        if planned.role.forwards and not ports:
            message = f"{planned.name} has no port that could be forwarded"
            findings.add(Reason.CONTRADICTION, message, at, "name one in service.ports of its framework")
        total += planned.most * ports if planned.role.forwards else 0
        if total > FORWARDS_MOST:
            message = f"with {planned.most} × {ports} ports of {planned.name} there would be {total} local addresses"
            step = f"at most {FORWARDS_MOST}: forward servers only, or give its count a max"
            findings.add(Reason.TOO_LARGE, message, at, step)
            return


def _check_image(planned: PlannedRole, at: Position, said: RoleInfo | None, findings: Findings) -> None:
    """What processes in containers cannot have."""
    if not planned.image:
        return
    if planned.role.creation.stdin:
        message = f"processes of {planned.name} run in containers, which have no stdin"
        findings.add(Reason.CONTRADICTION, message, at.inner("stdin"), "give them a file instead: files")
    if said is not None and said.imports:
        message = f"processes of {planned.name} run in containers, and are forked from no parent"
        findings.add(Reason.CONTRADICTION, message, at.inner("imports"), "leave it out, or the image")


def _most(role: PlannedRole) -> int:
    """How many there may come to be; a role without a bound of its own has what it has."""
    return role.most if role.role.count.is_elastic and role.most < COUNT_MOST else role.count


def _check_role(
    planned: PlannedRole, plan: Plan, framework: Framework, checker: Checker, findings: Findings
) -> None:
    at, role, said = Position(f"roles.{planned.name}"), planned.role, plan.job.role(planned.name)
    _check_image(planned, at, said, findings)
    if planned.count and not role.has_command:
        message, step = (
            f"nobody says what instances of {role.name} run",
            f"roles.{role.name}.argv: [python, train.py]",
        )
        findings.add(Reason.NO_COMMAND, message, at.inner("argv"), step)
    if said is not None:
        check_create(_created(said), role.name, checker, at, framework, findings)
    everyone = plan.job.everyone
    takes_argv = role.creation.argv == everyone.argv
    check_create(_created(everyone, takes_argv), role.name, checker, Position(), framework, findings)
    if said and (said.edges is not None or said.readiness is not None):
        check_edges(role, framework, findings, at)
    if said and said.restarts is not None:
        check_scopes(role, framework.role_names, findings, at.inner("restart"))
    for index, edge in enumerate(plan.edges(planned.name)):
        peer = plan.role(edge.role)
        quorum = edge.quorum
        if peer and quorum.kind is QuorumKind.NUMBER and quorum.value > peer.count:
            message = f"it waits for {quorum.value} of {shown(edge.role)}, which has {peer.count}"
            findings.add(Reason.CONTRADICTION, message, at.inner("depend").inner(index).inner("quorum"))


def _created(said: RoleInfo, takes_argv: bool = True) -> Create:
    return Create(argv=said.argv if takes_argv else (), env=said.env, files=said.files, stdin=said.stdin)


_INDEXED = re.compile(r"(argv|files)\[([0-9]+)\](.*)")


def note_unmade(plan: Plan, role: str, path: str, message: str, findings: Findings) -> None:
    """Notes what cannot be made at the place where it was said: in the job, or in its framework."""
    kind, at = where_said(plan, role, path)
    if kind is Kind.JOB:
        findings.add(Reason.BAD_EXPRESSION, message, Position(at))
        return
    with findings.of(Kind.FRAMEWORK, None):
        findings.add(Reason.BAD_EXPRESSION, message, Position(at))


def where_said(plan: Plan, role: str, path: str) -> tuple[Kind, str]:
    """Which text says a part of what an instance is made of ("env.RANK", "argv[2]"), and its path there."""
    planned = plan.role(role)
    said, everyone = plan.job.role(role) or RoleInfo(name=role), plan.job.everyone
    create = planned.role.creation if planned else Create()
    name, rest, index = path.partition(".")[0], "", 0
    if found := _INDEXED.fullmatch(path):
        name, index, rest = found[1], int(found[2]), found[3]
    if name == "argv":
        index -= len(create.argv_prepend)
        if said.argv and 0 <= index < len(said.argv):
            return Kind.JOB, f"roles.{role}.argv[{index}]"
        if create.argv == everyone.argv and 0 <= index < len(everyone.argv):
            return Kind.JOB, f"argv[{index}]"
    elif name == "env":
        variable = path.partition(".")[2]
        if variable in dict(said.env):
            return Kind.JOB, f"roles.{role}.{path}"
        if variable in dict(everyone.env):
            return Kind.JOB, path
    elif name == "files":
        index -= len(create.files) - len(said.files) - len(everyone.files)
        if index >= len(everyone.files):
            return Kind.JOB, f"roles.{role}.files[{index - len(everyone.files)}]{rest}"
        if index >= 0:
            return Kind.JOB, f"files[{index}]{rest}"
    elif name == "stdin" and said.stdin:
        return Kind.JOB, f"roles.{role}.stdin"
    return Kind.FRAMEWORK, f"roles.{role}.functions.create.{path}"
