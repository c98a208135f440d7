"""The JSON Schemas of both data structures (S1.1), made from what the service itself reads and writes.

`python -m services.graph.convert.schemas` writes docs/schemas; a test keeps them in step.
"""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from modelyard.v1 import canvas_pb2, task_pb2
from services.graph.canvases.canvas import Canvas
from services.graph.canvases.document import FORMAT

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_KNOWS_OTHERS = ("Canvas", "Node", "Edge", "Param", "Group", "Subgraph", "Position")
_TIME = {"type": "string", "format": "date-time"}

_FIELDS = {
    "nodeId": "The node; within a sub-graph instance n5/n1, within a map or loop n5/3/n1.",
    "topology": "Its edges, by the nodes at the other ends.",
    "gradient": "Its level: 0 without predecessors, else one more than the greatest of them.",
    "task": "The task that executes it; missing: none yet.",
    "operatorAddress": "The operator, its version, and the agents that offer it.",
    "initialParamsJson": "A JSON object: its parameters as they were drawn.",
    "parameterAddress": "Where parameters are read from when it starts, laid over the initial ones.",
    "recordFlag": "Whether its results are kept with the project's version and the run.",
    "state": "Pending, error or done.",
    "order": "Its rank in the version's total order, from 0.",
    "detail": "Finer than the state.",
    "commitSequence": "Its position in the committed log, from 1; missing: not committed.",
}
"""What is said of the fields of an execution node: the nine of the data structure, and the most important others."""

_ENVIRONMENT = {
    "requirements": "The text of a requirements file, of operators.",
    "python": "The version of the environment's Python, for example 3.12.",
    "isCompiled": "Bytecode of everything is made along with it.",
    "image": "Of commands: they run in a container of this image, for example python:3.11-slim.",
    "network": "Of the container: none (default) or bridge.",
}
"""What a node runs in."""

_SCALARS: dict[int, dict[str, Any]] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.TYPE_INT32: {"type": "integer"},
    FieldDescriptor.TYPE_INT64: {"type": ["string", "integer"], "pattern": "^-?[0-9]+$"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}


def canvas_schema() -> dict[str, Any]:
    """Of the document of a canvas, format canvas/1."""
    (_,), components = msgspec.json.schema_components([Canvas], ref_template="#/$defs/{name}")
    for name in _KNOWS_OTHERS:
        components[name]["properties"].pop("extra")
    node, edge = components["Node"]["properties"], components["Edge"]["properties"]
    del node["drag_in_time_ns"], edge["is_order"]
    node["drag_in_time"] = {
        **_TIME,
        "description": "When it was first put on the canvas; missing: when it was first saved.",
    }
    node["drag_sequence"]["description"] = "Given by the service when it first sees the node."
    node["subgraph"]["anyOf"].append({"type": "string"})
    _message(task_pb2.Environment.DESCRIPTOR, components)
    for name, text in _ENVIRONMENT.items():
        components["Environment"]["properties"][name]["description"] = text
    node["environment"]["anyOf"][0] = {"$ref": "#/$defs/Environment"}
    node["id"]["pattern"] = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
    edge["kind"] = {"enum": ["data", "order"], "default": "data"}
    components["Canvas"]["properties"]["format"] = {"const": FORMAT}
    root = components.pop("Canvas")
    schema: dict[str, Any] = _rooted({"$schema": _DRAFT, **root, "title": "Canvas", "$defs": components})
    return schema


def _rooted(value: Any) -> Any:
    """References to the whole lead to the root."""
    if isinstance(value, dict):
        if value == {"$ref": "#/$defs/Canvas"}:
            return {"$ref": "#"}
        return {key: _rooted(inner) for key, inner in value.items()}
    return [_rooted(inner) for inner in value] if isinstance(value, list) else value


def execution_graph_schema() -> dict[str, Any]:
    """Of the execution graph in the protobuf JSON mapping."""
    found: dict[str, dict[str, Any]] = {}
    _message(canvas_pb2.ExecutionGraph.DESCRIPTOR, found)
    root = found.pop("ExecutionGraph")
    for name, text in _FIELDS.items():
        found["ExecutionNode"]["properties"][name]["description"] = text
    return {"$schema": _DRAFT, **root, "$defs": dict(sorted(found.items()))}


def _message(message: Descriptor, found: dict[str, dict[str, Any]]) -> None:
    if message.name in found:
        return
    properties: dict[str, Any] = {}
    found[message.name] = {"title": message.name, "type": "object", "properties": properties}
    for field in message.fields:
        kind = _kind(field, found)
        properties[field.json_name] = {"type": "array", "items": kind} if field.is_repeated else kind


def _kind(field: FieldDescriptor, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if field.enum_type is not None:
        return {"enum": [value.name for value in field.enum_type.values]}
    if field.message_type is None:
        return dict(_SCALARS[field.type])
    if field.message_type.full_name == "google.protobuf.Timestamp":
        return dict(_TIME)
    _message(field.message_type, found)
    return {"$ref": f"#/$defs/{field.message_type.name}"}


SCHEMAS = {"canvas.schema.json": canvas_schema, "execution-graph.schema.json": execution_graph_schema}
"""By file name."""


def text_of(name: str) -> str:
    """What the file has to hold."""
    return json.dumps(SCHEMAS[name](), indent=2, ensure_ascii=False) + "\n"


def main(folder: Path) -> int:
    """Writes the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SCHEMAS:
        (folder / name).write_text(text_of(name))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schemas")))
