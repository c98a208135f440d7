"""JSON Schemas of job files and definitions, found out by reading: what is asked for can be said. Pure.

`python -m modelyard.training.schemas` writes docs/schemas; a test keeps them in step with the language.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from modelyard.documents.problems import Findings, Kind
from modelyard.documents.yaml_text import read
from modelyard.training import catalogue, schema_words
from modelyard.training.jobfile import Changes, planned
from modelyard.training.policies import CAUSES
from modelyard.training.schema_samples import FRAMEWORK, JOBS

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
_DURATION = {"type": ["string", "number"], "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d)?)+$"}
_SIZE = {"type": ["string", "number"], "pattern": r"^[0-9]+(\.[0-9]+)?\s*[KMGTkmgt]?i?[Bb]?$"}
_TEXTS = {
    "anyOf": [{"type": ["string", "number"]}, {"type": "array", "items": {"type": ["string", "number"]}}]
}
_PLAIN: dict[str, dict[str, Any]] = {
    "true or false": {"type": "boolean"}, "a size such as 512Mi": _SIZE, "a time span such as 90s": _DURATION,
    "texts": _TEXTS,
}  # fmt: skip
_ANYTHING = (("env_json", "*"), ("files", "[]", "json"))
"""Ends of paths at which any value may stand."""
_CAUSE = {"enum": list(CAUSES)}
_OF_CAUSES = ("when", "uncounted", "cause")
_REQUIRED = {Kind.JOB: ["kind", "framework"], Kind.FRAMEWORK: ["kind", "id", "roles"]}

Place = tuple[str, ...]
"""A path; `*` is any name, `[]` any item."""


class _Asked(Findings):
    """Takes down who asks for what."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(Kind.JOB)
        self._wanted = kind
        self.found: dict[Place, dict[str, dict[str, Any]]] = {(): {}}
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


def job_schema() -> dict[str, Any]:
    """Of a document with kind: Job."""
    asked = _Asked(Kind.JOB)
    for text in JOBS:
        planned(read(text, asked), catalogue.find, (), Changes(), asked)
    schema = _root(asked, Kind.JOB, "Job")
    schema["properties"]["framework"] = {"type": "string", "examples": list(catalogue.shipped())}
    return schema


def framework_schema() -> dict[str, Any]:
    """Of a document with kind: Framework."""
    asked = _Asked(Kind.FRAMEWORK)
    planned(read(FRAMEWORK, asked), catalogue.find, (), Changes(), asked)
    return _root(asked, Kind.FRAMEWORK, "Framework")


def _root(asked: _Asked, kind: Kind, title: str) -> dict[str, Any]:
    schema = _object(asked, (), kind)
    schema["properties"] = {"kind": {"const": title}, **schema["properties"]}
    schema["properties"]["kind"] = {"const": title}
    return {"$schema": _DRAFT, "title": title, **schema, "required": _REQUIRED[kind]}


def _object(asked: _Asked, place: Place, kind: Kind) -> dict[str, Any]:
    fields = {
        name: _field(asked, place, name, kinds, kind) for name, kinds in asked.found.get(place, {}).items()
    }
    if place in asked.free:
        return {"type": "object", "additionalProperties": fields.get("*", _SCALAR)}
    extra: dict[str, Any] = {"patternProperties": {"^x-": {}}}
    return {"type": "object", "properties": fields, **extra, "additionalProperties": False}


def _field(asked: _Asked, place: Place, name: str, kinds: dict[str, Any], kind: Kind) -> dict[str, Any]:
    here = (*place, name)
    if any(here[-len(end) :] == end for end in _ANYTHING):
        return {}
    if "texts" in kinds:
        kinds = {word: detail for word, detail in kinds.items() if word not in ("a list", "a text")}
    found = [_kind(asked, here, word, detail, kind) for word, detail in kinds.items() if word != "node"]
    if name in _OF_CAUSES:
        found = [_CAUSE, {"type": "array", "items": _CAUSE}]
    unlike = [one for index, one in enumerate(found) if one not in found[:index]]
    schema = {"anyOf": unlike} if len(unlike) > 1 else dict(unlike[0]) if unlike else dict(_SCALAR)
    words = schema_words.WORDS.get((kind, ".".join(here))) or schema_words.WORDS.get((None, name))
    return {"description": words, **schema} if words else schema


def _kind(asked: _Asked, here: Place, word: str, detail: Any, kind: Kind) -> dict[str, Any]:
    if word == "a mapping":
        return _object(asked, here, kind)
    if word == "a list":
        inner = (*here, "[]")
        # A condition in words, which is read as a field of something that is made for it.
        is_object = inner in asked.found and "metric" not in here[-1]
        return {"type": "array", "items": _object(asked, inner, kind) if is_object else _SCALAR}
    if word == "a word":
        return {"enum": list(detail)}
    if word in ("an integer", "a number"):
        least, most = detail
        return {"type": word.split()[1], "minimum": least, "maximum": most}
    if word == "a text":
        return {"type": ["string", "number"] if detail else "string"}
    return dict(_PLAIN[word])


SCHEMAS = {"training-job.schema.json": job_schema, "training-framework.schema.json": framework_schema}
"""By file name."""


def text_of(name: str) -> str:
    """What the file has to hold."""
    return json.dumps(SCHEMAS[name](), indent=2, ensure_ascii=False) + "\n"


def main(folder: Path) -> int:
    """Writes the files."""
    for name in SCHEMAS:
        (folder / name).write_text(text_of(name))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schemas")))
