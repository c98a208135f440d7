"""JSON Schemas of job files, sweeps and definitions, found out by reading: what is asked for can be said. Pure.

`python -m modelyard.training.schemas.published` writes docs/schemas; a test keeps them in step with the language.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from modelyard.documents.problems import Kind
from modelyard.documents.schemas import SCALAR, Asked, Place, Schema, Writing
from modelyard.documents.yaml_text import read
from modelyard.training.frameworks import catalogue
from modelyard.training.plans.jobfile import Changes, planned
from modelyard.training.reading.policies import CAUSES
from modelyard.training.schemas.samples import FRAMEWORK, JOBS, SWEEPS
from modelyard.training.schemas.words import SWEEP, WORDS
from modelyard.training.sweeps.sections import CHOICES_MOST
from modelyard.training.sweeps.sweepfile import ask_sweep

_ANYTHING = (("env_json", "*"), ("files", "[]", "json"))
"""Ends of paths at which any value may stand."""
_CAUSE = {"enum": list(CAUSES)}
_OF_CAUSES = ("when", "uncounted", "cause")
_REQUIRED = {Kind.JOB: ["kind", "framework"], Kind.FRAMEWORK: ["kind", "id", "roles"]}


def job_schema() -> dict[str, Any]:
    """Of a document with kind: Job."""
    asked = Asked(Kind.JOB, Kind.JOB)
    for text in JOBS:
        planned(read(text, asked), catalogue.find, (), Changes(), asked)
    schema = _root(asked, Kind.JOB, "Job")
    schema["properties"]["framework"] = {"type": "string", "examples": list(catalogue.shipped())}
    return schema


def framework_schema() -> dict[str, Any]:
    """Of a document with kind: Framework."""
    asked = Asked(Kind.FRAMEWORK, Kind.JOB)
    planned(read(FRAMEWORK, asked), catalogue.find, (), Changes(), asked)
    return _root(asked, Kind.FRAMEWORK, "Framework")


def sweep_schema() -> dict[str, Any]:
    """Of a document with kind: Sweep; its job stands in it, or beside it."""
    asked = Asked(Kind.JOB, Kind.JOB)
    for text in SWEEPS:
        ask_sweep(text, asked)

    def words(place: Place) -> str | None:
        return SWEEP.get(".".join(place))

    def special(place: Place) -> Schema | None:
        return _OF_SWEEPS.get(".".join(place))

    whole = Writing(asked, words, special).root("Sweep", ["kind", "space"])
    values = {"type": "array", "items": SCALAR, "minItems": 1}
    space = whole["properties"]["space"]
    space["additionalProperties"] = {"anyOf": [values, _range(asked)]}
    search = whole["properties"]["search"]
    told = search.pop("description")
    whole["properties"]["search"] = {"description": told, "anyOf": [{"const": "grid"}, search]}
    job = job_schema()
    # Any value may be ${sweep.NAME}: what a job's fields take is checked with the values in it.
    whole["properties"]["job"] = {
        "type": "object", "description": "The job of every trial; ${sweep.NAME} is a value of the space.",
        "properties": {name: {"description": one["description"]} if "description" in one else {}
                       for name, one in job["properties"].items()},
        "patternProperties": {"^x-": {}}, "additionalProperties": False, "required": ["framework"],
    }  # fmt: skip
    return whole


def _range(asked: Asked) -> Schema:
    """What a parameter may be, by one word and its bounds."""
    two: Schema = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    fields: dict[str, Schema] = {name: two for name in asked.found["space", "*"] if name not in _NO_RANGES}
    fields |= {"choice": {"type": "array", "items": SCALAR, "minItems": 1}}
    more: dict[str, Schema] = {"step": {"type": "number", "exclusiveMinimum": 0}, "points": _POINTS}
    one_of: list[Schema] = [{"required": [name]} for name in fields]
    return {
        "type": "object",
        "properties": {**fields, **more},
        "additionalProperties": False,
        "oneOf": one_of,
    }


_NO_RANGES = ("choice", "step", "points")
_POINTS: Schema = {"type": "integer", "minimum": 2, "maximum": CHOICES_MOST}
_OF_SWEEPS: dict[str, Schema] = {"metric.mode": {"enum": ["min", "max"]}}


def _root(asked: Asked, kind: Kind, title: str) -> dict[str, Any]:
    def words(place: Place) -> str | None:
        return WORDS.get((kind, ".".join(place))) or WORDS.get((None, place[-1]))

    return Writing(asked, words, _special).root(title, _REQUIRED[kind])


def _special(place: Place) -> Schema | None:
    if any(place[-len(end) :] == end for end in _ANYTHING):
        return {}
    if place[-1] in _OF_CAUSES:
        return {"anyOf": [_CAUSE, {"type": "array", "items": _CAUSE}]}
    return None


SCHEMAS = {
    "training-job.schema.json": job_schema,
    "training-framework.schema.json": framework_schema,
    "training-sweep.schema.json": sweep_schema,
}
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
