"""PaddleJob: equal trainers, or a master with workers. Pure."""

from __future__ import annotations

from typing import Any

from modelyard.training.imports.definitions import definition, role
from modelyard.training.imports.drafts import Draft, identifier
from modelyard.training.imports.failures import FAILURES
from modelyard.training.imports.replicas import Layout, begun, replicas, run_policy
from modelyard.training.imports.source import Object, dropped, inner, rest
from modelyard.training.imports.surroundings import Surroundings

FIELD = "paddleReplicaSpecs"
ENV = {
    "PADDLE_JOB_ID": "${job.id}",
    "PADDLE_NNODES": "${world.nodes}",
    "PADDLE_MASTER": "${roles.master[0].addr.master}",
    "PYTHONUNBUFFERED": "1",
}


def convert(job: Object, around: Surroundings) -> Draft:
    """The draft, with a definition where there is a master."""
    spec = inner(job.section, "spec")
    has_master = "Master" in inner(spec, FIELD).names()
    names = {"Master": "master", "Worker": "worker"} if has_master else {"Worker": "trainer"}
    found = replicas(job, spec, Layout(field=FIELD, roles=names, container="paddle"), around)
    framework_id = identifier(f"{job.name or 'paddle'}-roles") if has_master else "paddle"
    draft = begun(job, framework_id)
    counts = {names[kind]: found[kind].count for kind in names if kind in found}
    limit = run_policy(spec, draft, around, counts)
    if "elasticPolicy" in spec:
        dropped(
            spec, "elasticPolicy", "the number of trainers stays as it is", "scale a job that is suspended"
        )
    if has_master:
        draft.definition = _with_master(framework_id, counts)
    draft.roles = {names[kind]: one.role(limit) for kind, one in found.items()}
    rest(spec)
    return draft


def _with_master(framework_id: str, counts: dict[str, int]) -> dict[str, Any]:
    restart = {"when": FAILURES, "scope": "job", "max": 3}
    numbers = {"master": "PADDLE_SERVER_NUM", "worker": "PADDLE_TRAINER_NUM"}
    roles = {
        name: role(
            counts.get(name, 0),
            {"master": "auto"},
            create={"env": {**ENV, numbers[name]: "1"}},
            restart=restart,
        )
        for name in numbers
    }
    summary = "Nodes of paddle's launcher; rendezvous at the master. As of a PaddleJob."
    return definition(
        framework_id, summary, roles, ranks=["master", "worker"], succeeded="all(master, worker)",
        failed="any(master, worker)",
    )  # fmt: skip
