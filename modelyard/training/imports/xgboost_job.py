"""XGBoostJob: the program of the master starts the tracker itself, so the roles are its own. Pure."""

from __future__ import annotations

from modelyard.training.imports.definitions import definition, role
from modelyard.training.imports.drafts import Draft, identifier
from modelyard.training.imports.replicas import Layout, begun, replicas, run_policy
from modelyard.training.imports.source import Object, inner, rest
from modelyard.training.imports.surroundings import Surroundings

LAYOUT = Layout(field="xgbReplicaSpecs", roles={"Master": "master", "Worker": "worker"}, container="xgboost")
ENV = {
    "MASTER_ADDR": "${roles.master[0].host}",
    "MASTER_PORT": "${roles.master[0].port.rabit}",
    "WORLD_SIZE": "${world.size}",
    "RANK": "${proc.rank}",
    "WORKER_ADDRS": "${join(roles.worker.hosts, ',')}",
    "WORKER_PORT": "${roles.worker[0].port.rabit if roles.worker.count else ''}",
    "PYTHONUNBUFFERED": "1",
}


def convert(job: Object, around: Surroundings) -> Draft:
    """The draft, with its definition."""
    spec = inner(job.section, "spec")
    found = replicas(job, spec, LAYOUT, around)
    framework_id = identifier(f"{job.name or 'xgboost'}-roles")
    draft = begun(job, framework_id)
    counts = {LAYOUT.roles[kind]: found[kind].count for kind in LAYOUT.roles if kind in found}
    limit = run_policy(spec, draft, around, counts)
    edge = [{"role": "master", "until": "address", "timeout": "2m"}] if "Worker" in found else []
    whole = {
        "when": ["exit", "signal", "out_of_memory", "node_lost", "preempted", "hang"],
        "scope": "job",
        "max": 2,
    }
    draft.definition = definition(
        framework_id,
        "Rank 0 starts XGBoost's tracker at MASTER_ADDR; ranks as of an XGBoostJob.",
        {name: role(counts.get(name, 0), {"rabit": "auto"}, create={"env": ENV}, restart=whole,
                    depend=edge if name == "worker" else [])
         for name in ("master", "worker")},
        ranks=["master", "worker"],
        succeeded="master", failed="any(master, worker)",
    )  # fmt: skip
    draft.roles = {LAYOUT.roles[kind]: one.role(limit) for kind, one in found.items()}
    rest(spec)
    return draft
