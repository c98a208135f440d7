"""JAXJob: equal processes, the first of which coordinates. Pure."""

from __future__ import annotations

from modelyard.training.imports.drafts import Draft
from modelyard.training.imports.replicas import Layout, begun, replicas, run_policy
from modelyard.training.imports.source import Object, inner, rest
from modelyard.training.imports.surroundings import Surroundings

LAYOUT = Layout(field="jaxReplicaSpecs", roles={"Worker": "process"}, container="jax")
VARIABLES = {
    "COORDINATOR_ADDRESS": "${roles.process[0].host}",
    "COORDINATOR_PORT": "${roles.process[0].port.coordinator}",
    "NUM_PROCESSES": "${role.count}",
    "PROCESS_ID": "${self.index}",
}
"""As that operator calls them, beside those of the framework."""


def convert(job: Object, around: Surroundings) -> Draft:
    """The draft."""
    spec = inner(job.section, "spec")
    found = replicas(job, spec, LAYOUT, around)
    draft = begun(job, "jax")
    counts = {LAYOUT.roles[kind]: one.count for kind, one in found.items()}
    limit = run_policy(spec, draft, around, counts)
    draft.env = dict(VARIABLES)
    draft.roles = {LAYOUT.roles[kind]: one.role(limit) for kind, one in found.items()}
    rest(spec)
    return draft
