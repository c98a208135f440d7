"""The JSON Schema of model.yaml, found out by reading a sample, and by the table of operations. Pure.

`python -m modelyard.models.schemas` writes docs/schemas; a test keeps it in step with the language.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from modelyard.documents.problems import Kind
from modelyard.documents.schemas import Asked, Place, Schema, Writing
from modelyard.documents.yaml_text import read
from modelyard.models.reading import STEPS_MOST, declare
from modelyard.models.values import AXES_MOST, DIMENSION_MOST
from modelyard.serving.vocabulary import CODE_DRAWING, OPERATIONS, PRE, VISUALISE, Operation, Option

FILE = "model.schema.json"

SAMPLE = """
kind: Model
name: iris
component:
  format: onnx
  file: model.onnx
  inputs: [{name: x, datatype: FP32, shape: [-1, 4], codec: table, columns: [a], labels: [b], optional: true}]
  outputs: [{name: x, datatype: FP32, shape: [-1, 4], codec: table, columns: [a], labels: [b], optional: true}]
inputs: [{name: x, datatype: FP32, shape: [-1, 4], codec: table, columns: [a], labels: [b], optional: true}]
outputs: [{name: x, datatype: FP32, shape: [-1, 4], codec: table, columns: [a], labels: [b], optional: true}]
pre: [{op: scale}]
post: [{op: softmax}]
visualise: [{op: bar}]
runtime:
  {kind: container, python: "3.11", requirements: [onnxruntime], system: [libgomp1], image: "a", cpu: 1, memory: 1Gi,
   gpu: 0, network: false, threads: 2}
serving:
  {instances: {min: 0, max: 2}, idle_unload: 5m, max_batch: 32, batch_delay: 2ms, queue: 10, deadline: 1s,
   idempotent: true}
