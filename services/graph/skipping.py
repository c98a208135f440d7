"""Why a node whose predecessors have ended does not run: an edge, the trigger, nothing that would flow. Pure."""

from services.graph import results
from services.graph.model import InputEdge, OnError, Trigger
from services.graph.state import Scope
from services.graph.values import Detail, End


def why_skipped(scope: Scope, rank: int) -> str:
    """Empty: it runs."""
    graph = scope.shape.graph
    planned = graph.nodes[rank]
    sources = scope.shape.predecessors[rank]
    if not sources:
        return ""
    ends = {source: scope.nodes[source].end for source in sources}
    done = [source for source, end in ends.items() if end is not None and end.detail.has_results]
    if planned.trigger is Trigger.ANY_DONE:
        return "" if done else "none of its predecessors is done"
    if planned.trigger is Trigger.ALL_DONE and len(done) < len(ends):
        first = next(source for source in sorted(ends) if source not in done)
        return f"{graph.nodes[first].id} is not done"
    for edge in planned.inputs:
        end = ends[edge.source]
        if edge.on_error is OnError.SKIP and end is not None and end.detail.is_error:
            return f"{graph.nodes[edge.source].id} failed"
    data = [edge for edge in planned.inputs if not edge.is_order]
    if not data or rank in scope.shape.fed:
        return ""
    if all(_is_dead(ends[edge.source], edge) for edge in data):
        return f"nothing comes from {graph.nodes[data[0].source].id}"
    return ""


def _is_dead(end: End | None, edge: InputEdge) -> bool:
    """Nothing will ever flow here, and nothing failed: the source was skipped, or a branch took another port."""
    if end is None or end.detail.is_error:
        return False
    if end.detail is Detail.SKIPPED:
        return True
    return bool(edge.source_port) and results.output_at(end, edge.source_port) is None and bool(end.outputs)
