"""The JSON Schemas of job files and definitions: in step with the language, and of use to an editor."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from modelyard.documents.problems import Findings
from modelyard.documents.yaml_text import read
from modelyard.training import problems_of
from modelyard.training.frameworks import catalogue
from modelyard.training.schemas.published import SCHEMAS, framework_schema, job_schema, sweep_schema, text_of
from modelyard.training.schemas.samples import FRAMEWORK, JOBS, SWEEPS
from modelyard.training.sweeps.sweepfile import problems_of as sweep_problems

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden"
SOURCES = [
    *GOLDEN.glob("training/*.job.yaml"), *GOLDEN.glob("imports/*.job.yaml"),
    *(ROOT / "modelyard" / "training" / "shipped").glob("*.yaml"),
]  # fmt: skip
BY_KIND = {"Job": job_schema(), "Framework": framework_schema(), "Sweep": sweep_schema()}


def documents(text: str) -> list[Any]:
    """As the language reads them: merged, and `on` is a text."""
    return [node.plain() for node in read(text, Findings())]


def wrong(document: dict[str, Any]) -> list[str]:
    checker = jsonschema.Draft202012Validator(BY_KIND[document["kind"]])
    return [error.message for error in checker.iter_errors(document)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_published_schema_is_that_of_the_language(name: str) -> None:
    published = (ROOT / "docs" / "schemas" / name).read_text()
    assert published == text_of(name), "run: python -m modelyard.training.schemas.published"
    jsonschema.Draft202012Validator.check_schema(json.loads(published))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_right_files_are_right_by_their_schema(source: Path) -> None:
    for document in documents(source.read_text()):
        assert wrong(document) == []


@pytest.mark.parametrize("text", [FRAMEWORK, *JOBS])
def test_sample_by_which_the_language_is_asked_is_right(text: str) -> None:
    assert not problems_of(text, catalogue.find)
    for document in documents(text):
        assert wrong(document) == []


@pytest.mark.parametrize("text", SWEEPS)
def test_sample_of_a_sweep_is_right(text: str) -> None:
    assert not sweep_problems(text, catalogue.find)
    assert [wrong(document) for document in documents(text)] == [[]]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{kind: Job, framework: plain, argvv: [x]}", "argvv"),
        ("{kind: Job}", "framework"),
        ("{kind: Job, framework: plain, priority: high}", "high"),
        ("{kind: Job, framework: plain, roles: {worker: {count: -1}}}", "-1"),
        ("{kind: Job, framework: plain, roles: {worker: {restart: {when: [exits]}}}}", "exits"),
        ("{kind: Job, framework: plain, roles: {worker: {depend: [{role: a, until: soon}]}}}", "soon"),
        ("{kind: Job, framework: plain, limits: {active_deadline: soon}}", "soon"),
        ("{kind: Framework, id: a, roles: {a: {functions: {creat: {}}}}}", "creat"),
        ("{kind: Sweep, space: {a: [1]}, serach: grid}", "serach"),
        ("{kind: Sweep, space: {a: {unifrom: [0, 1]}}}", "unifrom"),
        ("{kind: Sweep, space: {a: {uniform: [0]}}}", "[0]"),
        ("{kind: Sweep, space: {a: [1]}, metric: {name: loss, mode: least}}", "least"),
        ("{kind: Sweep, space: {a: [1]}, job: {framework: plain, argvv: [x]}}", "argvv"),
    ],
)
def test_wrong_file_is_wrong_by_its_schema(text: str, part: str) -> None:
    found = wrong(documents(text)[0])
    assert any(part in message for message in found), found


def test_schemas_are_shipped_with_the_definitions() -> None:
    names = {
        entry.name.removesuffix(".yaml") for entry in (files("modelyard.training") / "shipped").iterdir()
    }
    assert set(BY_KIND["Job"]["properties"]["framework"]["examples"]) == names
