"""Why a node whose predecessors have ended does not run: an edge, the trigger, nothing that would flow. Pure."""

from services.graph.model import InputEdge, OnError, Trigger
from services.graph.runs import results
from services.graph.runs.state import Scope
from services.graph.runs.values import Detail, End


def why_skipped(scope: Scope, rank: int) -> str:
    """Empty: it runs."""
    graph = scope.shape.graph
    planned = graph.nodes[rank]
    if not planned.inputs:
        return ""
    if planned.trigger is not Trigger.ALL_ENDED and (why := _why_untriggered(scope, rank)) is not None:
        return why
    nodes, data, is_alive = scope.nodes, None, False
    for edge in planned.inputs:
        end = nodes[edge.source].end
        if edge.on_error is OnError.SKIP and end is not None and end.detail.is_error:
            return f"{graph.nodes[edge.source].id} failed"
        if edge.is_order and not edge.source_port:
            continue
        is_dead = _is_dead(end, edge)
        # Whoever waits for a branch's port, or for all to be done, does not run where nothing comes from there.
        if is_dead and (edge.is_order or planned.trigger is Trigger.ALL_DONE):
            return f"nothing comes from {graph.nodes[edge.source].id}"
        if not edge.is_order:
            data = data or edge
            is_alive = is_alive or not is_dead
    if data is None or is_alive or rank in scope.shape.fed:
        return ""
    return f"nothing comes from {graph.nodes[data.source].id}"


def _why_untriggered(scope: Scope, rank: int) -> str | None:
    """Of triggers that ask for nodes that are done; None: edges may still say something."""
    graph, sources = scope.shape.graph, scope.shape.predecessors[rank]
    ends = {source: scope.nodes[source].end for source in sources}
    done = [source for source, end in ends.items() if end is not None and end.detail.has_results]
    if graph.nodes[rank].trigger is Trigger.ANY_DONE:
        return "" if done else "none of its predecessors is done"
    if len(done) < len(ends):
        first = next(source for source in sorted(ends) if source not in done)
        return f"{graph.nodes[first].id} is not done"
    return None


def _is_dead(end: End | None, edge: InputEdge) -> bool:
    """Nothing will ever flow here, and nothing failed: the source was skipped, or a branch took another port."""
    if end is None or end.detail.is_error:
        return False
    if end.detail is Detail.SKIPPED:
        return True
    return bool(edge.source_port) and results.output_at(end, edge.source_port) is None and bool(end.outputs)
