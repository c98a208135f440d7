"""The JSON Schema of model.yaml: in step with the language, and of use to an editor (S2.3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from modelyard.documents.problems import Findings, Refused
from modelyard.documents.yaml_text import read
from modelyard.models import Format, Inspection, determine, read_config, write_config
from modelyard.models.schemas import FILE, SAMPLE, model_schema, table_of_steps, text_of
from modelyard.serving.vocabulary import DRAWINGS, STEPS

ROOT = Path(__file__).parents[3]
CHECKER = jsonschema.Draft202012Validator(model_schema())
RIGHT = [
    SAMPLE, "{}", "{name: x, x-note: [anything]}",
    "pre: [{op: resize, size: [2, 3], fit: contain}, {code: 'a.b:c', deep: {n: 1}}]",
    "pre: [{op: normalize, mean: 1, std: [2]}]",
    "post: [{op: top_k, k: 3, labels: [a, 1]}, {op: select, columns: [0, b]}, {op: drop, on: [a]}]",
    "visualise: [{op: bar, name: a, as: image/svg+xml}, {code: 'a:b', as: image/png, n: 1}]",
]  # fmt: skip


def wrong(text: str) -> list[str]:
    [node] = read(text, Findings())
    return [error.message for error in CHECKER.iter_errors(node.plain())]


def test_published_schema_is_that_of_the_language() -> None:
    published = (ROOT / "docs" / "schemas" / FILE).read_text()
    assert published == text_of(), "run: python -m modelyard.models.schemas"
    jsonschema.Draft202012Validator.check_schema(json.loads(published))


@pytest.mark.parametrize("text", RIGHT)
def test_what_the_language_takes_is_right_by_the_schema(text: str) -> None:
    read_config(text)
    assert wrong(text) == []


def test_what_is_written_is_right_by_the_schema() -> None:
    inspection = Inspection(format=Format.ONNX, file="m.onnx")
    inspection.tensor("inputs", "x", "FP32", (-1, 3, 32, 32), "graph")
    inspection.tensor("outputs", "y", "FP32", (-1, 2), "graph")
    said = "pre: [{op: layout, from: hwc, into: chw}]\npost: [{op: softmax}]\nvisualise: [{op: bar}]"
    found = determine(read_config(said), inspection, name="m", size_bytes=1)
    assert found.config is not None
    assert wrong(write_config(found.config, found.facts)) == []


@pytest.mark.parametrize(
    "text",
    [
        "nmae: x", "runtime: {kind: vm}", "inputs: [{shape: [-2]}]", "inputs: [{datatype: FLOAT}]",
        "serving: {queue: -1}",
        "pre: [{op: resise}]", "pre: [{op: resize}]", "pre: [{op: resize, size: [1]}]", "pre: [{op: bar}]",
        "pre: [{op: scale, factor: big}]", "pre: [{op: scale, faktor: 1}]", "pre: [{op: scale, code: 'a:b'}]",
        "post: [{code: nothing}]", "visualise: [{op: bar, as: image/gif}]", "pre: [{op: cast, datatype: float}]",
    ],
)  # fmt: skip
def test_what_the_language_refuses_is_wrong_by_the_schema(text: str) -> None:
    with pytest.raises(Refused):
        read_config(text)
    assert wrong(text)


def test_every_operation_is_in_the_schema_and_in_the_documents() -> None:
    schema: dict[str, Any] = model_schema()["$defs"]
    for kind, operations in (("step", STEPS), ("drawing", DRAWINGS)):
        names = {one["properties"].get("op", {}).get("const") for one in schema[kind]["oneOf"]}
        assert names - {None} == {one.name for one in operations}
    documents = (ROOT / "docs" / "models.md").read_text()
    for table in table_of_steps().strip().split("\n\n"):
        assert table in documents, "docs/models.md has the tables of modelyard.models.schemas.table_of_steps"
