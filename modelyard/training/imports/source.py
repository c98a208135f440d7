"""The objects of a source: documents, lists of them, and what may be told of their fields. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from modelyard.documents.problems import Findings, Position, Reason, shown, suggestion
from modelyard.documents.section import Section
from modelyard.documents.yaml_text import Node, read

Advice = Mapping[str, str]
"""By field that has no equivalent: what to do instead."""
WRITTEN_BY_THE_CLUSTER = ("status", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields",
                          "selfLink", "ownerReferences", "finalizers", "deletionTimestamp")  # fmt: skip
"""What a server adds to an object that is read back from it."""


class Object(msgspec.Struct, frozen=True):
    """One object of a source."""

    kind: str
    group: str
    """Of its API, without the version."""
    name: str
    section: Section
    metadata: Section

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.kind} {self.name}" if self.name else self.kind


def objects(text: str | bytes, findings: Findings) -> list[Object]:
    """All of a text, those of lists too. What cannot be read is noted."""
    found: list[Object] = []
    for node in read(text, findings):
        found += _objects(node, Position("", node.line, node.column), findings)
    return found


def _objects(node: Node, at: Position, findings: Findings) -> list[Object]:
    if node.fields is None:
        return []
    section = Section(node, at, findings)
    kind, version = section.word("kind"), section.word("apiVersion")
    if "items" in section and (not kind or kind.endswith("List")):
        return [one for item, where in section.items("items") for one in _objects(item, where, findings)]
    if not kind:
        section.wrong("kind", Reason.MISSING_FIELD, "it does not say what it is", "apiVersion and kind")
    metadata = section.section("metadata") or empty(section, "metadata")
    name = metadata.word("name") or metadata.word("generateName").rstrip("-")
    return [Object(kind, version.rpartition("/")[0], name, section, metadata)]


def empty(section: Section, name: str) -> Section:
    """A mapping without fields, where there is none."""
    node = Node(section.at.line, section.at.column)
    node.fields = {}
    return Section(node, section.at.inner(name), section.findings)


def inner(section: Section, name: str) -> Section:
    """A mapping within, empty where there is none."""
    return section.section(name) or empty(section, name)


def listed(section: Section, name: str, most: int = 1_000) -> list[Section]:
    """The mappings of a list."""
    return [Section(node, at, section.findings) for node, at in section.items(name, most)]


def text_of(node: Node | None) -> str:
    """A scalar as it was written; of anything else nothing."""
    if node is None or node.scalar is None:
        return ""
    return str(node.scalar).lower() if isinstance(node.scalar, bool) else str(node.scalar)


def mapping(section: Section, name: str) -> dict[str, str]:
    """Texts by name."""
    found = section.section(name)
    return {} if found is None else {key: text_of(found.node_of(key)) for key in found.names()}


def dropped(section: Section, name: str, message: str, next_step: str = "") -> None:
    """Notes that a field is left out."""
    section.node_of(name)
    section.wrong(name, Reason.NOT_CONVERTED, message, next_step)


def changed(section: Section, name: str, message: str, next_step: str = "") -> None:
    """Notes that a field means something else here."""
    section.wrong(name, Reason.CONVERTED_OTHERWISE, message, next_step)


def rest(section: Section, advice: Advice | None = None, quiet: tuple[str, ...] = ()) -> None:
    """Notes every field that nobody asked for; `quiet`: those that have no meaning without a cluster."""
    for name in section.unasked():
        if name in quiet:
            continue
        known = {**(advice or {})}
        if name in known:
            dropped(section, name, f"{name} is left out", known[name])
        else:
            message = f"{shown(name)!r} was not understood, and is left out"
            dropped(section, name, message, suggestion(name, known))
