"""The sections of a job file, one by one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.documents.problems import Reason, shown, suggestion
from modelyard.documents.section import Section, check_path
from modelyard.documents.yaml_text import Node
from modelyard.image_names import HOW_TO_WRITE, is_image
from modelyard.training.frameworks.framework import COUNT_MOST, Framework, ProgressSource, Role
from modelyard.training.jobs.job import (
    Checkpoints,
    Evidence,
    Gang,
    Hang,
    LogEvidence,
    PeerPolicy,
    Placement,
    Resources,
    RoleInfo,
)
from modelyard.training.policies.readiness import ReadinessKind, metric_sign
from modelyard.training.reading.parts import files, globs, one_template, parsed, pattern, templates, variables
from modelyard.training.reading.policies import clean, dependencies, readiness, restart, role_policy, stop
from modelyard.training.reading.policy_words import policy_words

IMAGE_AND_REQUIREMENTS = "an image brings its own packages; requirements are for what runs without"


def labels(section: Section, name: str) -> tuple[tuple[str, str], ...]:
    """Words by name."""
    inner = section.section(name)
    if inner is None:
        return ()
    return tuple((key, inner.word(key)) for key in inner.names()[:64])


def environment(section: Section) -> tuple[str, str]:
    """Of all roles: the Python environment, and the image of containers."""
    inner = section.section("environment")
    if inner is None:
        return "", ""
    found = "\n".join(inner.texts("requirements", 1_000))
    image = _image(inner)
    if found and image:
        _contradicts(inner)
    inner.end()
    return found, image


def _role_image(section: Section) -> str:
    inner = section.section("environment")
    if inner is None:
        return ""
    image = _image(inner)
    inner.end()
    return image


def _image(section: Section) -> str:
    image = section.text("image")
    if image and not is_image(image):
        section.wrong("image", Reason.BAD_VALUE, f"{shown(image)!r} is not a name of an image", HOW_TO_WRITE)
    return image


def _contradicts(section: Section) -> None:
    section.wrong("image", Reason.CONTRADICTION, IMAGE_AND_REQUIREMENTS, "leave one of the two out")


def everyone(section: Section) -> RoleInfo:
    """What holds for every role that says nothing else."""
    return RoleInfo(
        name="", argv=templates(section, "argv"), env=variables(section, "env"), files=files(section, "files"),
        resources=_resources(section, "resources"), placement=_placement(section, "placement"),
    )  # fmt: skip


def role_info(name: str, section: Section, framework: Framework, forced: Mapping[str, int]) -> RoleInfo:
    """What is said of one role; `forced`: counts that go before the file's."""
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
        count=forced.get(name, count),
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
        forward=section.flag("forward") if "forward" in section else None,
        image=_role_image(section),
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
            found["stopping"] = stop(section, role.stopping)
        else:
            found["cleaning"] = clean(section, role.cleaning)
    return found


def _counts(section: Section) -> tuple[int | None, int | None, int | None]:
    node = section.node_of("count")
    if node is None:
        return None, None, None
    if node.fields is None:
        return _number(section, "count"), None, None
    inner = section.section("count")
    assert inner is not None
    least, most, count = (_number(inner, name) for name in ("min", "max", "default"))
    inner.end()
    return most if count is None else count, least, most


def _number(section: Section, name: str) -> int | None:
    """None: it is not said, or wrong."""
    found = section.integer(name, -1, 0, COUNT_MOST)
    return None if found < 0 else found


def _resources(section: Section, name: str) -> Resources | None:
    inner = section.section(name)
    if inner is None:
        return None
    custom = inner.section("custom")
    found = Resources(
        cpu=inner.number("cpu", 1.0, 0, 10_000),
        memory_bytes=inner.size_bytes("memory"),
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
        node=inner.word("node"), labels=labels(inner, "labels"), pool=inner.word("pool"), policy=policy,
        distinct_nodes=inner.flag("distinct_nodes"),
    )  # fmt: skip
    inner.end()
    return found


def gang(section: Section, framework: Framework) -> Gang:
    """Who must have a place before anybody starts."""
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
    elif inner.word("min", "all") != "all":
        inner.wrong("min", Reason.BAD_VALUE, "it is all, or a number by role", "min: {worker: 2}")
    wait_s = inner.duration_s("wait", 0.0)
    check = inner.choice("check", PeerPolicy.FAIL, {word.value: word for word in PeerPolicy})
    inner.end()
    return Gang(least=least, wait_s=wait_s, check=check)


def evidence(section: Section, framework: Framework) -> Evidence:
    """What must be there besides exit codes."""
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


def hang(section: Section) -> Hang:
    """When silence is a failure."""
    inner = section.section("hang")
    if inner is None:
        return Hang()
    found = Hang(
        silent_s=inner.duration_s("silent", 600.0),
        cpu_below=inner.number("and_cpu_below", 2.0, 0, 100_000) / 100,
    )
    inner.end()
    return found


def checkpoints(section: Section) -> Checkpoints:
    """The directory that outlives restarts."""
    inner = section.section("checkpoints")
    if inner is None:
        return Checkpoints()
    metric = inner.word("metric")
    found = Checkpoints(
        directory=_directory(inner), match=_one_name(inner, "match"), marker=_one_name(inner, "marker"),
        settle_s=inner.duration_s("settle", 1.0), keep_last=inner.integer("keep_last", 3, 1, 10_000),
        keep_best=inner.integer("keep_best", 0, 0, 10_000), metric=metric,
        is_lower_better=not inner.flag("higher_is_better"),
    )  # fmt: skip
    if found.keep_best and not metric:
        inner.wrong("keep_best", Reason.MISSING_FIELD, "best by which metric?", "metric: loss")
    inner.end()
    return found


def _directory(section: Section) -> str:
    """Below the instance's own, or absolute."""
    text = section.text("dir")
    path = text.strip("/") if text.startswith("/") else text
    if not path:
        section.wrong("dir", Reason.MISSING_FIELD, "where are they?", "dir: ckpt")
    elif not check_path(path, section.position("dir"), section.findings):
        return ""
    return text


def _one_name(section: Section, name: str) -> str:
    """A name, or a glob of names, within a directory."""
    text = section.text(name)
    if "/" in text or len(text) > 200 or not text.isprintable():
        section.wrong(name, Reason.BAD_VALUE, f"{shown(text)!r} is no name in a directory")
        return ""
    return text


def progress(section: Section) -> ProgressSource:
    """Lines from which progress is read, and a file of JSON lines."""
    inner = section.section("progress")
    if inner is None:
        return ProgressSource()
    patterns = tuple(filter(None, (pattern(inner, "log", text) for text in inner.texts("log", 20))))
    file = inner.text("file")
    if file:
        check_path(file, inner.position("file"), inner.findings)
    inner.end()
    return ProgressSource(patterns, file)


def policy(section: Section, name: str, framework: Framework) -> str:
    """A condition of the second status policy, in words; empty: the framework's."""
    default = getattr(framework.job_status, name)
    return str(policy_words(section, name, framework.role_names, default)) if name in section else ""
