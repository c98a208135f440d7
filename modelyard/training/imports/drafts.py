"""A job file in the making: what every source says somewhere, and how it is written. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from keyword import iskeyword
from typing import Any

import msgspec
import yaml

from modelyard.documents.yaml_text import scalar_of

_PLAIN = re.compile(r"[A-Za-z0-9_./-][A-Za-z0-9_./=@%+-]*")


class Draft(msgspec.Struct, kw_only=True):
    """The fields of a job file in their order, and the definition that stands before it, if it needs one."""

    framework: str
    name: str = ""
    queue: str = ""
    priority: int = 0
    labels: dict[str, str] = {}
    params: dict[str, Any] = {}
    env: dict[str, str] = {}
    gang: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    suspend: bool = False
    roles: dict[str, dict[str, Any]] = {}
    job_status: dict[str, str] = {}
    definition: dict[str, Any] | None = None

    def job(self) -> dict[str, Any]:
        """Without what is not said."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "definition"}
        return {"kind": "Job", **{name: value for name, value in fields.items() if value}}

    def text(self, title: str) -> str:
        """The whole text, beginning with a line that says where it is from."""
        documents = [*([self.definition] if self.definition else []), self.job()]
        written = [yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)
                   for document in documents]  # fmt: skip
        head = "".join(char if char.isprintable() else " " for char in title)
        return f"# {head}\n" + "---\n".join(written)


class _Dumper(yaml.SafeDumper):
    """Texts come back as the texts that they are, also where YAML 1.2 would read a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"'
    if "\n" in text and text.isprintable() is False and all(line.isprintable() for line in text.split("\n")):
        style = "|"
    elif _PLAIN.fullmatch(text) and isinstance(scalar_of(text), str):
        style = ""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=_is_short(items))


def _mapping(dumper: yaml.SafeDumper, fields: dict[str, Any]) -> yaml.Node:
    return dumper.represent_mapping(
        "tag:yaml.org,2002:map", fields, flow_style=_is_short([*fields, *fields.values()])
    )


def _is_short(values: list[Any]) -> bool:
    """Whether they go into one line."""
    if any(isinstance(value, dict) or (isinstance(value, list) and not _is_short(value)) for value in values):
        return False
    words = [str(value) for value in values]
    return sum(map(len, words)) + 4 * len(words) < 70 and not any("\n" in word for word in words)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)
_Dumper.add_representer(dict, _mapping)


def identifier(text: str, otherwise: str = "") -> str:
    """An id of the language: small letters, digits and -."""
    found = re.sub(r"[^a-z0-9]+", "-", text.lower())[:63].strip("-")
    return found or otherwise


def role_names(names: list[str]) -> dict[str, str]:
    """Names of the language for those of a source, none twice."""
    found: dict[str, str] = {}
    for name in names:
        word = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:36].strip("_")
        word = word if re.match(r"[a-z]", word) else f"r{word}"
        word = f"{word}_role" if iskeyword(word) else word
        known, base, number = set(found.values()), word, 2
        while word in known:
            word, number = f"{base}_{number}", number + 1
        found[name] = word
    return found


def without_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Only what is said; zero and false are."""
    return {name: value for name, value in fields.items() if value not in ("", None, {}, [])}
