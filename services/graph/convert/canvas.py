"""Canvases from messages: to `canvas.Canvas`. What does not fit is told as a problem, as for documents.

The way back is `canvas_message`.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from google.protobuf import json_format
from google.protobuf.message import Message

from modelyard.v1 import canvas_pb2 as pb
from services.graph.canvases import canvas as c
from services.graph.canvases.document import JSON_DEPTH_MOST, is_time, is_too_deep
from services.graph.canvases.problems import Findings, Problem, Reason, shown
from services.graph.convert import words
from services.graph.model import SUBGRAPH_DEPTH_MOST


def canvas_of(message: pb.Canvas) -> tuple[c.Canvas, tuple[Problem, ...]]:
    """The canvas of a message, and what of it could not be taken."""
    findings = Findings()
    return _Reader(findings).canvas(message, "", 0), findings.all()


class _Reader:
    """Reads one message; every problem goes into `findings`."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def _tell(self, field: str, message: str, node: str = "", edge: str = "") -> None:
        self._findings.add(Reason.MALFORMED, message, node=node, edge=edge, field=field)

    def canvas(self, message: pb.Canvas, path: str, depth: int) -> c.Canvas:
        subgraphs = {}
        for name in sorted(message.subgraphs):
            if depth >= SUBGRAPH_DEPTH_MOST:
                self._findings.add(
                    Reason.TOO_DEEP, "sub-graphs are nested too deeply", node=shown(path + name)
                )
                break
            subgraphs[name] = self._subgraph(message.subgraphs[name], f"{path}{name}/", depth + 1)
        at = path.rstrip("/")
        return c.Canvas(
            tuple(self._node(node, path) for node in message.nodes),
            tuple(self._edge(edge, path) for edge in message.edges),
            {name: self._param(name, message.params[name], at) for name in sorted(message.params)},
            subgraphs,
            tuple(
                c.Group(group.id, group.title, group.is_collapsed, self._extra(group, "groups", at))
                for group in message.groups
            ),
            self._extra(message, "extra", at),
        )

    def _subgraph(self, message: pb.Subgraph, path: str, depth: int) -> c.Subgraph:
        return c.Subgraph(
            self.canvas(message.canvas, path, depth),
            tuple(c.SubgraphPort(port.name, port.node, port.port) for port in message.inputs),
            tuple(c.SubgraphPort(port.name, port.node, port.port) for port in message.outputs),
            self._extra(message, "extra", path.rstrip("/")),
        )

    def _param(self, name: str, message: pb.CanvasParam, at: str) -> c.Param:
        schema = self._json(message.schema_json, f"params.{shown(name)}.schema_json", at) or {}
        if not isinstance(schema, dict):
            self._tell(f"params.{shown(name)}.schema_json", "a JSON Schema is an object", at)
            schema = {}
        default: Any = msgspec.UNSET
        if message.default_json:
            default = self._json(message.default_json, f"params.{shown(name)}.default_json", at)
        return c.Param(schema, default, message.description, self._extra(message, "params", at))

    def _node(self, message: pb.CanvasNode, path: str) -> c.Node:
        at = path + message.id
        kind = message.WhichOneof("work")
        known: dict[str, Any] = {kind: self._work(message, kind, at)} if kind else {}
        known |= {name: _dict_of(setting) for name, setting in _settings(message)}
        params = self._json(message.initial_params_json, "initial_params_json", at)
        if params is not None and not isinstance(params, dict):
            self._tell("initial_params_json", "initial parameters are a JSON object", at)
        return c.Node(
            id=message.id,
            position=self._position(message, at),
            drag_in_time_ns=self._time(message, at),
            drag_sequence=message.drag_sequence,
            initial_params=params if isinstance(params, dict) else {},
            parameter_address=message.parameter_address,
            record=message.record,
            label=message.label,
            group=message.group,
            trigger=self._word(words.TRIGGERS, message.trigger, "trigger", at),
            timeout_s=message.timeout.ToNanoseconds() / 1e9 if message.HasField("timeout") else None,
            bundle_digest=message.bundle_digest,
            cache=self._word(words.CACHE_POLICIES, message.cache, "cache", at),
            has_effects=message.has_effects,
            extra=self._extra(message, "extra", at),
            **known,
        )

    def _work(self, message: pb.CanvasNode, kind: str, at: str) -> Any:
        if kind == "operator":
            return message.operator
        if kind == "command":
            work = message.command
            return c.CommandWork(
                tuple(work.argv), dict(sorted(work.outputs.items())), dict(sorted(work.env.items()))
            )
        if kind == "branch":
            cases = tuple(
                c.CaseWork(
                    case.port, self._condition(case.condition, f"branch.cases[{number}].condition", at)
                )
                for number, case in enumerate(message.branch.cases)
            )
            return c.BranchWork(cases, message.branch.otherwise)
        if kind == "map":
            map_ = message.map
            ratio = map_.min_success_ratio if map_.HasField("min_success_ratio") else None
            return c.MapWork(map_.subgraph, map_.item_port, map_.max_parallel, map_.batch_size, ratio)
        if kind == "loop":
            loop = message.loop
            until = self._condition(loop.until, "loop.until", at) if loop.HasField("until") else None
            return c.LoopWork(loop.subgraph, loop.until_port, until, loop.max_iterations)
        if kind == "gate":
            return c.GateWork(message.gate.message, tuple(message.gate.approvers))
        return c.SubgraphWork(message.subgraph.subgraph)

    def _condition(self, message: pb.Condition, field: str, at: str) -> c.ConditionWork:
        value: Any = msgspec.UNSET
        if message.value_json:
            value = self._json(message.value_json, f"{field}.value_json", at)
        comparison = self._word(words.COMPARISONS, message.comparison, f"{field}.comparison", at)
        return c.ConditionWork(message.path, comparison, value)

    def _edge(self, message: pb.CanvasEdge, path: str) -> c.Edge:
        at = path + (message.id or f"{message.source}->{message.target}")
        if message.kind not in (0, 1, 2):
            self._tell("kind", f"there is no kind {message.kind}", edge=at)
        return c.Edge(
            message.id,
            message.source,
            message.source_port,
            message.target,
            message.target_port,
            message.index,
            message.kind == pb.EDGE_KIND_ORDER,
            self._word(words.ON_ERROR, message.on_error, "on_error", edge=at),
            self._extra(message, "extra", edge=at),
        )

    def _position(self, message: pb.CanvasNode, at: str) -> c.Position | None:
        if not message.HasField("position"):
            return None
        x, y = message.position.x, message.position.y
        if not (math.isfinite(x) and math.isfinite(y)):
            self._tell("position", "a position has finite numbers", at)
            return None
        return c.Position(x, y, self._extra(message.position, "position", at))

    def _time(self, message: pb.CanvasNode, at: str) -> int:
        if not message.HasField("drag_in_time"):
            return 0
        try:
            message.drag_in_time.ToJsonString()
        except ValueError as error:
            self._tell("drag_in_time", str(error), at)
            return 0
        time_ns = message.drag_in_time.ToNanoseconds()
        if not is_time(time_ns):
            self._tell("drag_in_time", "a time lies between the years 1678 and 2261", at)
            return 0
        return time_ns

    def _word(self, known: Mapping[Any, int], number: int, field: str, at: str = "", edge: str = "") -> Any:
        if not number:
            return None
        for word, value in known.items():
            if value == number:
                return word
        self._tell(field, f"there is no value {number}", at, edge)
        return None

    def _json(self, text: str, field: str, at: str) -> Any:
        if not text:
            return None
        try:
            value = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeError) as error:
            self._tell(field, f"this is not JSON: {str(error)[:200]}", at)
            return None
        except RecursionError:
            value = None
            self._tell(field, "this is nested too deeply", at)
        if is_too_deep(value):
            self._tell(field, f"values lie more than {JSON_DEPTH_MOST} deep within each other", at)
            return None
        return value

    def _extra(self, message: Any, field: str, at: str = "", edge: str = "") -> dict[str, Any]:
        if not message.HasField("extra"):
            return {}
        try:
            return {name: _value(value) for name, value in sorted(message.extra.fields.items())}
        except ValueError as error:
            self._tell(field, str(error), at, edge)
            return {}


def _value(value: Any) -> Any:
    """A value of a Struct; whole numbers become integers, as they were in a document. Raises ValueError."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        if not math.isfinite(number):
            raise ValueError("JSON has no such number")
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    if kind == "struct_value":
        return {name: _value(inner) for name, inner in sorted(value.struct_value.fields.items())}
    if kind == "list_value":
        return [_value(inner) for inner in value.list_value.values]
    return None if kind in (None, "null_value") else getattr(value, kind)


def _settings(message: pb.CanvasNode) -> list[tuple[str, Message]]:
    return [(field.name, value) for field, value in message.ListFields() if field.name in words.SETTINGS]


def _dict_of(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)
