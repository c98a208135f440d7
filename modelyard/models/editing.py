"""Single fields of a model.yaml changed by their paths: inputs[x].shape, serving.instances.min. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

_NAMED = re.compile(r"(inputs|outputs)\[(.+)\]")


class FieldUnknown(ValueError):
    """A change that names no field, or is none."""


def changed(document: str, changes: Iterable[str]) -> str:
    """The document with each FIELD=VALUE, the value written as YAML. What else it says stays. Raises FieldUnknown."""
    try:
        content = yaml.safe_load(document) or {}
    except yaml.YAMLError as error:
        raise FieldUnknown(f"the present model.yaml is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise FieldUnknown("the present model.yaml is no map")
    for change in changes:
        path, value = _parted(change)
        _set(content, path, value)
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return text


def _parted(change: str) -> tuple[list[str], Any]:
    # A name in brackets may hold whatever a tensor is called.
    match = re.match(r"(?P<path>(?:[^=\[]|\[[^\]]*\])+)=(?P<value>.*)", change, re.DOTALL)
    if match is None:
        raise FieldUnknown(f"{change[:80]!r} is no FIELD=VALUE")
    try:
        value = yaml.safe_load(match["value"])
    except yaml.YAMLError as error:
        raise FieldUnknown(f"{change[:80]!r}: the value is no YAML") from error
    parts = re.findall(r"(?:[^.\[]|\[[^\]]*\])+", match["path"])
    if not parts:
        raise FieldUnknown(f"{change[:80]!r} names no field")
    return parts, value


def _set(content: dict[str, Any], path: list[str], value: Any) -> None:
    here: Any = content
    for part in path[:-1]:
        here = _inner(here, part)
    if _NAMED.fullmatch(path[-1]):
        raise FieldUnknown(f"{'.'.join(path)}: say which of its fields, for example {path[-1]}.shape")
    here[path[-1]] = value


def _inner(here: dict[str, Any], part: str) -> dict[str, Any]:
    match = _NAMED.fullmatch(part)
    if match is None:
        inner = here.get(part)
        if not isinstance(inner, dict):
            inner = here[part] = {}
        return inner
    side, name = match.groups()
    items = here.get(side)
    if not isinstance(items, list):
        items = here[side] = []
    for item in items:
        if isinstance(item, dict) and item.get("name") == name:
            return item
    items.append({"name": name})
    found: dict[str, Any] = items[-1]
    return found
