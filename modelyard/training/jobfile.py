"""`kind: Job` from YAML, with the framework that it names, to a plan; or all that is wrong with it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from modelyard.training.conduct import Clean, Stop
from modelyard.training.definition import framework_of, param_value, policy_words
from modelyard.training.document import Node, locate, read
from modelyard.training.framework import COUNT_MOST, Framework, Param, Role
from modelyard.training.job import (
    Checkpoints,
    Evidence,
    Gang,
    Hang,
    Job,
    LogEvidence,
    Placement,
    Resources,
    RoleInfo,
)  # fmt: skip
from modelyard.training.parts import (
    clean,
    dependencies,
    files,
    globs,
    one_template,
    parsed,
    pattern,
    readiness,
    restart,
    role_policy,
    stop,
    templates,
    variables,
)  # fmt: skip
from modelyard.training.plan import Plan, plan_of
from modelyard.training.problems import Findings, Kind, Position, Problem, Reason, Refused, shown, suggestion
from modelyard.training.readiness import ReadinessKind, metric_sign
from modelyard.training.section import ID, Section

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
    plan = _planned(read(text, findings), find, known, changes or Changes(), findings)
    findings.refuse()
    if plan is None:
        raise Refused(findings.all())
    return plan


def problems_of(text: str | bytes, find: Find, known: tuple[str, ...] = ()) -> tuple[Problem, ...]:
    """Everything that is wrong with definitions and jobs of a text; a text may hold definitions alone."""
    findings = Findings(Kind.JOB)
    documents = read(text, findings)
    if documents and not any(_kind(node) == "Job" for node in documents):
        _own_frameworks(documents, findings)
    else:
        _planned(documents, find, known, Changes(), findings)
    return findings.all()


def _kind(node: Node) -> str:
    kind = (node.fields or {}).get("kind")
    return str(kind.scalar) if kind is not None else ""


def _own_frameworks(documents: list[Node], findings: Findings) -> dict[str, Framework]:
    found = {}
    for node in documents:
        if _kind(node) == "Framework":
            with findings.of(Kind.FRAMEWORK, partial(locate, node)):
                framework = framework_of(node, findings)
            if framework is not None:
                found[framework.id] = framework
        elif _kind(node) != "Job":
            at = Position("kind", node.line, node.column)
            findings.add(
                Reason.MALFORMED, "it is neither a job nor a framework", at, "kind: Job, or kind: Framework"
            )
    return found


def _planned(
    documents: list[Node], find: Find, known: tuple[str, ...], changes: Changes, findings: Findings
) -> Plan | None:
    own = _own_frameworks(documents, findings)
    jobs = [node for node in documents if _kind(node) == "Job"]
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
            step = suggestion(framework_id, (*known, *own), "yard train frameworks")
            section.wrong(
                "framework", Reason.UNKNOWN_FRAMEWORK, f"there is no framework {shown(framework_id)!r}", step
            )
            return None
        job = _job(section, framework, version, changes)
        return plan_of(job, framework, findings)


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
    name = changes.name or section.word("name")
    if name and not ID.fullmatch(name):
        section.wrong(
            "name", Reason.BAD_NAME, f"{shown(name)!r} is no name of a job", "small letters, digits and -"
        )
    limits, status = section.section("limits"), section.section("job_status")
    roles = tuple(_role_info(key, inner, framework, changes) for key, inner in section.sections("roles", 200))
    named = {role.name for role in roles}
    for key in changes.counts:
        if framework.role(key) is None:
            known = framework.role_names
            section.wrong(
                "roles", Reason.UNKNOWN_ROLE, f"there is no role {shown(key)!r}", suggestion(key, known)
            )
        elif key not in named:
            roles = (*roles, RoleInfo(name=key, count=changes.counts[key]))
    found = Job(
        framework=framework.id,
        framework_version=version,
        name=name or framework.id,
        queue=changes.queue or section.word("queue"),
        priority=section.integer("priority", 0, -1_000, 1_000)
        if changes.priority is None
        else changes.priority,
        params=_params(section, framework, changes),
        labels=_labels(section, "labels"),
        roles=roles,
        everyone=_everyone(section),
        requirements=_requirements(section),
        gang=_gang(section, framework),
        deadline_s=limits.duration_s("active_deadline", 0.0) if limits else 0.0,
        ttl_s=limits.duration_s("ttl", 0.0) if limits and "ttl" in limits else None,
        suspended=section.flag("suspend"),
        preemptible=section.flag("preemptible"),
        evidence=_evidence(section, framework),
        hang=_hang(section),
        checkpoints=_checkpoints(section),
        progress_patterns=_progress(section),
        succeeded=_policy(status, "succeeded", framework) if status else "",
        failed=_policy(status, "failed", framework) if status else "",
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


def _labels(section: Section, name: str) -> tuple[tuple[str, str], ...]:
    inner = section.section(name)
    if inner is None:
        return ()
    return tuple((key, inner.word(key)) for key in inner.names()[:64])


def _requirements(section: Section) -> str:
    inner = section.section("environment")
    if inner is None:
        return ""
    found = "\n".join(inner.texts("requirements", 1_000))
    inner.end()
    return found


def _everyone(section: Section) -> RoleInfo:
    return RoleInfo(
        name="", argv=templates(section, "argv"), env=variables(section, "env"), files=files(section, "files"),
        resources=_resources(section, "resources"), placement=_placement(section, "placement"),
    )  # fmt: skip


def _role_info(name: str, section: Section, framework: Framework, changes: Changes) -> RoleInfo:
    role = framework.role(name)
    if role is None:
        message, step = f"{framework.id} has no role {shown(name)!r}", suggestion(name, framework.role_names)
        section.findings.add(Reason.UNKNOWN_ROLE, message, section.at, step)
        return RoleInfo(name=name)
    count, least, most = _counts(section)
    overrides = {
        part: section.section(part)
        for part in ("ready", "restart", "status", "stop", "clean")
        if part in section
    }
    found = RoleInfo(
        name=name,
        count=changes.counts.get(name, count),
        least=least,
        most=most,
        argv=templates(section, "argv"),
        env=variables(section, "env"),
        files=files(section, "files"),
        stdin=one_template(section, "stdin"),
        resources=_resources(section, "resources"),
        placement=_placement(section, "placement"),
        edges=dependencies(section, "depend") if "depend" in section else None,
        imports=section.texts("imports", 100),
        **_overrides(overrides, role),
    )
    section.end()
    return found


def _overrides(sections: dict[str, Section | None], role: Role) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part, section in sections.items():
        if section is None:
            continue
        if part == "restart":
            found["restarts"] = restart(section, role.restarts)
        elif part == "status":
            found["policy"] = role_policy(section, role.policy)
        elif part == "ready":
            found["readiness"] = readiness(section, ReadinessKind.STARTED)
            section.end()
        elif part == "stop":
            found["stopping"] = stop(section, _or(role.stopping, Stop()))
        else:
            found["cleaning"] = clean(section, _or(role.cleaning, Clean()))
    return found


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _counts(section: Section) -> tuple[int | None, int | None, int | None]:
    node = section.node_of("count")
    if node is None:
        return None, None, None
    if node.fields is None:
        return section.integer("count", 0, 0, COUNT_MOST), None, None
    inner = section.section("count")
    assert inner is not None
    least = inner.integer("min", 0, 0, COUNT_MOST) if "min" in inner else None
    most = inner.integer("max", 0, 0, COUNT_MOST) if "max" in inner else None
    count = inner.integer("default", 0, 0, COUNT_MOST) if "default" in inner else most
    inner.end()
    return count, least, most


def _resources(section: Section, name: str) -> Resources | None:
    inner = section.section(name)
    if inner is None:
        return None
    custom = inner.section("custom")
    found = Resources(
        cpu=inner.number("cpu", 1.0, 0, 10_000),
        memory_bytes=inner.size_bytes("memory") or inner.size_bytes("mem"),
        gpu=inner.number("gpu", 0.0, 0, 10_000),
        custom=tuple((key, custom.number(key, 0, 0, 1e12)) for key in custom.names()) if custom else (),
    )
    inner.end()
    return found


_POLICIES = {word: word for word in ("least-loaded", "binpack", "spread")}


def _placement(section: Section, name: str) -> Placement | None:
    inner = section.section(name)
    if inner is None:
        return None
    policy = inner.word("policy")
    if policy and policy not in _POLICIES:
        inner.wrong(
            "policy", Reason.BAD_VALUE, f"{shown(policy)!r} is no policy", f"one of {', '.join(_POLICIES)}"
        )
    found = Placement(
        node=inner.word("node"), labels=_labels(inner, "labels"), pool=inner.word("pool"), policy=policy,
        distinct_nodes=inner.flag("distinct_nodes"),
    )  # fmt: skip
    inner.end()
    return found


def _gang(section: Section, framework: Framework) -> Gang:
    inner = section.section("gang")
    if inner is None:
        return Gang()
    node = inner.node_of("min")
    least: tuple[tuple[str, int], ...] = ()
    if node is not None and node.fields is not None:
        below = inner.section("min")
        assert below is not None
        found = {name: below.integer(name, 0, 0, COUNT_MOST) for name in below.names()}
        for name in found:
            if name not in framework.role_names:
                step = suggestion(name, framework.role_names)
                below.wrong(name, Reason.UNKNOWN_ROLE, f"there is no role {shown(name)!r}", step)
        least = tuple(found.items())
    elif node is not None and node.scalar != "all":
        inner.wrong("min", Reason.BAD_VALUE, "it is all, or a number by role", "min: {worker: 2}")
    wait_s = inner.duration_s("wait", 0.0)
    inner.end()
    return Gang(least=least, wait_s=wait_s)


def _evidence(section: Section, framework: Framework) -> Evidence:
    inner = section.section("success")
    if inner is None:
        return Evidence()
    node = inner.node_of("log")
    if node is not None and node.items is not None:
        below = [Section(item, at, section.findings) for item, at in inner.items("log", 20)]
    else:
        below = list(filter(None, [inner.section("log")]))
    metrics = [
        parsed(Section(_holder(item), at, section.findings), "metric", metric_sign, None)
        for item, at in inner.items("metrics", 20)
    ]
    found = Evidence(
        artifacts=globs(inner, "artifacts"),
        log=tuple(_log_evidence(each, framework) for each in below),
        metrics=tuple(filter(None, metrics)),
    )
    inner.end()
    return found


def _holder(item: Node) -> Node:
    """A mapping in which the item stands as `metric`, so that it is read like one."""
    node = Node(item.line, item.column)
    node.fields, node.keys = {"metric": item}, {"metric": (item.line, item.column)}
    return node


def _log_evidence(section: Section, framework: Framework) -> LogEvidence:
    role = section.word("role")
    if role and framework.role(role) is None:
        step = suggestion(role, framework.role_names)
        section.wrong("role", Reason.UNKNOWN_ROLE, f"there is no role {shown(role)!r}", step)
    if "regex" not in section:
        section.wrong("regex", Reason.MISSING_FIELD, "which line is wanted?", 'regex: "epoch 3"')
    found = LogEvidence(pattern=pattern(section, "regex", section.text("regex")), role=role)
    section.end()
    return found


def _hang(section: Section) -> Hang:
    inner = section.section("hang")
    if inner is None:
        return Hang()
    found = Hang(
        silent_s=inner.duration_s("silent", 600.0),
        cpu_below=inner.number("and_cpu_below", 2.0, 0, 100_000) / 100,
    )
    inner.end()
    return found


def _checkpoints(section: Section) -> Checkpoints:
    inner = section.section("checkpoints")
    if inner is None:
        return Checkpoints()
    metric = inner.word("metric")
    found = Checkpoints(
        directory=inner.text("dir"), keep_last=inner.integer("keep_last", 3, 0, 10_000),
        keep_best=inner.integer("keep_best", 0, 0, 10_000), metric=metric,
        is_lower_better=not inner.flag("higher_is_better"),
    )  # fmt: skip
    if found.keep_best and not metric:
        inner.wrong("keep_best", Reason.MISSING_FIELD, "best by which metric?", "metric: loss")
    inner.end()
    return found


def _progress(section: Section) -> tuple[str, ...]:
    inner = section.section("progress")
    if inner is None:
        return ()
    found = tuple(filter(None, (pattern(inner, "log", text) for text in inner.texts("log", 20))))
    inner.end()
    return found


def _policy(section: Section, name: str, framework: Framework) -> str:
    default = getattr(framework.job_status, name)
    return str(policy_words(section, name, framework.role_names, default)) if name in section else ""
