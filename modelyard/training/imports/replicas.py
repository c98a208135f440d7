"""What the job kinds of one operator share: replica specs by type, and a run policy. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from modelyard.documents.problems import Reason, shown, suggestion
from modelyard.documents.section import Section
from modelyard.training.frameworks.framework import COUNT_MOST
from modelyard.training.imports.drafts import Draft, identifier, without_empty
from modelyard.training.imports.failures import restart_of
from modelyard.training.imports.pods import Pod, pod
from modelyard.training.imports.source import Object, changed, dropped, inner, mapping, rest
from modelyard.training.imports.surroundings import Surroundings
from modelyard.training.imports.texts import Hosts, Texts

_SECONDS_MOST = 366 * 86_400


class Replica(msgspec.Struct, kw_only=True):
    """One type of a source's replicas."""

    count: int
    pod: Pod
    section: Section
    restart_policy: str

    def role(self, limit: int | None, **more: Any) -> dict[str, Any]:
        """As a role of a job file."""
        restart = restart_of(self.section, self.restart_policy, limit)
        found = {"count": self.count, **self.pod.said(), "restart": restart, "stop": self.pod.stop, **more}
        return without_empty(found)


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Where a kind has what."""

    field: str
    """Of the replica specs."""
    roles: Mapping[str, str]
    """Roles by type."""
    container: str
    """The name that the container with the work has."""
    brings_command: tuple[str, ...] = ()
    """Types whose command the framework gives."""
    leader: str = ""
    """The role that the first instance becomes, where it is not the type's own."""


def replicas(job: Object, spec: Section, layout: Layout, around: Surroundings) -> dict[str, Replica]:
    """By type, as `layout.roles` spells it."""
    sections: dict[str, tuple[Section, int]] = {}
    field = inner(spec, layout.field)
    spelled = {name.lower(): name for name in layout.roles}
    for name in field.names():
        section, kind = inner(field, name), spelled.get(name.lower())
        if kind is None:
            step = suggestion(name, layout.roles)
            field.wrong(name, Reason.BAD_VALUE, f"{job.kind} has no replicas {shown(name)!r}", step)
        else:
            count = section.integer("replicas", 1, 0, COUNT_MOST)
            if count:
                sections[kind] = section, count
    if not sections:
        step = f"{next(iter(layout.roles))}: {{replicas: 1, template: …}}"
        spec.wrong(layout.field, Reason.MISSING_FIELD, "nobody is there to run anything", step)
    hosts = _hosts(job, {kind: count for kind, (_, count) in sections.items()}, layout)
    here = around.with_texts(Texts(hosts=hosts))
    return {kind: _replica(kind, section, count, layout, here) for kind, (section, count) in sections.items()}


def _hosts(job: Object, counts: Mapping[str, int], layout: Layout) -> tuple[Hosts, ...]:
    """Names of a cluster's services; types that become one role follow each other in it."""
    found: list[Hosts] = []
    before: dict[str, int] = {}
    for kind, count in counts.items():
        role = layout.roles[kind]
        offset = -1 if layout.leader else before.get(role, 0)
        found.append(Hosts(f"{job.name}-{kind.lower()}", role, count, 0, offset, layout.leader))
        before[role] = offset + count
    return tuple(found) if job.name else ()


def _replica(kind: str, section: Section, count: int, layout: Layout, around: Surroundings) -> Replica:
    found = pod(
        inner(section, "template"),
        around,
        count,
        (layout.container,),
        brings_command=kind in layout.brings_command,
    )
    policy = section.word("restartPolicy")
    rest(section)
    return Replica(count=count, pod=found, section=section, restart_policy=policy)


def begun(job: Object, framework: str) -> Draft:
    """What metadata says."""
    found = Draft(framework=framework, name=identifier(job.name))
    found.labels = dict(list(mapping(job.metadata, "labels").items())[:64])
    if "annotations" in job.metadata:
        names = [name for name in mapping(job.metadata, "annotations") if not name.startswith("kubectl.")]
        if names:
            dropped(job.metadata, "annotations", f"annotations are left out: {shown(', '.join(names), 200)}")
    return found


def run_policy(spec: Section, draft: Draft, around: Surroundings, counts: Mapping[str, int]) -> int | None:
    """Takes `runPolicy` into a draft; `counts` of roles, first who is placed first. The bound of restarts."""
    policy = inner(spec, "runPolicy")
    for name, limited in (("activeDeadlineSeconds", "active_deadline"), ("ttlSecondsAfterFinished", "ttl")):
        if name in policy:
            draft.limits[limited] = f"{policy.integer(name, 0, 0, _SECONDS_MOST)}s"
    draft.suspend = policy.flag("suspend")
    clean_pods(policy)
    if "schedulingPolicy" in policy:
        _scheduling(inner(policy, "schedulingPolicy"), draft, around, counts)
    limit = policy.integer("backoffLimit", 0, 0, 100_000) if "backoffLimit" in policy else None
    if "managedBy" in policy:
        dropped(policy, "managedBy", "this yard has one controller")
    rest(policy)
    return limit


def clean_pods(policy: Section) -> None:
    """What runs at the end is stopped, as by `All` and `Running`; logs are kept always."""
    word = policy.word("cleanPodPolicy")
    if word not in ("", "All", "Running", "None"):
        policy.wrong("cleanPodPolicy", Reason.BAD_VALUE, f"{shown(word)!r} is none", "All, Running or None")
    elif word == "None":
        message = "what still runs is stopped when the job ends; logs are kept in any case"
        changed(policy, "cleanPodPolicy", message, "roles.<role>.clean: {at_end: drain, drain: 10m}")


def _scheduling(section: Section, draft: Draft, around: Surroundings, counts: Mapping[str, int]) -> None:
    if "minAvailable" in section:
        gang_of(draft, section.integer("minAvailable", 0, 0, COUNT_MOST), counts)
    queue(section, draft)
    priority(section, "priorityClass", draft, around)
    if "scheduleTimeoutSeconds" in section:
        draft.gang["wait"] = f"{section.integer('scheduleTimeoutSeconds', 0, 0, _SECONDS_MOST)}s"
    rest(section, {"minResources": "it follows from the resources of the roles"})


def gang_of(draft: Draft, least: int, counts: Mapping[str, int]) -> None:
    """So many of all instances, the first roles first, must have a place before anybody starts."""
    if not 0 < least < sum(counts.values()):
        return
    found = {}
    for role, count in counts.items():
        found[role] = min(count, least)
        least -= found[role]
    draft.gang["min"] = found


def queue(section: Section, draft: Draft) -> None:
    """A queue of the same name."""
    word = section.word("queue")
    if word and word != "default":
        draft.queue = word
        changed(
            section,
            "queue",
            f"a queue {shown(word)!r} has to be here as well",
            "yard queues create, or leave `queue` out",
        )


def priority(section: Section, name: str, draft: Draft, around: Surroundings) -> None:
    """A class's number, if the class is in the text."""
    word = section.word(name)
    value = around.priority_of(word) if word else None
    if value is not None:
        draft.priority = value
    elif word:
        message = f"the number of the class {shown(word)!r} is not known"
        dropped(section, name, message, "priority: 0, within -1000 … 1000, or put the class into the text")


def is_launched_by(argv: list[str], words: tuple[str, ...]) -> bool:
    """Whether one of these launchers is called anywhere in a command."""
    pattern = re.compile(rf"(?<![A-Za-z0-9_-])(?:{'|'.join(map(re.escape, words))})(?![A-Za-z0-9_-])")
    return any(pattern.search(word) for word in argv)
