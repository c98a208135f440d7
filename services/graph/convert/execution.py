"""The execution graph as a message (S1.1): the nine fields of each node, before anything runs."""

from collections.abc import Mapping

from modelyard.v1 import canvas_pb2 as pb
from services.graph.canvases.operators import Operator
from services.graph.model import Graph, PlannedNode


def graph_message(graph: Graph, operators: Mapping[str, Operator]) -> pb.ExecutionGraph:
    """Every node pending, in the total order."""
    outputs: list[list[pb.TopologyEdge]] = [[] for _ in graph.nodes]
    for node in graph.nodes:
        for edge in node.inputs:
            outputs[edge.source].append(
                pb.TopologyEdge(
                    node=node.id, node_port=edge.port, port=edge.source_port, kind=_kind(edge.is_order)
                )
            )
    return pb.ExecutionGraph(
        nodes=[planned_message(node, graph, outputs[node.rank], operators) for node in graph.nodes]
    )


def planned_message(
    node: PlannedNode,
    graph: Graph,
    outputs: list[pb.TopologyEdge],
    operators: Mapping[str, Operator],
    prefix: str = "",
) -> pb.ExecutionNode:
    """One node as it is planned: pending, waiting. `prefix` stands before the ids of a body's nodes."""
    inputs = [
        pb.TopologyEdge(
            node=prefix + graph.nodes[edge.source].id,
            node_port=edge.source_port,
            port=edge.port,
            kind=_kind(edge.is_order),
        )
        for edge in node.inputs
    ]
    return pb.ExecutionNode(
        node_id=prefix + node.id,
        topology=pb.Topology(inputs=inputs, outputs=outputs),
        gradient=node.gradient,
        operator_address=address_message(node, operators),
        initial_params_json=node.initial_params,
        parameter_address=node.parameter_address,
        record_flag=node.record,
        state=pb.EXECUTION_STATE_PENDING,
        order=node.rank,
        detail=pb.EXECUTION_DETAIL_WAITING,
    )


def address_message(node: PlannedNode, operators: Mapping[str, Operator]) -> pb.OperatorAddress:
    """The operator and the agents that offer it; of other work its kind."""
    if not node.operator:
        return pb.OperatorAddress(operator=node.kind.value)
    known = operators.get(node.operator)
    nodes = known.nodes if known else ()
    return pb.OperatorAddress(operator=node.operator, version=node.version, nodes=nodes)


def _kind(is_order: bool) -> pb.EdgeKind.ValueType:
    return pb.EDGE_KIND_ORDER if is_order else pb.EDGE_KIND_DATA
