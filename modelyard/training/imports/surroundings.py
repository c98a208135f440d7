"""What a source has around its job: maps of values, priorities, and what a cluster would tell an instance. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from modelyard.documents.problems import Reason
from modelyard.training.imports.source import Object, mapping
from modelyard.training.imports.texts import Texts, plain

HELPING = ("ConfigMap", "PriorityClass", "TrainingRuntime", "ClusterTrainingRuntime")
"""Kinds of objects that are looked into where a job names them."""
FIELDS = {
    "metadata.name": "${self.name}", "metadata.uid": "${job.id}", "spec.nodeName": "${self.node}",
    "status.podIP": "${self.ip}", "status.podIPs": "${self.ip}", "status.hostIP": "${self.ip}",
    "status.hostIPs": "${self.ip}",
}  # fmt: skip
"""Fields of an instance's own object that its variables may ask for."""


class Surroundings(msgspec.Struct):
    """Of one job that is imported."""

    namespace: str = "default"
    objects: Mapping[tuple[str, str], Object] = {}
    """Helping ones, by kind and name."""
    texts: Texts = msgspec.field(default_factory=Texts)
    fields: dict[str, str] = msgspec.field(default_factory=lambda: dict(FIELDS))

    def map_of(self, name: str) -> dict[str, str] | None:
        """The values of a ConfigMap of the same text, as templates; None: there is none."""
        found = self.objects.get(("ConfigMap", name))
        if found is None:
            return None
        return {key: plain(value) for key, value in mapping(found.section, "data").items()}

    def priority_of(self, name: str) -> int | None:
        """The value of a PriorityClass of the same text, within the bounds of a job's."""
        found = self.objects.get(("PriorityClass", name))
        if found is None:
            return None
        section = found.section
        value = section.integer("value", 0, -(1 << 40), 1 << 40)
        if abs(value) > 1_000:
            message = f"a priority of {value} is taken as {max(-1_000, min(value, 1_000))}"
            section.wrong("value", Reason.CONVERTED_OTHERWISE, message)
        return max(-1_000, min(value, 1_000))

    def with_texts(self, texts: Texts) -> Surroundings:
        """The same with other names of hosts."""
        return msgspec.structs.replace(self, texts=texts)

    def with_fields(self, fields: Mapping[str, str]) -> Surroundings:
        """The same with further fields of instances."""
        return msgspec.structs.replace(self, fields={**self.fields, **fields})