"""
"""With every field there is."""

_WORDS = {
    "name": "of the model; in an input or output: of the tensor",
    "component": "the files, and where steps make it differ from inputs and outputs, what these take and give",
    "inputs": "what callers give", "outputs": "what callers get",
    "component.inputs": "what the component itself takes", "component.outputs": "what it gives",
    "datatype": "a type of the Open Inference Protocol", "shape": "sizes of its axes; -1 is any",
    "codec": "what callers may use beside tensors", "columns": "names along the last axis",
    "labels": "what its numbers stand for, from 0", "optional": "callers may leave it out",
    "pre": "steps before the computation", "post": "steps after the computation", "visualise": "what can be drawn",
    "file": "below the component; what is loaded first", "format": "how its files are kept",
    "runtime.kind": "where it is loaded", "python": "of the frame, such as 3.11", "requirements": "of pip",
    "system": "packages of Debian that the machine or the image has to have",
    "image": "of a container; else as the yard maps its runtime", "cpu": "cores", "memory": "of the frame",
    "gpu": "devices", "network": "whether it may reach one", "threads": "calls that are computed at the same time",
    "instances": "loaded frames", "idle_unload": "unused for so long it is unloaded; 0: never",
    "max_batch": "rows that are computed together; 0: none", "batch_delay": "how long a batch waits for more",
    "queue": "calls that may wait", "deadline": "of calls that say none",
    "idempotent": "a call may be computed twice",
}  # fmt: skip
_SHAPE: Schema = {
    "type": "array", "maxItems": AXES_MOST, "items": {"type": "integer", "minimum": -1, "maximum": DIMENSION_MOST},
}  # fmt: skip
_NOTES: Schema = {"patternProperties": {"^x-": {}}, "additionalProperties": False}
_REFERENCE = r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*$"


def model_schema() -> Schema:
    """Of model.yaml; any part of it may be left out."""
    asked = Asked(Kind.MODEL, Kind.MODEL)
    for document in read(SAMPLE, asked):
        declare(document, asked)
    asked.refuse()
    schema = Writing(asked, _words, _special).root("Model", [])
    definitions = {"step": {"oneOf": _steps(PRE)}, "drawing": {"oneOf": _steps(VISUALISE)}}
    return {**schema, "$defs": definitions}


def _words(place: Place) -> str | None:
    return _WORDS.get(".".join(place)) or _WORDS.get(place[-1])


def _special(place: Place) -> Schema | None:
    if len(place) == 1 and place[0] in OPERATIONS:
        kind = "drawing" if place[0] == VISUALISE else "step"
        return {"type": "array", "maxItems": STEPS_MOST, "items": {"$ref": f"#/$defs/{kind}"}}
    if place[-1] == "shape":
        return _SHAPE
    if place == ("runtime", "kind"):
        return {"enum": ["environment", "container"]}
    return None


def _steps(phase: str) -> list[Schema]:
    code: Schema = {
        "type": "string",
        "pattern": _REFERENCE,
        "description": "module:function of the component",
    }
    options = {one.name: _option(one) for one in CODE_DRAWING} if phase == VISUALISE else {}
    own: Schema = {
        "type": "object",
        "properties": {"code": code, **options},
        "required": ["code"],
        "not": {"required": ["op"]},
    }
    return [_operation(one) for one in OPERATIONS[phase].values()] + [own]


def _operation(operation: Operation) -> Schema:
    fields = {one.name: _option(one) for one in operation.options}
    required = ["op", *(one.name for one in operation.options if one.is_required)]
    name: Schema = {"const": operation.name, "description": operation.what}
    return {"type": "object", "properties": {"op": name, **fields}, "required": required, **_NOTES}


def _option(option: Option) -> Schema:
    words = {"description": option.what} if option.what else {}
    default = {"default": option.default} if option.default not in (None, "", ()) else {}
    return {**words, **_value(option), **default}


def _value(option: Option) -> Schema:
    number = {"minimum": option.least, "maximum": option.most} if option.most < 1e300 else {}
    integer: Schema = {"type": "integer", **number}
    real: Schema = {"type": "number", **number}
    text: Schema = {"type": "string"}
    sizes = {"minItems": option.length, "maxItems": option.length} if option.length else {}
    least = {"minItems": 1} if option.is_required and not sizes else {}
    kinds: dict[str, Schema] = {
        "flag": {"type": "boolean"}, "integer": integer, "number": real, "text": text, "name": text,
        "word": {"enum": list(option.words)},
        "texts": {"type": "array", "items": {"type": ["string", "number"]}, **least},
        "names": {"anyOf": [text, {"type": "array", "items": text, **least}]},
        "integers": {"type": "array", "items": integer, **sizes, **least},
        "numbers": {"anyOf": [real, {"type": "array", "items": real, **sizes}]},
        "columns": {
            "anyOf": [
                {"type": ["string", "integer"]},
                {"type": "array", "items": {"type": ["string", "integer"]}, **least},
            ]
        },
    }  # fmt: skip
    return kinds[option.kind]


def text_of() -> str:
    """What the file has to hold."""
    return json.dumps(model_schema(), indent=2, ensure_ascii=False) + "\n"


def main(folder: Path) -> int:
    """Writes the file."""
    (folder / FILE).write_text(text_of())
    return 0


def table_of_steps() -> str:
    """What docs/models.md has of the operations."""
    lines: list[str] = []
    for phases, operations in ((PRE, OPERATIONS[PRE]), (VISUALISE, OPERATIONS[VISUALISE])):
        lines += [f"| {'op' if phases == PRE else 'drawing'} | does | options |", "|---|---|---|"]
        for one in operations.values():
            options = ", ".join(
                _in_words(option) for option in one.options if option.name not in ("on", "name")
            )
            lines.append(f"| `{one.name}` | {one.what} | {options} |")
        lines.append("")
    return "\n".join(lines)


def _in_words(option: Option) -> str:
    default: Any = option.default
    if option.is_required:
        return f"**{option.name}**"
    if default == option.name:
        return option.name
    return (
        f"{option.name}={default:g}"
        if isinstance(default, float)
        else (option.name if default in (None, "", ()) else f"{option.name}={default}")
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schemas")))
