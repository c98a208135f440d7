"""`kind: Job` from YAML, with the framework that it names, to a plan; or all that is wrong with it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from modelyard.documents.problems import Findings, Kind, Position, Problem, Reason, Refused, shown, suggestion
from modelyard.documents.section import ID, Section
from modelyard.documents.yaml_text import Node, locate, read
from modelyard.training.frameworks.definition import framework_of, param_value
from modelyard.training.frameworks.framework import Framework, Param
from modelyard.training.jobs import sections
from modelyard.training.jobs.job import Job, RoleInfo
from modelyard.training.plans.plan import Plan
from modelyard.training.plans.planning import plan_of
from modelyard.training.plans.preview import check_launches

Find = Callable[[str, int], Framework | None]
"""A framework by id and version, 0: the latest; None: there is none."""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What is laid over a job file."""

    params: Mapping[str, Any] = {}
    counts: Mapping[str, int] = {}
    name: str = ""
    queue: str = ""
    priority: int | None = None


def plan_job(
    text: str | bytes, find: Find, known: tuple[str, ...] = (), changes: Changes | None = None
) -> Plan:
    """The plan of a text's one job. `known`: ids to suggest. Raises `Refused` with everything that is wrong."""
    findings = Findings(Kind.JOB)
    plan = planned(read(text, findings), find, known, changes or Changes(), findings)
    findings.refuse()
    if plan is None:
        raise Refused(findings.all())
    return plan


def problems_of(text: str | bytes, find: Find, known: tuple[str, ...] = ()) -> tuple[Problem, ...]:
    """Everything that is wrong with definitions and jobs of a text; a text may hold definitions alone."""
    findings = Findings(Kind.JOB)
    documents = read(text, findings)
    if documents and not any(kind_of(node) == "Job" for node in documents):
        _own_frameworks(documents, findings)
    else:
        planned(documents, find, known, Changes(), findings)
    return findings.all()


def kind_of(node: Node) -> str:
    """What a document says that it is."""
    kind = (node.fields or {}).get("kind")
    return str(kind.scalar) if kind is not None else ""


def _own_frameworks(documents: list[Node], findings: Findings) -> dict[str, Framework]:
    found = {}
    for node in documents:
        if kind_of(node) == "Framework":
            with findings.of(Kind.FRAMEWORK, partial(locate, node)):
                framework = framework_of(node, findings)
            if framework is not None:
                found[framework.id] = framework
        elif kind_of(node) != "Job":
            at = Position("kind", node.line, node.column)
            is_sweep = kind_of(node) == "Sweep"
            step = "yard train sweep run" if is_sweep else "kind: Job, or kind: Framework"
            what = "it is a sweep" if is_sweep else "it is neither a job nor a framework"
            findings.add(Reason.MALFORMED, what, at, step)
    return found


def planned(
    documents: list[Node], find: Find, known: tuple[str, ...], changes: Changes, findings: Findings
) -> Plan | None:
    """The plan of the one job among documents; everything that is wrong is noted."""
    own = _own_frameworks(documents, findings)
    # Problems of a definition are told once, not again for each instance that it would make.
    wrong = bool(findings)
    jobs = [node for node in documents if kind_of(node) == "Job"]
    if len(jobs) != 1:
        if not findings:
            step = "a job file has one document with kind: Job"
            findings.add(Reason.MALFORMED, f"it has {len(jobs)} jobs", Position(), step)
        return None
    node = jobs[0]
    with findings.of(Kind.JOB, partial(locate, node)):
        section = Section(node, Position("", node.line, node.column), findings)
        framework_id, version = _framework_id(section)
        framework = own.get(framework_id) or find(framework_id, version)
        if framework is None:
            _note_unknown(section, framework_id, version, find, (*known, *own))
            return None
        before = len(findings)
        job = _job(section, framework, version, changes)
        if wrong:
            return None
        plan = plan_of(job, framework, findings)
        if plan is not None and len(findings) == before:
            check_launches(plan, findings)
        return plan


def _note_unknown(
    section: Section, framework_id: str, version: int, find: Find, known: tuple[str, ...]
) -> None:
    message, step = f"there is no framework {shown(framework_id)!r}", suggestion(framework_id, known)
    if version and find(framework_id, 0) is not None:
        message, step = f"there is no version {version} of {framework_id}", f"framework: {framework_id}"
    section.wrong("framework", Reason.UNKNOWN_FRAMEWORK, message, step or "yard train frameworks")


