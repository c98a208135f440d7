"""Messages of canvases: from `canvas.Canvas`. The way back is `canvas`."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.v1 import canvas_pb2 as pb
from services.graph.canvases import canvas as c
from services.graph.canvases import misfits
from services.graph.canvases.document import json_text
from services.graph.convert import words


def canvas_message(canvas: c.Canvas) -> pb.Canvas:
    """The message of a canvas. Settings that no message can hold are left out: such a canvas was not valid."""
    message = pb.Canvas(
        nodes=[_node_message(node) for node in canvas.nodes],
        edges=[_edge_message(edge) for edge in canvas.edges],
        groups=[
            pb.CanvasGroup(
                id=group.id, title=group.title, is_collapsed=group.is_collapsed, extra=_struct(group.extra)
            )
            for group in canvas.groups
        ],
        extra=_struct(canvas.extra),
    )
    for name, param in canvas.params.items():
        message.params[name].CopyFrom(_param_message(param))
    for name, subgraph in canvas.subgraphs.items():
        inner = message.subgraphs[name]
        inner.canvas.CopyFrom(canvas_message(subgraph.canvas))
        inner.inputs.extend(_ports(subgraph.inputs))
        inner.outputs.extend(_ports(subgraph.outputs))
        if subgraph.extra:
            inner.extra.CopyFrom(_struct(subgraph.extra) or Struct())
    return message


def _ports(ports: Iterable[c.SubgraphPort]) -> list[pb.SubgraphPort]:
    return [pb.SubgraphPort(name=port.name, node=port.node, port=port.port) for port in ports]


def _param_message(param: c.Param) -> pb.CanvasParam:
    return pb.CanvasParam(
        schema_json=json_text(param.schema) if param.schema else "",
        default_json="" if param.is_required else json_text(param.default),
        description=param.description,
        extra=_struct(param.extra),
    )


def _node_message(node: c.Node) -> pb.CanvasNode:
    message = pb.CanvasNode(
        id=node.id,
        drag_sequence=node.drag_sequence,
        initial_params_json=json_text(node.initial_params) if node.initial_params else "",
        parameter_address=node.parameter_address,
        record=node.record,
        label=node.label,
        group=node.group,
        trigger=words.TRIGGERS[node.trigger] if node.trigger else 0,  # type: ignore[arg-type]
        bundle_digest=node.bundle_digest,
        cache=words.CACHE_POLICIES[node.cache] if node.cache else 0,  # type: ignore[arg-type]
        has_effects=node.has_effects,
        extra=_struct(node.extra),
    )
    if node.position is not None:
        extra = _struct(node.position.extra)
        message.position.CopyFrom(pb.Position(x=node.position.x, y=node.position.y, extra=extra))
    if node.drag_in_time_ns:
        message.drag_in_time.CopyFrom(timestamp(node.drag_in_time_ns))
    if node.timeout_s:
        message.timeout.CopyFrom(duration(node.timeout_s))
    for name in words.SETTINGS:
        settings = getattr(node, name)
        if settings is not None:
            fill(getattr(message, name), settings)
    _set_work(message, node)
    return message


def fill(message: Message, settings: dict[str, Any]) -> str:
    """Reads a message's JSON form into it; what is wrong with it, or ""."""
    try:
        json_format.ParseDict(settings, message)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        message.Clear()
        return misfits.of_setting(str(error))
    message.SetInParent()
    return ""


def _set_work(message: pb.CanvasNode, node: c.Node) -> None:
    if node.operator:
        message.operator = node.operator
    elif node.command is not None:
        command = pb.CommandNode(argv=node.command.argv, outputs=node.command.outputs, env=node.command.env)
        message.command.CopyFrom(command)
    elif node.branch is not None:
        cases = [
            pb.BranchCase(port=case.port, condition=_condition_message(case.condition))
            for case in node.branch.cases
        ]
        message.branch.CopyFrom(pb.BranchNode(cases=cases, otherwise=node.branch.otherwise))
    elif node.map is not None:
        map_ = node.map
        message.map.CopyFrom(
            pb.MapNode(
                subgraph=map_.subgraph,
                item_port=map_.item_port,
                max_parallel=_int32(map_.max_parallel),
                batch_size=_int32(map_.batch_size),
                min_success_ratio=map_.min_success_ratio,
            )
        )
    elif node.loop is not None:
        loop = pb.LoopNode(
            subgraph=node.loop.subgraph,
            until_port=node.loop.until_port,
            max_iterations=_int32(node.loop.max_iterations),
        )
        if node.loop.until is not None:
            loop.until.CopyFrom(_condition_message(node.loop.until))
        message.loop.CopyFrom(loop)
    elif node.subgraph is not None:
        message.subgraph.CopyFrom(pb.SubgraphNode(subgraph=node.subgraph.subgraph))
    elif node.gate is not None:
        message.gate.CopyFrom(pb.GateNode(message=node.gate.message, approvers=node.gate.approvers))


def _condition_message(condition: c.ConditionWork) -> pb.Condition:
    return pb.Condition(
        path=condition.path,
        comparison=words.COMPARISONS[condition.comparison] if condition.comparison else 0,  # type: ignore[arg-type]
        value_json="" if condition.value is msgspec.UNSET else json_text(condition.value),
    )


def _edge_message(edge: c.Edge) -> pb.CanvasEdge:
    return pb.CanvasEdge(
        id=edge.id,
        source=edge.source,
        source_port=edge.source_port,
        target=edge.target,
        target_port=edge.target_port,
        index=_int32(edge.index),
        kind=pb.EDGE_KIND_ORDER if edge.is_order else pb.EDGE_KIND_DATA,
        on_error=words.ON_ERROR[edge.on_error] if edge.on_error else 0,  # type: ignore[arg-type]
        extra=_struct(edge.extra),
    )


def _int32(number: int) -> int:
    """A document's number may be larger than any that is valid."""
    return max(-(2**31), min(number, 2**31 - 1))


def _struct(extra: Mapping[str, Any]) -> Struct | None:
    if not extra:
        return None
    struct = Struct()
    struct.update(extra)
    return struct


def timestamp(time_ns: int) -> Timestamp:
    """A Timestamp of nanoseconds since 1970."""
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    return Timestamp(seconds=seconds, nanos=nanos)


def duration(seconds: float) -> Duration:
    """A Duration of seconds; more than the most that it holds is the most."""
    whole = Duration()
    whole.FromNanoseconds(int(min(max(seconds, -3e11), 3e11) * 1e9))
    return whole
