"""What a run that continues another keeps of it: committed nodes whose work, inputs and key are the same (S1.7)."""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from services.chassis.errors import FailedPrecondition, InvalidArgument
from services.graph.canvases.problems import suggestion
from services.graph.model import Graph, PlannedNode
from services.graph.records.store import NodeRow, RunRow, RunStore
from services.graph.runs.places import Place, body_at, find, id_at, node_at
from services.graph.runs.state import Run, Spec
from services.graph.runs.values import Kept


class RunGoesOn(FailedPrecondition):
    """The run has not ended."""


class NodeUnknown(InvalidArgument):
    """The version has no such node."""


async def of_run(store: RunStore, old: RunRow, graph: Graph, again: Collection[str]) -> dict[int, Kept]:
    """By rank of the new graph: what the old run committed and the new one may take, if its key is the same.

    Taken is what neither has to run again nor lacks a value that one which has to run again needs.
    """
    old_graph = await store.graph(old.plan)
    rows = await store.nodes(old.number, with_bodies=False)
    return keep(old.number, old_graph, graph, {old_graph.nodes[row.place[0]].id: row for row in rows}, again)


async def of_bodies(
    store: RunStore, run: Run, above: Place, numbers: Sequence[int]
) -> dict[int, dict[int, Kept]]:
    """The same of executions of one body, by number: `above` is the node that executes it."""
    number, name = run.spec.continued_from, id_at(run.graph, above)
    old = await store.run(number)
    if old is None:
        return {}
    old_graph = await store.graph(old.plan)
    before, body = find(old_graph, name), body_at(node_at(run.graph, above))
    was = body_at(node_at(old_graph, before)) if before is not None else None
    if before is None or was is None or body is None:
        return {}
    rows: dict[int, dict[str, NodeRow]] = {}
    for row in await store.executions(number, before, min(numbers), max(numbers)):
        rows.setdefault(row.place[-2], {})[was.graph.nodes[row.place[-1]].id] = row
    needed = {port.node for port in body.outputs}
    found = {}
    for one in numbers:
        head = f"{name}/{one}/"
        if head[:-1] in run.spec.again:
            continue
        again = [named[len(head) :] for named in run.spec.again if named.startswith(head)]
        found[one] = keep(number, was.graph, body.graph, rows.get(one, {}), again, needed)
    return found


def demanded(spec: Spec, graph: Graph, again: Collection[str]) -> Spec:
    """The spec with what was asked to run again, and all that depends on it. Raises NodeUnknown."""
    fresh: set[int] = set()
    for name in again:
        place = find(graph, name)
        if place is None:
            raise NodeUnknown(
                f"there is no node {name[:80]!r}", field="from_nodes",
                next_step=suggestion(name, (node.id for node in graph.nodes), "yard graph show tells the nodes"),
            )  # fmt: skip
        if len(place) == 1:
            fresh.add(place[0])
    for node in graph.nodes:
        if any(edge.source in fresh for edge in node.inputs):
            fresh.add(node.rank)
    return msgspec.structs.replace(spec, again=tuple(sorted(again)), fresh=tuple(sorted(fresh)))


def keep(
    number: int,
    old: Graph,
    graph: Graph,
    rows: Mapping[str, NodeRow],
    again: Collection[str],
    needed: Collection[int] = (),
) -> dict[int, Kept]:
    """See `of_run`. `rows`: by node id; `needed`: ranks whose values what executes the graph needs. Pure."""
    before = {node.id: node for node in old.nodes}
    runs = bytearray(len(graph.nodes))
    for node in graph.nodes:
        row, was = rows.get(node.id), before.get(node.id)
        is_changed = row is None or was is None or not row.end.detail.has_results
        # One node of a body was named: what executes the body runs again as well.
        is_changed = is_changed or any(one == node.id or one.startswith(f"{node.id}/") for one in again)
        if not is_changed and was is not None:
            is_changed = _work(was) != _work(node) or _feeds(old, was.rank) != _feeds(graph, node.rank)
        if is_changed or any(runs[edge.source] for edge in node.inputs):
            runs[node.rank] = 1
    for node in reversed(graph.nodes):
        row = rows.get(node.id)
        lacks = row is not None and any(output.is_dropped for output in row.end.outputs)
        if lacks and (node.rank in needed or any(runs[successor] for successor in node.successors)):
            runs[node.rank] = 1
    return {node.rank: Kept(number, rows[node.id].end) for node in graph.nodes if not runs[node.rank]}


def _work(node: PlannedNode) -> tuple[object, ...]:
    return node.operator, node.version, node.identity, node.body, node.initial_params, node.trigger


def _feeds(graph: Graph, rank: int) -> list[tuple[str, str, str, bool]]:
    return [
        (graph.nodes[edge.source].id, edge.source_port, edge.port, edge.is_order)
        for edge in graph.nodes[rank].inputs
    ]
