"""TrainJob: a number of equal nodes in the way of its runtime, which is named and may stand in the same text. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from modelyard.documents.problems import shown
from modelyard.documents.section import Section
from modelyard.training.frameworks.framework import COUNT_MOST
from modelyard.training.imports import mpi_job
from modelyard.training.imports.definitions import definition, role
from modelyard.training.imports.drafts import Draft, identifier, without_empty
from modelyard.training.imports.failures import FAILURES
from modelyard.training.imports.pods import Pod, command_of, pod, tell_image
from modelyard.training.imports.pytorch_job import LAUNCHER_ENV, TORCHRUN, processes
from modelyard.training.imports.replicas import Replica, begun, is_launched_by
from modelyard.training.imports.resources import resources
from modelyard.training.imports.source import Object, changed, dropped, empty, inner, listed, mapping, rest
from modelyard.training.imports.surroundings import Surroundings
from modelyard.training.imports.variables import variables

_WAYS = {
    "torch": "torch",
    "deepspeed": "mpi",
    "mlx": "mpi",
    "mpi": "mpi",
    "jax": "jax",
    "xgboost": "xgboost",
    "plain": "plain",
}
"""By the beginning of a runtime's name."""
_TRACKER_ENV = {
    "DMLC_TRACKER_URI": "${roles.node[0].ip}", "DMLC_TRACKER_PORT": "${roles.node[0].port.rabit}",
    "DMLC_TASK_ID": "${self.index}", "DMLC_NUM_WORKER": "${roles.node.count}", "PYTHONUNBUFFERED": "1",
}  # fmt: skip
_STEP = "trainer.kubeflow.org/trainjob-ancestor-step"


class Nodes(msgspec.Struct, kw_only=True):
    """What is run, where it is said, and how often."""

    pod: Pod
    count: int
    nproc: str
    name: str


def convert(job: Object, around: Surroundings) -> Draft:
    """The draft."""
    spec = inner(job.section, "spec")
    reference = inner(spec, "runtimeRef")
    name = reference.word("name")
    runtime = around.objects.get((reference.word("kind", "ClusterTrainingRuntime"), name))
    reference.node_of("apiGroup")
    rest(reference)
    base, policy, way = _runtime(runtime, spec, around)
    way = way or _way_of(reference, name)
    trainer = inner(spec, "trainer")
    count = trainer.integer("numNodes", policy.integer("numNodes", 1, 1, COUNT_MOST), 1, COUNT_MOST)
    nproc = processes(trainer, "numProcPerNode") or processes(inner(policy, way), "numProcPerNode")
    draft = begun(job, "")
    draft.labels |= mapping(spec, "labels")
    draft.suspend = spec.flag("suspend")
    if "activeDeadlineSeconds" in spec:
        draft.limits["active_deadline"] = f"{spec.integer('activeDeadlineSeconds', 1, 1, 366 * 86_400)}s"
    nodes = Nodes(pod=_pod(trainer, base, around), count=count, nproc=nproc, name=job.name)
    _MAKERS[way](draft, nodes)
    rest(policy, quiet=("torch", "mpi", "jax", "xgboost", "plain"))
    rest(trainer)
    rest(spec, {"initializer": "fetch data and models before, or in a role that others wait for",
                "podTemplateOverrides": "write it into the job file", "podSpecOverrides": "write it into the job file",
                "runtimePatches": "write it into the job file", "managedBy": "this yard has one controller",
                "annotations": "labels: {…}"})  # fmt: skip
    return draft


def _way_of(reference: Section, name: str) -> str:
    for beginning, way in _WAYS.items():
        if name.startswith(beginning):
            return way
    message = f"the runtime {shown(name)} is not known: the nodes are told nothing but who they are"
    changed(
        reference, "name", message, "put it into the same text, or choose a framework: yard train frameworks"
    )
    return "plain"


