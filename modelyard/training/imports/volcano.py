"""Volcano's Job: tasks with policies and plug-ins; each task becomes a role of a framework of its own. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from modelyard.documents.problems import Reason, shown, suggestion
from modelyard.documents.section import Section
from modelyard.training.frameworks.framework import COUNT_MOST
from modelyard.training.imports import mpi_job
from modelyard.training.imports.definitions import definition, leased, role
from modelyard.training.imports.drafts import Draft, identifier, role_names, without_empty
from modelyard.training.imports.pods import Pod, pod
from modelyard.training.imports.replicas import Replica, begun, gang_of, priority, queue
from modelyard.training.imports.source import Object, dropped, inner, listed, rest
from modelyard.training.imports.surroundings import Surroundings
from modelyard.training.imports.texts import Hosts, Texts
from modelyard.training.imports.volcano_plugins import Plugins, mpi_roles, plugins
from modelyard.training.imports.volcano_policies import Policy, completes, policies, restart

_SECONDS_MOST = 366 * 86_400
MAX_RETRY = 3
"""Of jobs that say nothing else."""


class Task(msgspec.Struct, kw_only=True):
    """One entry of tasks."""

    name: str
    role: str
    count: int
    least: int
    """0: not said."""
    section: Section


def convert(job: Object, around: Surroundings) -> Draft:
    """The draft, with its definition; with the plug-in mpi of the framework that is shipped."""
    spec = inner(job.section, "spec")
    tasks = _tasks(spec)
    if not tasks:
        spec.wrong("tasks", Reason.MISSING_FIELD, "a job has tasks")
    launched = mpi_roles(spec, [task.name for task in tasks])
    tasks = [msgspec.structs.replace(task, role=launched.get(task.name, task.role)) for task in tasks]
    used = plugins(spec, {task.name: task.role for task in tasks})
    framework_id = "mpi" if launched else identifier(f"{job.name or 'volcano'}-roles")
    draft = begun(job, framework_id)
    _scheduling(spec, draft, tasks, around)
    common = policies(spec)
    most = spec.integer("maxRetry", MAX_RETRY, 0, 100_000)
    hosts = tuple(Hosts(f"{job.name}-{task.name}", task.role, task.count) for task in tasks)
    here = around.with_texts(Texts(hosts=hosts, replaced=used.replaced))
    here = here.with_fields(
        {f"metadata.{kind}['volcano.sh/task-index']": "${self.index}" for kind in ("labels", "annotations")}
    )
    pods = {
        task.role: pod(
            inner(task.section, "template"), here, task.count, role="" if launched else task.role,
            brings_command=bool(launched) and task.role == "worker",
        )
        for task in tasks
    }  # fmt: skip
    if launched:
        _with_mpi(draft, tasks, pods, used)
    else:
        draft.definition = _definition(spec, framework_id, job, tasks, pods, used, common, most)
        draft.roles = {
            task.role: without_empty({"count": task.count, **pods[task.role].said()}) for task in tasks
        }
    for task in tasks:
        rest(task.section, {"topologyPolicy": "leave it out", "partitionPolicy": "make a role of each partition",
                            "maxRetry": "roles.<role>.restart: {max: 3}"})  # fmt: skip
    rest(spec, {"volumes": "use a path that every node has", "networkTopology": "placement: {labels: {…}}",
                "runningEstimate": "limits: {active_deadline: 1h}"}, ("schedulerName",))  # fmt: skip
    return draft


def _tasks(spec: Section) -> list[Task]:
    sections = listed(spec, "tasks", 64)
    names = [section.word("name") or f"default{index}" for index, section in enumerate(sections)]
    words = role_names(names)
    found: list[Task] = []
    for name, section in zip(names, sections, strict=True):
        if any(task.name == name for task in found):
            section.wrong("name", Reason.DUPLICATE_FIELD, f"{shown(name)!r} is there twice")
            continue
        count = section.integer("replicas", 1, 0, COUNT_MOST)
        least = section.integer("minAvailable", 0, 0, COUNT_MOST)
        if least > count:
            section.wrong("minAvailable", Reason.OUT_OF_RANGE, f"it is more than replicas, {count}")
        found.append(Task(name=name, role=words[name], count=count, least=least, section=section))
    return found


def _scheduling(spec: Section, draft: Draft, tasks: list[Task], around: Surroundings) -> None:
    counts = {task.role: task.count for task in tasks}
    least = {task.role: task.least for task in tasks if task.least and task.least < task.count}
    if least:
        draft.gang["min"] = least
        spec.node_of("minAvailable")
    elif "minAvailable" in spec:
        gang_of(draft, spec.integer("minAvailable", 0, 0, COUNT_MOST), counts)
    queue(spec, draft)
    priority(spec, "priorityClassName", draft, around)
    if "ttlSecondsAfterFinished" in spec:
        draft.limits["ttl"] = f"{spec.integer('ttlSecondsAfterFinished', 0, 0, _SECONDS_MOST)}s"


def _definition(
    spec: Section, framework_id: str, job: Object, tasks: list[Task], pods: dict[str, Pod], used: Plugins,
    common: list[Policy], most: int,
) -> dict[str, Any]:  # fmt: skip
    roles, deciding = {}, []
    for task in tasks:
        own, found = policies(task.section), pods[task.role]
        status: dict[str, Any] = {}
        if completes(own):
            deciding.append(task.role)
        roles[task.role] = role(
            task.count,
            {**leased(found.ports, task.count, found.container), **used.ports.get(task.role, {})},
            create=without_empty(
                {
                    "env": used.env.get(task.role, {}),
                    "env_json": used.env_json.get(task.role, {}),
                    "files": used.files,
                }
            ),
            ready=found.ready,
            depend=_edges(task, tasks),
            restart=restart(own, common, found.restart_policy, most),
            status=status,
            stop=found.stop,
        )
    everybody = [task.role for task in tasks if task.count]
    if not deciding and completes(common):
        deciding = everybody
    _least_successes(spec, roles, everybody)
    return definition(
        framework_id, f"Tasks of the Volcano job {shown(job.name)}.", roles, ranks=used.ranks,
        succeeded=f"any({', '.join(deciding)})" if deciding else "",
    )  # fmt: skip


def _least_successes(spec: Section, roles: dict[str, dict[str, Any]], everybody: list[str]) -> None:
    if "minSuccess" not in spec:
        return
    least = spec.integer("minSuccess", 1, 1, COUNT_MOST)
    if len(everybody) == 1:
        functions = roles[everybody[0]].setdefault("functions", {})
        functions["status"] = {"succeeded": str(least)}
    else:
        dropped(
            spec,
            "minSuccess",
            "several roles have no common number of successes",
            "roles.<role>.status: {succeeded: 2}",
        )


def _edges(task: Task, tasks: list[Task]) -> list[dict[str, Any]]:
    """A task that is waited for is ready with as many pods as it needs at least."""
    if "dependsOn" not in task.section:
        return []
    section, by_name = inner(task.section, "dependsOn"), {each.name: each for each in tasks}
    names, found = section.texts("name"), []
    iteration = section.word("iteration", "all")
    if iteration not in ("any", "all"):
        section.wrong("iteration", Reason.BAD_VALUE, f"{shown(iteration)!r} is none", "any or all")
    elif iteration == "any" and len(names) > 1:
        dropped(section, "iteration", "it waits for all of them, not for any")
    for name in names:
        other = by_name.get(name)
        if other is None:
            section.wrong(
                "name", Reason.UNKNOWN_ROLE, f"there is no task {shown(name)!r}", suggestion(name, by_name)
            )
            continue
        quorum = {"quorum": str(other.least)} if other.least else {}
        found.append({"role": other.role, "until": "ready", **quorum})
    rest(section)
    return found


def _with_mpi(draft: Draft, tasks: list[Task], pods: dict[str, Pod], used: Plugins) -> None:
    parts = {}
    for task in tasks:
        policies(task.section)
        task.section.node_of("dependsOn")
        if task.role in ("launcher", "worker"):
            pods[task.role].env = {**used.env[task.role], **pods[task.role].env}
            parts[task.role] = Replica(
                count=task.count, pod=pods[task.role], section=task.section, restart_policy=""
            )
        else:
            dropped(
                task.section, "name", f"the task {shown(task.name)} is left out beside launcher and workers"
            )
    if len(parts) == 2:
        mpi_job.fill(draft, parts["launcher"], parts["worker"], None, 1)
        for role_fields in draft.roles.values():
            role_fields.update({"files": used.files} if used.files else {})
    if "min" in draft.gang:
        draft.gang["min"] = {name: least for name, least in draft.gang["min"].items() if name in parts}
