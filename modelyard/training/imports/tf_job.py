"""TFJob: chief, workers, parameter servers and an evaluator, all told by TF_CONFIG. Pure."""

from __future__ import annotations

from typing import Any

from modelyard.documents.problems import Reason, shown
from modelyard.documents.section import Section
from modelyard.training.imports.definitions import definition, role
from modelyard.training.imports.drafts import Draft, identifier
from modelyard.training.imports.failures import FAILURES
from modelyard.training.imports.replicas import Layout, Replica, begun, replicas, run_policy
from modelyard.training.imports.source import Object, changed, dropped, inner, rest
from modelyard.training.imports.surroundings import Surroundings

LAYOUT = Layout(
    field="tfReplicaSpecs",
    roles={"Chief": "chief", "Master": "chief", "PS": "ps", "Worker": "worker", "Evaluator": "evaluator"},
    container="tensorflow",
)


def convert(job: Object, around: Surroundings) -> Draft:
    """The draft; of a shipped framework where its roles are there, else with a definition."""
    spec = inner(job.section, "spec")
    found = replicas(job, spec, LAYOUT, around)
    parts = {LAYOUT.roles[kind]: one for kind, one in found.items()}
    if "Master" in found:
        changed(spec, LAYOUT.field, "the master is called chief in TF_CONFIG")
    if "chief" in parts and parts["chief"].count > 1:
        parts["chief"].section.wrong("replicas", Reason.OUT_OF_RANGE, "there is one chief")
    framework_id = _framework(parts) or identifier(f"{job.name or 'tensorflow'}-roles")
    draft = begun(job, framework_id)
    counts: dict[str, int] = {
        name: parts[name].count for name in ("chief", "ps", "worker", "evaluator") if name in parts
    }
    limit = run_policy(spec, draft, around, counts)
    if not _framework(parts):
        draft.definition = _definition(framework_id, counts)
    draft.roles = {name: parts[name].role(limit) for name in counts}
    if framework_id == "tensorflow-ps":
        draft.roles["chief"].pop("count")
    _success(spec, draft, parts, framework_id)
    if "enableDynamicWorker" in spec:
        dropped(spec, "enableDynamicWorker", "everybody is told of all others from the beginning")
    rest(spec)
    return draft


def _framework(parts: dict[str, Replica]) -> str:
    """A shipped one with these roles; empty: none."""
    if "worker" in parts and not {"ps", "evaluator"} & set(parts):
        return "tensorflow-multiworker"
    return "tensorflow-ps" if {"ps", "worker", "chief"} <= set(parts) else ""


def _definition(framework_id: str, counts: dict[str, int]) -> dict[str, Any]:
    cluster = {name: f"${{roles.{name}.addr.rpc}}" for name in counts if name != "evaluator"}
    roles = {}
    for name, count in counts.items():
        task = {"type": name, "index": "${self.index}"}
        config: dict[str, Any] = {"task": task} if name == "evaluator" else {"cluster": cluster, "task": task}
        roles[name] = role(
            count, {} if name == "evaluator" else {"rpc": "auto"},
            create={"env": {"PYTHONUNBUFFERED": "1"}, "env_json": {"TF_CONFIG": config}},
            restart={"when": FAILURES, "scope": "job", "max": 3},
            status={"endless": True} if name in ("ps", "evaluator") else {},
        )  # fmt: skip
    summary = "Roles of a TFJob; each is told of all by TF_CONFIG."
    failing = [name for name in counts if name != "evaluator"]
    return definition(framework_id, summary, roles, failed=f"any({', '.join(failing)})" if failing else "")


def _success(spec: Section, draft: Draft, parts: dict[str, Replica], framework_id: str) -> None:
    """Who decides: the chief, else worker 0; with AllWorkers all workers."""
    word = spec.word("successPolicy")
    if word not in ("", "Default", "AllWorkers"):
        spec.wrong(
            "successPolicy", Reason.BAD_VALUE, f"{shown(word)!r} is no policy", "AllWorkers, or leave it out"
        )
    if word == "AllWorkers":
        if framework_id == "tensorflow-ps":
            message = "the chief decides: workers of parameter servers never end by themselves"
            dropped(spec, "successPolicy", message)
        elif "worker" in parts:
            draft.job_status = {"succeeded": "all(chief, worker)" if "chief" in parts else "worker"}
        return
    if "chief" in parts:
        draft.job_status = {"succeeded": "chief"}
    elif "worker" in parts:
        draft.job_status = {"succeeded": "worker"}
        if parts["worker"].count > 1:
            draft.roles["worker"]["status"] = {"succeeded": "first"}
