"""JobSet: groups of equal jobs that wait for each other; each group becomes a role of a framework of its own. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec

from modelyard.documents.problems import Reason, shown, suggestion
from modelyard.documents.section import Section
from modelyard.training.frameworks.framework import COUNT_MOST
from modelyard.training.imports.definitions import definition, leased, role
from modelyard.training.imports.drafts import Draft, identifier, role_names, without_empty
from modelyard.training.imports.jobset_failures import Failures, failures, restart
from modelyard.training.imports.pods import Pod, pod
from modelyard.training.imports.replicas import begun, priority
from modelyard.training.imports.source import Object, changed, dropped, inner, listed, rest
from modelyard.training.imports.surroundings import Surroundings
from modelyard.training.imports.texts import Hosts, Texts

_SECONDS_MOST = 366 * 86_400


_JOB_ADVICE = {
    "suspend": "suspend: true, of the whole job",
    "backoffLimitPerIndex": "roles.<role>.restart: {max: 3, per: instance}",
    "maxFailedIndexes": "roles.<role>.status: {failed: 3}",
    "successPolicy": "roles.<role>.status: {succeeded: …}",
}


class Group(msgspec.Struct, kw_only=True):
    """One entry of replicatedJobs."""

    name: str
    role: str
    replicas: int
    parallel: int
    """Pods of each of its jobs."""
    section: Section
    job: Section
    """The specification of its jobs."""

    @property
    def count(self) -> int:
        """Instances."""
        return self.replicas * self.parallel


def convert(job: Object, around: Surroundings) -> Draft:
    """The draft, with its definition."""
    spec = inner(job.section, "spec")
    groups = _groups(spec)
    if not groups:
        spec.wrong("replicatedJobs", Reason.MISSING_FIELD, "a JobSet has replicatedJobs")
    framework_id = identifier(f"{job.name or 'jobset'}-roles")
    draft = begun(job, framework_id)
    draft.suspend = spec.flag("suspend")
    if "ttlSecondsAfterFinished" in spec:
        draft.limits["ttl"] = f"{spec.integer('ttlSecondsAfterFinished', 0, 0, _SECONDS_MOST)}s"
    policy = failures(spec, [group.name for group in groups])
    edges = _edges(spec, groups)
    hosts = tuple(
        Hosts(f"{job.name}-{group.name}", group.role, group.count, group.parallel) for group in groups
    )
    here = around.with_texts(Texts(hosts=hosts))
    targets, operator = _success(spec, groups)
    roles: dict[str, dict[str, Any]] = {}
    before = 0
    for group in groups:
        fields = _fields(job, group, groups, before)
        before += group.replicas
        found = pod(inner(group.job, "template"), here.with_fields(fields), group.count, role=group.role)
        roles[group.role] = _role(group, found, policy, edges, operator if group.role in targets else "")
        draft.roles[group.role] = without_empty({"count": group.count, **found.said()})
        if found.priority_class and not draft.priority:
            priority(inner(inner(group.job, "template"), "spec"), "priorityClassName", draft, around)
        _tell(group)
    succeeded = f"{'any' if operator == 'Any' else 'all'}({', '.join(targets)})" if targets else ""
    draft.definition = definition(
        framework_id, f"Roles of the JobSet {shown(job.name)}.", roles, succeeded=succeeded
    )
    for name in ("network", "coordinator"):
        spec.node_of(name)
    rest(
        spec,
        {
            "managedBy": "this yard has one controller",
            "volumeClaimPolicies": "use a path that every node has",
        },
    )
    return draft


def _groups(spec: Section) -> list[Group]:
    sections = listed(spec, "replicatedJobs", 64)
    names = [section.word("name") or f"job-{index}" for index, section in enumerate(sections)]
    words = role_names(names)
    found: list[Group] = []
    for name, section in zip(names, sections, strict=True):
        if any(group.name == name for group in found):
            section.wrong("name", Reason.DUPLICATE_FIELD, f"{shown(name)!r} is there twice")
            continue
        template = inner(section, "template")
        job = inner(template, "spec")
        parallel = job.integer("parallelism", 1, 0, COUNT_MOST)
        completions = job.integer("completions", parallel, 0, COUNT_MOST)
        if completions > parallel:
            changed(job, "completions", f"all {completions} run side by side, not {parallel} at a time")
        replicas = section.integer("replicas", 1, 0, COUNT_MOST)
        found.append(
            Group(
                name=name,
                role=words[name],
                replicas=replicas,
                parallel=max(parallel, completions),
                section=section,
                job=job,
            )
        )
        rest(inner(template, "metadata"), quiet=("labels", "annotations", "name"))
        rest(template)
    return found


def _fields(job: Object, group: Group, groups: list[Group], before: int) -> dict[str, str]:
    """What labels and annotations of a pod say, as expressions."""
    parallel = group.parallel
    number = "${self.index}" if parallel == 1 else f"${{self.index // {parallel}}}"
    inside = _inside(group)
    labels = {
        "batch.kubernetes.io/job-completion-index": inside,
        "jobset.sigs.k8s.io/jobset-name": job.name,
        "jobset.sigs.k8s.io/replicatedjob-name": group.name,
        "jobset.sigs.k8s.io/replicatedjob-replicas": str(group.replicas),
        "jobset.sigs.k8s.io/global-replicas": str(sum(each.replicas for each in groups)),
        "jobset.sigs.k8s.io/job-index": number,
        "jobset.sigs.k8s.io/job-global-index": number if not before else f"{number[:-1]} + {before}}}",
        "jobset.sigs.k8s.io/restart-attempt": "${job.restarts}",
    }
    return {
        f"metadata.{kind}['{key}']": value
        for key, value in labels.items()
        for kind in ("labels", "annotations")
    }


def _inside(group: Group) -> str:
    """The index within one of its jobs."""
    if group.replicas == 1:
        return "${self.index}"
    return "0" if group.parallel == 1 else f"${{self.index % {group.parallel}}}"


def _role(
    group: Group, found: Pod, policy: Failures, edges: dict[str, list[dict[str, Any]]], operator: str
) -> dict[str, Any]:
    status: dict[str, Any] = {}
    if operator == "Any" and group.replicas > 1:
        status = {"succeeded": "any" if group.parallel == 1 else str(group.parallel)}
        if group.parallel > 1:
            changed(group.section, "replicas", f"any {group.parallel} instances count as one of its jobs")
    is_indexed = group.job.word("completionMode", "Indexed") == "Indexed"
    return role(
        group.count,
        leased(found.ports, group.count, found.container),
        create={"env": {"JOB_COMPLETION_INDEX": _inside(group)}} if is_indexed else {},
        ready=found.ready,
        depend=edges.get(group.role, []),
        restart=restart(group.job, group.name, group.parallel, policy),
        status=status,
        stop=found.stop,
    )


def _edges(spec: Section, groups: list[Group]) -> dict[str, list[dict[str, Any]]]:
    """What each role waits for."""
    roles, found = {group.name: group.role for group in groups}, {}
    for group in groups:
        edges = []
        for section in listed(group.section, "dependsOn", 50):
            name, status = section.word("name"), section.word("status", "Ready")
            if name not in roles:
                section.wrong(
                    "name", Reason.UNKNOWN_ROLE, f"there is no {shown(name)!r}", suggestion(name, roles)
                )
            elif status not in ("Ready", "Complete"):
                section.wrong("status", Reason.BAD_VALUE, f"{shown(status)!r} is none", "Ready or Complete")
            else:
                edges.append({"role": roles[name], "until": "succeeded" if status == "Complete" else "ready"})
            rest(section)
        found[group.role] = edges
    policy = inner(spec, "startupPolicy")
    order = policy.word("startupPolicyOrder", "AnyOrder")
    if order not in ("AnyOrder", "InOrder"):
        policy.wrong(
            "startupPolicyOrder", Reason.BAD_VALUE, f"{shown(order)!r} is none", "AnyOrder or InOrder"
        )
    rest(policy)
    if order == "InOrder":
        present = [group.role for group in groups if group.count]
        for first, then in pairwise(present):
            found[then].append({"role": first, "until": "ready"})
    return found


def _success(spec: Section, groups: list[Group]) -> tuple[list[str], str]:
    """Roles that decide, and whether all of them must or any may."""
    everybody = [group.role for group in groups if group.count]
    if "successPolicy" not in spec:
        return everybody, "All"
    policy, roles = inner(spec, "successPolicy"), {group.name: group.role for group in groups}
    operator = policy.word("operator", "All")
    if operator not in ("All", "Any"):
        policy.wrong("operator", Reason.BAD_VALUE, f"{shown(operator)!r} is none", "All or Any")
    targets = policy.texts("targetReplicatedJobs")
    for name in targets:
        if name not in roles:
            step = suggestion(name, roles)
            policy.wrong("targetReplicatedJobs", Reason.UNKNOWN_ROLE, f"there is no {shown(name)!r}", step)
    rest(policy)
    return [roles[name] for name in dict.fromkeys(targets) if name in roles] or everybody, operator


def _tell(group: Group) -> None:
    if "activeDeadlineSeconds" in group.job:
        dropped(
            group.job,
            "activeDeadlineSeconds",
            "there is one deadline, of the whole job",
            "limits: {active_deadline: 1h}",
        )
    for name in ("groupName",):
        group.section.node_of(name)
    rest(
        group.job,
        _JOB_ADVICE,
        ("completionMode", "ttlSecondsAfterFinished", "manualSelector", "selector", "podReplacementPolicy"),
    )
    rest(group.section)
