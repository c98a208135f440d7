"""PyTorchJob: ranks of a master and workers, or nodes of an elastic group. Pure."""

from __future__ import annotations

from typing import Any

from modelyard.documents.problems import Reason, shown
from modelyard.documents.section import Section
from modelyard.training.frameworks.framework import COUNT_MOST
from modelyard.training.imports.drafts import Draft
from modelyard.training.imports.replicas import (
    Layout,
    Replica,
    begun,
    is_launched_by,
    replicas,
    run_policy,
)
from modelyard.training.imports.source import Object, changed, inner, rest
from modelyard.training.imports.surroundings import Surroundings
from modelyard.training.rendering.creation import PROCESSES_MOST

FIELD = "pytorchReplicaSpecs"
TORCHRUN = ("torchrun", "torch.distributed.run", "torch.distributed.launch")
LAUNCHER_ENV = {
    "PET_NNODES": "${world.nodes}",
    "PET_NODE_RANK": "${self.rank}",
    "PET_MASTER_ADDR": "${roles.master[0].host}",
    "PET_MASTER_PORT": "${roles.master[0].port.c10d}",
}
"""What torchrun reads, for commands that start it themselves."""


def convert(job: Object, around: Surroundings) -> Draft:
    """The draft; with `elasticPolicy` of the elastic framework."""
    spec = inner(job.section, "spec")
    is_elastic = "elasticPolicy" in spec
    names = {"Master": "node", "Worker": "node"} if is_elastic else {"Master": "master", "Worker": "worker"}
    kinds = inner(spec, FIELD).names()
    has_master = any(kind.lower() == "master" for kind in kinds)
    leader = "" if is_elastic or has_master else "master"
    layout = Layout(field=FIELD, roles=names, container="pytorch", leader=leader)
    found = replicas(job, spec, layout, around)
    nproc = processes(spec, "nprocPerNode")
    draft = begun(job, "torchrun-elastic" if is_elastic else "pytorch-ddp")
    counts = {"node": sum(one.count for one in found.values())} if is_elastic else _counts(found)
    limit = run_policy(spec, draft, around, counts)
    if is_elastic:
        _elastic(spec, draft, found, limit, nproc)
    else:
        _ranks(draft, found, limit, nproc)
    rest(spec)
    return draft


def _counts(found: dict[str, Replica]) -> dict[str, int]:
    """The first worker is rank 0 where there is no master."""
    master, worker = (found[kind].count if kind in found else 0 for kind in ("Master", "Worker"))
    return {"master": 1, "worker": worker - (not master)}


def processes(section: Section, name: str) -> str:
    """How many a node starts: a number, or a word that torchrun knows; empty: not said."""
    word = section.word(name)
    if not word or word in ("auto", "cpu", "gpu"):
        return word
    if not word.isdecimal() or not 1 <= int(word[:9]) <= PROCESSES_MOST:
        section.wrong(name, Reason.BAD_VALUE, f"{shown(word)!r} is no number of processes")
        return ""
    return word


def _ranks(draft: Draft, found: dict[str, Replica], limit: int | None, nproc: str) -> None:
    counts = _counts(found)
    first = found.get("Master") or found.get("Worker")
    if first is None:
        return
    if "Master" in found and first.count != 1:
        first.section.wrong("replicas", Reason.OUT_OF_RANGE, "there is one master")
    parts = {"master": first, "worker": found.get("Worker")}
    for role, part in parts.items():
        if part is not None:
            draft.roles[role] = {**part.role(limit), "count": counts[role]}
    if not counts["worker"] or parts["worker"] is None:
        draft.roles["worker"] = {"count": 0}
    draft.roles["master"].pop("count")
    commands = [word for part in found.values() for word in part.pod.argv]
    if is_launched_by(commands, TORCHRUN):
        draft.env = {**LAUNCHER_ENV, "PET_NPROC_PER_NODE": nproc or "1"}
    elif nproc.isdecimal() and int(nproc) > 1:
        draft.params = {"nproc": int(nproc)}
        spec = first.section
        spec.findings.add(
            Reason.CONVERTED_OTHERWISE, f"{nproc} ranks are started in each instance", spec.at,
            "params: {nproc: 1} where the program starts its ranks itself",
        )  # fmt: skip


def _elastic(spec: Section, draft: Draft, found: dict[str, Replica], limit: int | None, nproc: str) -> None:
    policy = inner(spec, "elasticPolicy")
    parts = [*found.values()]
    if not parts:
        return
    # The workers are what grows and shrinks; a master beside them is one more node.
    part = found.get("Worker") or parts[0]
    more = sum(one.count for one in parts) - part.count
    least = policy.integer("minReplicas", 1, 1, COUNT_MOST) if "minReplicas" in policy else part.count + more
    most = policy.integer("maxReplicas", 1, 1, COUNT_MOST) if "maxReplicas" in policy else part.count + more
    count = max(least, min(part.count + more, most))
    if least > most:
        policy.wrong("minReplicas", Reason.OUT_OF_RANGE, f"{least} is more than maxReplicas")
    role = part.role(limit)
    role["count"] = {"min": least, "default": count, "max": max(count, most)}
    draft.params = _elastic_params(policy, nproc)
    role["argv"], is_own = without_launcher(part.pod.argv)
    if is_own:
        draft.params["own_launcher"] = True
    draft.roles["node"] = role
    if len(parts) > 1 and parts[0].pod.said() != parts[1].pod.said():
        changed(spec, FIELD, "the master is one more node, with the command of the workers")
    rest(policy, {"metrics": "yard train scale changes the count"})


def _elastic_params(policy: Section, nproc: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    word = processes(policy, "nProcPerNode") or nproc
    if word.isdecimal() and int(word) > 1:
        found["nproc"] = int(word)
    elif word and not word.isdecimal():
        changed(policy, "nProcPerNode", f"{word}: one process in each instance", "params: {nproc: 2}")
    if "maxRestarts" in policy:
        found["max_restarts"] = policy.integer("maxRestarts", 100, 0, 100_000)
    for name in ("rdzvHost", "rdzvPort", "rdzvId", "rdzvConf", "standalone"):
        policy.node_of(name)
    if policy.word("rdzvBackend", "c10d").lower() != "c10d":
        changed(policy, "rdzvBackend", "the rendezvous is kept by node 0, with c10d")
    return found


_SET_HERE = ("--nnodes", "--rdzv_backend", "--rdzv_endpoint", "--rdzv_id", "--rdzv_conf", "--nproc_per_node",
             "--master_addr", "--master_port", "--node_rank")  # fmt: skip


def without_launcher(argv: list[str]) -> tuple[list[str], bool]:
    """A command without its torchrun and what the framework says itself; true: it is not at its beginning."""
    words = list(argv)
    if words and words[0].rpartition("/")[2] == "torchrun":
        words = words[1:]
    elif (
        len(words) > 2
        and words[0].rpartition("/")[2].startswith("python")
        and words[1] == "-m"
        and words[2] in TORCHRUN
    ):
        words = words[3:]
    else:
        return argv, True
    kept: list[str] = []
    while words and words[0].startswith("-"):
        word = words.pop(0)
        name = word.partition("=")[0].replace("-", "_").replace("__", "--", 1)
        if name in _SET_HERE:
            if "=" not in word and words:
                words.pop(0)
        else:
            kept.append(word)
            if "=" not in word and words and not words[0].startswith("-") and not words[0].endswith(".py"):
                kept.append(words.pop(0))
    return kept + words, False
