"""JSON Schemas of what people write, found out by reading samples: what is asked for can be said. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modelyard.documents.problems import Findings, Kind

Schema = dict[str, Any]
Place = tuple[str, ...]
"""A path; `*` is any name, `[]` any item."""

DRAFT = "https://json-schema.org/draft/2020-12/schema"
SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
_DURATION = {"type": ["string", "number"], "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d)?)+$"}
_SIZE = {"type": ["string", "number"], "pattern": r"^[0-9]+(\.[0-9]+)?\s*[KMGTkmgt]?i?[Bb]?$"}
TEXTS = {
    "anyOf": [{"type": ["string", "number"]}, {"type": "array", "items": {"type": ["string", "number"]}}]
}
_PLAIN: dict[str, Schema] = {
    "true or false": {"type": "boolean"}, "a size such as 512Mi": _SIZE, "a time span such as 90s": _DURATION,
    "texts": TEXTS,
}  # fmt: skip


class Asked(Findings):
    """Takes down who asks for what while a sample of one kind is read."""

    def __init__(self, wanted: Kind, kind: Kind) -> None:
        super().__init__(kind)
        self._wanted = wanted
        self.found: dict[Place, dict[str, Schema]] = {(): {}}
        self.free: set[Place] = set()

    def asked(self, path: str, name: str, kind: str, detail: Any = None) -> None:
        if self.kind is not self._wanted:
            return
        place: Place = ()
        for step in re.findall(r"[^.\[\]]+|\[[0-9]+\]", path):
            place += ("[]",) if step[0] == "[" else ("*" if place in self.free else step,)
        if kind == "free":
            self.free.add(place)
            self.found.setdefault(place, {})
        else:
            name = "*" if place in self.free else name
            self.found.setdefault(place, {}).setdefault(name, {})[kind] = detail


class Writing:
    """The schema of what was asked for.

    `words` tells what a field at a place is; `special` is the schema of a place where reading alone does not say it.
    """

    def __init__(
        self, asked: Asked, words: Callable[[Place], str | None], special: Callable[[Place], Schema | None]
    ) -> None:
        self._asked = asked
        self._words = words
        self._special = special

    def root(self, title: str, required: Sequence[str]) -> Schema:
        """Of a whole document of that kind."""
        schema = self._object(())
        schema["properties"] = {"kind": {"const": title}, **schema["properties"]}
        schema["properties"]["kind"] = {"const": title}
        return {"$schema": DRAFT, "title": title, **schema, "required": list(required)}

    def _object(self, place: Place) -> Schema:
        asked = self._asked
        fields = {
            name: self._field((*place, name), kinds) for name, kinds in asked.found.get(place, {}).items()
        }
        if place in asked.free:
            return {"type": "object", "additionalProperties": fields.get("*", SCALAR)}
        extra: Schema = {"patternProperties": {"^x-": {}}}
        return {"type": "object", "properties": fields, **extra, "additionalProperties": False}

    def _field(self, here: Place, kinds: Mapping[str, Any]) -> Schema:
        special, words = self._special(here), self._words(here)
        if special is not None:
            return {"description": words, **special} if words and special else special
        if "texts" in kinds:
            kinds = {word: detail for word, detail in kinds.items() if word not in ("a list", "a text")}
        found = [self._kind(here, word, detail) for word, detail in kinds.items() if word != "node"]
        unlike = [one for index, one in enumerate(found) if one not in found[:index]]
        schema = {"anyOf": unlike} if len(unlike) > 1 else dict(unlike[0]) if unlike else dict(SCALAR)
        return {"description": words, **schema} if words else schema

    def _kind(self, here: Place, word: str, detail: Any) -> Schema:
        if word == "a mapping":
            return self._object(here)
        if word == "a list":
            inner = (*here, "[]")
            # A condition in words is read as a field of something that is made for it.
            is_object = inner in self._asked.found and "metric" not in here[-1]
            return {"type": "array", "items": self._object(inner) if is_object else SCALAR}
        if word == "a word":
            return {"enum": list(detail)}
        if word in ("an integer", "a number"):
            least, most = detail
            return {"type": word.split()[1], "minimum": least, "maximum": most}
        if word == "a text":
            return {"type": ["string", "number"] if detail else "string"}
        return dict(_PLAIN[word])
