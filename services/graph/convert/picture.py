"""Messages of execution graphs and runs as pictures."""

from collections.abc import Iterable

from modelyard.v1 import canvas_pb2, run_pb2
from services.graph.picture import PictureNode, draw

_PREFIX = "EXECUTION_DETAIL_"


def picture_node(message: canvas_pb2.ExecutionNode, is_planned: bool = False) -> PictureNode:
    """What is drawn of a node; `is_planned`: of a graph that nobody runs, so that it waits for nothing."""
    detail = canvas_pb2.ExecutionDetail.Name(message.detail).removeprefix(_PREFIX).lower()
    operator = message.operator_address.operator
    notes = [operator, f"on {message.node}" if message.node else "", message.error.message]
    return PictureNode(
        id=message.node_id,
        gradient=message.gradient,
        order=message.order,
        label=message.node_id,
        detail="planned" if is_planned else detail,
        progress=message.progress.ratio if message.HasField("progress") else None,
        note=", ".join(note for note in notes if note),
        inputs=tuple(edge.node for edge in message.topology.inputs),
    )


def run_picture(run: run_pb2.Run, nodes: Iterable[canvas_pb2.ExecutionNode]) -> bytes:
    """The run as SVG."""
    state = run_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_").lower()
    title = f"{run.id}: {run.project_id} version {run.version}, {state}"
    return draw(title, [picture_node(node) for node in nodes], run.comment).encode()


def graph_picture(title: str, graph: canvas_pb2.ExecutionGraph) -> bytes:
    """A graph that nobody runs, as SVG."""
    return draw(title, [picture_node(node, is_planned=True) for node in graph.nodes]).encode()
