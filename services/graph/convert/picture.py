"""Messages of execution graphs and runs as pictures."""

from modelyard.v1 import canvas_pb2, run_pb2
from services.graph.model import Graph
from services.graph.picture import PictureNode

_PREFIX = "EXECUTION_DETAIL_"


def planned_nodes(graph: Graph) -> list[PictureNode]:
    """What is drawn of a graph that nobody runs, so that its nodes wait for nothing."""
    ids = [node.id for node in graph.nodes]
    return [
        PictureNode(
            id=node.id,
            gradient=node.gradient,
            order=node.rank,
            work=node.operator or node.kind.value,
            detail="planned",
            inputs=tuple(ids[edge.source] for edge in node.inputs),
        )
        for node in graph.nodes
    ]


def picture_node(message: canvas_pb2.ExecutionNode) -> PictureNode:
    """What is drawn of a node of a run."""
    detail = canvas_pb2.ExecutionDetail.Name(message.detail).removeprefix(_PREFIX).lower()
    operator = message.operator_address.operator
    notes = [f"on {message.node}" if message.node else "", message.error.message]
    return PictureNode(
        id=message.node_id,
        gradient=message.gradient,
        order=message.order,
        work=operator,
        detail=detail,
        progress=message.progress.ratio if message.HasField("progress") else None,
        note=", ".join(note for note in notes if note),
        inputs=tuple(edge.node for edge in message.topology.inputs),
    )


def run_title(run: run_pb2.Run) -> str:
    """What stands above the picture of a run."""
    state = run_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_").lower()
    return f"{run.id}: {run.project_id} version {run.version}, {state}"