def _framework_id(section: Section) -> tuple[str, int]:
    word = section.word("framework")
    if not word:
        section.wrong("framework", Reason.MISSING_FIELD, "a job names its framework", "yard train frameworks")
    framework_id, _, version = word.partition("@")
    if version and not re.fullmatch(r"[0-9]{1,9}", version):
        section.wrong("framework", Reason.BAD_VALUE, f"{shown(version)!r} is no version", f"{framework_id}@1")
        version = ""
    return framework_id, int(version or 0)


def _job(section: Section, framework: Framework, version: int, changes: Changes) -> Job:
    section.node_of("kind")
    # Also what is laid over is read: else it would be a field that nobody knows.
    own_name, own_queue = section.word("name"), section.word("queue")
    own_priority = section.integer("priority", 0, -1_000, 1_000)
    name = changes.name or own_name
    if name and not ID.fullmatch(name):
        section.wrong(
            "name", Reason.BAD_NAME, f"{shown(name)!r} is no name of a job", "small letters, digits and -"
        )
    limits, status = section.section("limits"), section.section("job_status")
    roles = tuple(
        sections.role_info(key, inner, framework, changes.counts)
        for key, inner in section.sections("roles", 200)
    )
    named = {role.name for role in roles}
    for key in changes.counts:
        if framework.role(key) is None:
            known = framework.role_names
            section.wrong(
                "roles", Reason.UNKNOWN_ROLE, f"there is no role {shown(key)!r}", suggestion(key, known)
            )
        elif key not in named:
            roles = (*roles, RoleInfo(name=key, count=changes.counts[key]))
    requirements, image = sections.environment(section)
    found = Job(
        framework=framework.id,
        framework_version=version,
        name=name or framework.id,
        queue=changes.queue or own_queue,
        priority=own_priority if changes.priority is None else changes.priority,
        params=_params(section, framework, changes),
        labels=sections.labels(section, "labels"),
        roles=roles,
        everyone=sections.everyone(section),
        requirements=requirements,
        image=image,
        gang=sections.gang(section, framework),
        deadline_s=limits.duration_s("active_deadline", 0.0) if limits else 0.0,
        ttl_s=limits.duration_s("ttl", 0.0) if limits and "ttl" in limits else None,
        suspended=section.flag("suspend"),
        preemptible=section.flag("preemptible"),
        evidence=sections.evidence(section, framework),
        hang=sections.hang(section),
        checkpoints=sections.checkpoints(section),
        progress_from=sections.progress(section),
        succeeded=sections.policy(status, "succeeded", framework) if status else "",
        failed=sections.policy(status, "failed", framework) if status else "",
    )
    for inner in (limits, status):
        if inner:
            inner.end()
    section.end()
    return found


def _params(section: Section, framework: Framework, changes: Changes) -> tuple[tuple[str, Any], ...]:
    inner, given = section.section("params"), {}
    by_name = {param.name: param for param in framework.params}
    for name in inner.names() if inner else ():
        assert inner is not None
        node = inner.node_of(name)
        given[name] = (node.plain() if node else None, inner.position(name))
    for name, value in changes.params.items():
        given[name] = (value, Position(f"params.{name}"))
    found: dict[str, Any] = {param.name: param.default for param in framework.params}
    for name, (value, at) in given.items():
        param = by_name.get(name)
        if param is None:
            message = f"{framework.id} has no parameter {shown(name)!r}"
            section.findings.add(
                Reason.UNKNOWN_PARAMETER, message, at, suggestion(name, by_name, "it has none at all")
            )
        else:
            found[name] = _param(param, value, at, section.findings)
    for param in framework.params:
        if param.is_required and param.name not in given:
            message = f"{framework.id} needs the parameter {param.name}"
            section.findings.add(Reason.MISSING_PARAMETER, message, section.position("params"), param.summary)
    return tuple(found.items())


def _param(param: Param, value: Any, at: Position, findings: Findings) -> Any:
    found = param_value(param.type, value, at, findings)
    if found is None:
        return param.default
    if param.choices and found not in param.choices:
        words = ", ".join(map(str, param.choices))
        findings.add(Reason.BAD_VALUE, f"{shown(str(found))} is none of its values", at, f"one of {words}")
    low, high = param.least, param.most
    if isinstance(found, int | float) and (
        (low is not None and found < low) or (high is not None and found > high)
    ):
        bounds = f"{'…' if low is None else f'{low:g}'} … {'' if high is None else f'{high:g}'}"
        findings.add(Reason.OUT_OF_RANGE, f"it is {found}, and should be within {bounds}", at)
    return found