def _runtime(
    runtime: Object | None, nowhere: Section, around: Surroundings
) -> tuple[Pod | None, Section, str]:
    """What a runtime that stands in the text says of its nodes, its policy, and its way."""
    if runtime is None:
        return None, empty(nowhere, "mlPolicy"), ""
    spec = inner(runtime.section, "spec")
    policy = inner(spec, "mlPolicy")
    way = next((name for name in ("torch", "mpi", "jax", "xgboost") if name in policy), "plain")
    jobset, found = inner(inner(spec, "template"), "spec"), None
    for section in listed(jobset, "replicatedJobs", 64):
        template = inner(section, "template")
        step = mapping(inner(template, "metadata"), "labels").get(_STEP, "")
        name = section.word("name")
        if found is None and (step == "trainer" or (not step and name in ("node", "launcher"))):
            pod_template = inner(inner(template, "spec"), "template")
            found = pod(pod_template, around, 1, ("node", "trainer", "launcher"), brings_command=True)
        elif name != "node":
            dropped(section, "name", f"the step {shown(step or name)} of the runtime is left out")
    rest(spec, {"podGroupPolicy": "gang: {wait: 2m}"}, ("template",))
    return found, policy, way


def _pod(trainer: Section, base: Pod | None, around: Surroundings) -> Pod:
    """What the job says, over what its runtime says."""
    env = {**(base.env if base else {}), **variables(trainer, around)}
    argv = command_of(trainer, env, around, brings_command=bool(base and base.argv))
    tell_image(trainer)
    found = Pod(argv=argv or (base.argv if base else []), env=env, container=trainer)
    found.resources = {**(base.resources if base else {}), **resources(trainer, "resourcesPerNode")}
    found.placement = base.placement if base else {}
    return found


def _torch(draft: Draft, nodes: Nodes) -> None:
    draft.framework = "pytorch-ddp"
    said = nodes.pod.said()
    if is_launched_by(nodes.pod.argv, TORCHRUN):
        draft.env = {**LAUNCHER_ENV, "PET_NPROC_PER_NODE": nodes.nproc or "auto"}
    elif nodes.nproc.isdecimal() and int(nodes.nproc) > 1:
        draft.params = {"nproc": int(nodes.nproc)}
    draft.roles = {
        "master": dict(said),
        "worker": {"count": nodes.count - 1, **(said if nodes.count > 1 else {})},
    }


def _mpi(draft: Draft, nodes: Nodes) -> None:
    draft.framework = "mpi"
    slots = int(nodes.nproc) if nodes.nproc.isdecimal() else 1
    section = nodes.pod.container
    worker = Pod(
        env=dict(nodes.pod.env),
        resources=nodes.pod.resources,
        placement=nodes.pod.placement,
        container=section,
    )
    launcher = msgspec.structs.replace(nodes.pod, resources={})
    parts = [
        Replica(count=count, pod=one, section=section, restart_policy="")
        for count, one in ((1, launcher), (nodes.count, worker))
    ]
    mpi_job.fill(draft, parts[0], parts[1], None, slots)


def _jax(draft: Draft, nodes: Nodes) -> None:
    draft.framework = "jax"
    draft.roles = {"process": {"count": nodes.count, **nodes.pod.said()}}


def _plain(draft: Draft, nodes: Nodes) -> None:
    draft.framework = "plain"
    draft.roles = {"worker": {"count": nodes.count, **nodes.pod.said()}}


def _xgboost(draft: Draft, nodes: Nodes) -> None:
    draft.framework = identifier(f"{nodes.name or 'xgboost'}-roles")
    restart: dict[str, Any] = {"when": FAILURES, "scope": "job", "max": 2}
    roles = {"node": role(nodes.count, {"rabit": "auto"}, create={"env": _TRACKER_ENV}, restart=restart)}
    draft.definition = definition(
        draft.framework, "Node 0 starts XGBoost's tracker at DMLC_TRACKER_URI.", roles
    )
    draft.roles = {"node": without_empty({"count": nodes.count, **nodes.pod.said()})}


_MAKERS: dict[str, Callable[[Draft, Nodes], None]] = {
    "torch": _torch, "mpi": _mpi, "jax": _jax, "xgboost": _xgboost, "plain": _plain,
}  # fmt: skip
