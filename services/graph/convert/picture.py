"""Messages of execution graphs and runs as pictures."""

from modelyard.v1 import canvas_pb2, run_pb2
from services.graph.canvases.control_words import described
from services.graph.canvases.picture import PictureNode
from services.graph.model import Graph, Kind

_CONTROLS = frozenset(kind.value for kind in (Kind.BRANCH, Kind.MAP, Kind.LOOP, Kind.GATE))
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
            note=described(node),
            is_control=node.control is not None,
            detail="planned",
            inputs=tuple(ids[edge.source] for edge in node.inputs),
        )
        for node in graph.nodes
    ]


def picture_node(message: canvas_pb2.ExecutionNode) -> PictureNode:
    """What is drawn of a node of a run."""
    detail = canvas_pb2.ExecutionDetail.Name(message.detail).removeprefix(_PREFIX).lower()
    operator = message.operator_address.operator
    is_control = operator in _CONTROLS and not message.operator_address.version
    said = message.progress.message if message.HasField("progress") else message.note
    notes = [
        f"on {message.node}" if message.node else "", message.gate.message, message.note, message.error.message,
    ]  # fmt: skip
    return PictureNode(
        id=message.node_id,
        gradient=message.gradient,
        order=message.order,
        work=f"{operator}: {said}" if is_control and said else operator,
        is_control=is_control,
        detail=detail,
        progress=message.progress.ratio if message.HasField("progress") else None,
        note=", ".join(note for note in notes if note),
        inputs=tuple(edge.node for edge in message.topology.inputs),
    )


def run_title(run: run_pb2.Run) -> str:
    """What stands above the picture of a run."""
    state = run_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_").lower()
    return f"{run.id}: {run.project_id} version {run.version}, {state}"
