"""Variables of a container: values, references, and what the cluster would fill in. Pure."""

from __future__ import annotations

from modelyard.documents.problems import Reason, shown
from modelyard.documents.section import VARIABLE, Section
from modelyard.training.imports.source import changed, dropped, inner, listed, rest, text_of
from modelyard.training.imports.surroundings import Surroundings

_RESOURCES = {"cpu": "${self.cpus}", "memory": "${self.memory}", "nvidia.com/gpu": "${self.gpus}"}
_SECRET = "set it in roles.<role>.env of a file that only you can read, or read a file in the program"


def variables(container: Section, around: Surroundings) -> dict[str, str]:
    """Templates by name, in their order; later ones win, as there."""
    found: dict[str, str] = {}
    for section in listed(container, "envFrom"):
        found |= _of_map(section, around)
    for section in listed(container, "env"):
        name = section.word("name")
        if not name:
            section.wrong("name", Reason.MISSING_FIELD, "a variable has a name")
        elif not VARIABLE.fullmatch(name):
            dropped(
                section, "name", f"{shown(name)!r} is no name of a variable here", "letters, digits and _"
            )
        elif (value := _value(section, found, around)) is not None:
            found[name] = value
        rest(section)
    return found


def _of_map(section: Section, around: Surroundings) -> dict[str, str]:
    prefix = section.word("prefix")
    if "secretRef" in section:
        dropped(section, "secretRef", "secrets are not taken over", _SECRET)
    reference = inner(section, "configMapRef")
    name = reference.word("name")
    values = around.map_of(name)
    if name and values is None:
        message = f"the ConfigMap {shown(name)} is not in this text, so its values are missing"
        dropped(section, "configMapRef", message, "put it into the text, or write the values under env")
    found = {f"{prefix}{key}": value for key, value in (values or {}).items()}
    around.texts.spend(sum(len(key) + len(value) for key, value in found.items()))
    return {key: value for key, value in found.items() if VARIABLE.fullmatch(key)}


def _value(section: Section, before: dict[str, str], around: Surroundings) -> str | None:
    if "valueFrom" in section:
        return _referred(inner(section, "valueFrom"), around)
    node = section.node_of("value")
    if node is not None and (node.fields is not None or node.items is not None):
        section.wrong("value", Reason.WRONG_TYPE, f"it is {node.kind}, and should be a text")
        return None
    return around.texts.convert(text_of(node), before)


def _referred(section: Section, around: Surroundings) -> str | None:
    """None: it is left out, and that is told."""
    if "fieldRef" in section:
        return _field(inner(section, "fieldRef"), around)
    if "resourceFieldRef" in section:
        return _resource(inner(section, "resourceFieldRef"))
    if "configMapKeyRef" in section:
        reference = inner(section, "configMapKeyRef")
        name, key = reference.word("name"), reference.word("key")
        value = (around.map_of(name) or {}).get(key)
        if value is None:
            message = f"the ConfigMap {shown(name)} with {shown(key)!r} is not in this text"
            dropped(section, "configMapKeyRef", message, "put it into the text, or write the value under env")
        return value
    if "secretKeyRef" in section:
        dropped(section, "secretKeyRef", "secrets are not taken over", _SECRET)
    rest(section)
    return None


def _field(reference: Section, around: Surroundings) -> str | None:
    path = reference.word("fieldPath").replace('"', "'")
    if path == "metadata.namespace":
        return around.namespace
    found = around.fields.get(path)
    if found is None:
        message = f"{shown(path)} has no equivalent"
        dropped(reference, "fieldPath", message, "an instance has YARD_JOB, YARD_ROLE and YARD_INDEX")
    return found


def _resource(reference: Section) -> str | None:
    word = reference.word("resource")
    found = _RESOURCES.get(word.partition(".")[2])
    if found is None:
        dropped(reference, "resource", f"{shown(word)} has no equivalent")
    elif reference.word("divisor", "0") not in ("0", "1"):
        changed(reference, "divisor", "it is given whole, without a divisor")
    return found
