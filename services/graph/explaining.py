"""What a run would do now (S1.3): levels, order, predicted nodes and cache hits, critical path. Starts nothing.

Times are those of the project's last ended run; where a node would be placed says the scheduler, asked once for each
kind of work.
"""

from collections.abc import Mapping, Sequence

import grpc.aio

from modelyard.v1 import run_pb2, task_pb2, task_pb2_grpc
from services.graph import parameters, results
from services.graph.explain import critical_path, ready_makespan_s, strict_makespan_s
from services.graph.library import Library, OperatorSource
from services.graph.model import CachePolicy, Graph, Order, PlannedNode
from services.graph.operators import Operator
from services.graph.peers import on_behalf_of
from services.graph.projects import Project, Projects
from services.graph.starting import settled_params
from services.graph.state import RunState
from services.graph.store import RunStore
from services.graph.values import EMPTY, Output, Piece, PortInput

PLACEMENTS_MOST = 50
"""Kinds of work that the scheduler is asked about."""
_ENDED = (RunState.SUCCEEDED, RunState.FAILED)
_TIMEOUT_S = 5.0


class Explaining:
    """Predicts runs."""

    def __init__(
        self,
        projects: Projects,
        library: Library,
        source: OperatorSource,
        store: RunStore,
        scheduler: grpc.aio.Channel,
    ) -> None:
        self._projects = projects
        self._library = library
        self._source = source
        self._store = store
        self._tasks = task_pb2_grpc.TaskServiceStub(scheduler)

    async def explain(
        self, project: Project, version: int, params: str, order: Order, account: str, slots: int
    ) -> run_pb2.ExplainRunResponse:
        """Raises VersionNotFound, CanvasInvalid, Param…, OperatorsUnavailable."""
        found = await self._projects.version(project, version)
        canvas = await self._library.canvas(found)
        values = parameters.decode_object(settled_params(canvas, params), "params_json")
        graph = await self._library.graph(canvas, order, found.digest)
        operators = await self._source.operators()
        measured = await self._measured(project.number)
        hits = await self._hits(graph, values, account)
        placed = await self._placed(graph, hits, values, account)
        slots = slots or max(1, len({name for one in operators.values() for name in one.nodes}))
        seconds = [0.0 if node.rank in hits else measured.get(node.id, 0.0) for node in graph.nodes]
        path = critical_path(graph, seconds)
        return run_pb2.ExplainRunResponse(
            nodes=[
                _node(node, seconds[node.rank], hits.get(node.rank, ""), placed, operators)
                for node in graph.nodes
            ],
            critical_path=[graph.nodes[rank].id for rank in path],
            critical_path_s=sum(seconds[rank] for rank in path),
            ready_makespan_s=ready_makespan_s(graph, seconds, slots),
            strict_makespan_s=strict_makespan_s(graph, seconds, slots, order),
            level_count=1 + max((node.gradient for node in graph.nodes), default=-1),
        )

    async def _measured(self, project: int) -> dict[str, float]:
        """Seconds by node id, of the last run that ended."""
        runs = await self._store.runs(None, project, _ENDED, 1 << 60, 1)
        if not runs:
            return {}
        graph = await self._store.graph(runs[0].plan)
        return {
            graph.nodes[row.place[0]].id: (row.end.end_ms - row.end.start_ms) / 1000
            for row in await self._store.nodes(runs[0].number, with_bodies=False)
            if row.end.end_ms > row.end.start_ms > 0
        }

    async def _hits(self, graph: Graph, values: Mapping[str, object], account: str) -> dict[int, str]:
        """By rank why the cache has it: as far down as the contents of inputs are known."""
        outputs: dict[int, tuple[Output, ...]] = {}
        hits: dict[int, str] = {}
        for node in graph.nodes:
            if node.cache is not CachePolicy.AUTO or node.has_effects or not node.identity:
                continue
            if node.parameter_address or any(e.source not in outputs for e in node.inputs if not e.is_order):
                continue
            params = parameters.resolve(node.initial_params, values)
            key = results.key_of(node, params, _inputs(node, outputs))
            [entry] = await self._store.cached([(account, key)])
            if entry is not None:
                hits[node.rank] = f"r-{entry[0]} computed it as {entry[1]}"
                outputs[node.rank] = entry[2]
        return hits

    async def _placed(
        self, graph: Graph, hits: Mapping[int, str], values: Mapping[str, object], account: str
    ) -> dict[bytes, tuple[str, str]]:
        """Node and why, by the body of a task."""
        placed: dict[bytes, tuple[str, str]] = {}
        for node in graph.nodes:
            if not node.body or node.rank in hits or node.body in placed or len(placed) >= PLACEMENTS_MOST:
                continue
            spec = task_pb2.TaskSpec.FromString(node.body)
            spec.params_json = parameters.resolve(node.initial_params, values)
            request = task_pb2.PlanTaskRequest(spec=spec)
            try:
                plan = await self._tasks.PlanTask(request, metadata=on_behalf_of(account), timeout=_TIMEOUT_S)
                placed[node.body] = (plan.node, plan.summary)
            except grpc.aio.AioRpcError as error:
                placed[node.body] = ("", error.details() or error.code().name)
        return placed


def _inputs(node: PlannedNode, outputs: Mapping[int, Sequence[Output]]) -> list[PortInput]:
    by_port: dict[str, list[Piece]] = {}
    takes: dict[str, str] = {}
    for edge in node.inputs:
        if edge.is_order:
            continue
        found = next(
            (o for o in outputs[edge.source] if o.port == edge.source_port or not edge.source_port), None
        )
        piece = Piece(found.value, found.digest, found.content) if found else EMPTY
        by_port.setdefault(edge.port, []).append(piece)
        takes.setdefault(edge.port, edge.takes)
    return [PortInput(port, takes[port], tuple(pieces), len(pieces) > 1) for port, pieces in by_port.items()]


def _node(
    node: PlannedNode,
    seconds: float,
    hit: str,
    placed: Mapping[bytes, tuple[str, str]],
    operators: Mapping[str, Operator],
) -> run_pb2.PlannedNode:
    where, why = placed.get(node.body, ("", "")) if node.body and not hit else ("", "")
    known = operators.get(node.operator)
    if not why and not hit and known is not None:
        why = f"offered by {', '.join(known.nodes)}"
    return run_pb2.PlannedNode(
        node_id=node.id, gradient=node.gradient, order=node.rank, node=where, message=why,
        is_cached=bool(hit), cache_reason=hit, expected_s=seconds,
    )  # fmt: skip
