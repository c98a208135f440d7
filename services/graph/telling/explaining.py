"""What a run would do now (S1.3): levels, order, predicted nodes and cache hits, critical path. Starts nothing.

Times are medians of the project's latest runs; where nodes would be placed says the scheduler, asked once for each kind
of work, and once for each level together.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

import grpc.aio

from modelyard.v1 import node_pb2, node_pb2_grpc, run_pb2, task_pb2, task_pb2_grpc
from services.chassis.peers.sessions import on_behalf_of
from services.graph.canvases.control_words import described
from services.graph.canvases.operators import Operator
from services.graph.model import CachePolicy, Graph, Order, PlannedNode
from services.graph.projects.library import Library, OperatorSource
from services.graph.projects.starting import settled_params
from services.graph.records.projects import Project, Projects
from services.graph.records.store import RunStore
from services.graph.runs import parameters, results
from services.graph.runs.state import RunState
from services.graph.runs.values import End, Output
from services.graph.telling.makespans import critical_path, ready_makespan_s, strict_makespan_s
from services.graph.telling.measured import UNKNOWN, Measure, measures, median_of

PLACEMENTS_MOST = 50
"""Kinds of work, and levels, that the scheduler is asked about."""
BESIDE_MOST = 500
"""Nodes of a level that are placed side by side."""
RUNS_MOST = 20
NODES_MOST = 50_000
"""Of earlier runs, that times are taken from."""
_ENDED = (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED)
_TIMEOUT_S = 5.0
_FRESH = False, "a refresh was asked for"
_BESIDE = "it would start at once, beside the others of its level"
_NO_ROOM = "it waits for room: others of its level go first"


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
        self._nodes = node_pb2_grpc.NodeServiceStub(scheduler)

    async def explain(
        self, project: Project, request: run_pb2.ExplainRunRequest, order: Order, account: str, slots: int
    ) -> run_pb2.ExplainRunResponse:
        """Raises VersionNotFound, CanvasInvalid, Param…, OperatorsUnavailable."""
        found = await self._projects.version(project, request.version)
        canvas = await self._library.canvas(found)
        values = parameters.decode_object(settled_params(canvas, request.params_json), "params_json")
        graph = await self._library.graph(canvas, order, found.digest)
        operators = await self._source.operators()
        measured = await self._measured(project.number, graph)
        if request.refresh:
            cached = {node.rank: _FRESH for node in graph.nodes if node.control is None}
        else:
            cached = await self._cached(graph, values, account)
        hits = {rank: why for rank, (is_hit, why) in cached.items() if is_hit}
        placed = await self._placed(graph, hits, values, account)
        slots = slots or await self._slots(graph)
        expected = [UNKNOWN if node.rank in hits else measured[node.rank] for node in graph.nodes]
        seconds = [measure.seconds for measure in expected]
        path = critical_path(graph, seconds)
        return run_pb2.ExplainRunResponse(
            nodes=[
                _node(node, expected[node.rank], cached.get(node.rank, (False, "")), placed, operators)
                for node in graph.nodes
            ],
            critical_path=[graph.nodes[rank].id for rank in path],
            critical_path_s=sum(seconds[rank] for rank in path),
            ready_makespan_s=ready_makespan_s(graph, seconds, slots),
            strict_makespan_s=strict_makespan_s(graph, seconds, slots, order),
            slots=slots,
            level_count=1 + max((node.gradient for node in graph.nodes), default=-1),
        )

    async def _measured(self, project: int, graph: Graph) -> list[Measure]:
        """By rank what the latest runs took."""
        past: list[tuple[int, Graph, list[tuple[int, End]]]] = []
        count = 0
        for run in await self._store.runs(None, project, _ENDED, 1 << 60, RUNS_MOST):
            ran = await self._store.graph(run.plan)
            count += len(ran.nodes)
            if past and count > NODES_MOST:
                break
            rows = await self._store.nodes(run.number, with_bodies=False)
            past.append((run.number, ran, [(row.place[0], row.end) for row in rows]))
        return measures(graph, past)

    async def _cached(
        self, graph: Graph, values: Mapping[str, object], account: str
    ) -> dict[int, tuple[bool, str]]:
        """By rank of tasks whether the cache has it, and why: as far down as the contents of inputs are known."""
        outputs: dict[int, tuple[Output, ...]] = {}
        found: dict[int, tuple[bool, str]] = {}
        for _, level in groupby(sorted(graph.nodes, key=_gradient), key=_gradient):
            asked: dict[int, bytes] = {}
            for node in level:
                if node.control is None:
                    why = _not_asked(node, outputs)
                    found[node.rank] = False, why or "nothing is known of it with these parameters and inputs"
                    if not why:
                        params = _params(node, values)
                        inputs = results.inputs_from(node, outputs)
                        asked[node.rank] = results.key_of(node, params, inputs)
            entries = await self._store.cached([(account, key) for key in asked.values()]) if asked else []
            for rank, entry in zip(asked, entries, strict=True):
                if entry is not None:
                    found[rank] = True, f"r-{entry[0]} computed it as {entry[1]}"
                    outputs[rank] = entry[2]
        return found

    async def _slots(self, graph: Graph) -> int:
        """How many nodes of the usual size the agents that are ready have cores for, whatever runs there now."""
        cores = {body: _cores(body) for body in {node.body for node in graph.nodes if node.body}}
        usual = max(0.01, median_of(cores[node.body] for node in graph.nodes if node.body)) if cores else 1.0
        try:
            found = await self._nodes.ListNodes(node_pb2.ListNodesRequest(page_size=1000), timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return 1
        ready = [node for node in found.nodes if node.state == node_pb2.NODE_STATE_READY]
        return max(1, sum(int(node.capacity.cpu / usual + 1e-9) for node in ready))

    async def _placed(
        self, graph: Graph, hits: Mapping[int, str], values: Mapping[str, object], account: str
    ) -> dict[int, tuple[str, str]]:
        """Node and why, by rank: alone as the yard is now, and beside the rest of its level."""
        kinds: dict[bytes, task_pb2.TaskSpec] = {}
        alone: dict[bytes, task_pb2.PlanTaskResponse | str] = {}
        leaving = [node for node in graph.nodes if node.body and node.rank not in hits]
        for node in leaving:
            if node.body not in kinds and len(kinds) < PLACEMENTS_MOST:
                kinds[node.body] = spec = task_pb2.TaskSpec.FromString(node.body)
                spec.params_json = parameters.resolve(node.initial_params, values)
                alone[node.body] = await self._plan(account, [spec])
        placed = {node.rank: _alone(alone[node.body]) for node in leaving if node.body in alone}
        levels = groupby(sorted(leaving, key=_gradient), key=_gradient)
        for level in [list(members) for _, members in levels][:PLACEMENTS_MOST]:
            starting = [node for node in level if placed.get(node.rank, ("", ""))[0]][:BESIDE_MOST]
            if len(starting) > 1:
                together = await self._plan(account, [kinds[node.body] for node in starting])
                if not isinstance(together, str):
                    for node, where in zip(starting, together.beside_nodes, strict=True):
                        if where != placed[node.rank][0]:
                            placed[node.rank] = where, _BESIDE if where else _NO_ROOM
        return placed

    async def _plan(
        self, account: str, specs: Sequence[task_pb2.TaskSpec]
    ) -> task_pb2.PlanTaskResponse | str:
        """What the scheduler would do with these together; or why it would refuse them."""
        request = task_pb2.PlanTaskRequest(spec=specs[-1], beside=specs[:-1])
        try:
            return await self._tasks.PlanTask(request, metadata=on_behalf_of(account), timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return error.details() or error.code().name


def _alone(plan: task_pb2.PlanTaskResponse | str) -> tuple[str, str]:
    return ("", plan) if isinstance(plan, str) else (plan.node, plan.summary)


def _cores(body: bytes) -> float:
    resources = task_pb2.TaskSpec.FromString(body).resources
    return resources.cpu if resources.HasField("cpu") else 1.0


def _gradient(node: PlannedNode) -> int:
    return node.gradient


def _not_asked(node: PlannedNode, outputs: Mapping[int, tuple[Output, ...]]) -> str:
    """Why it cannot be known that the cache has it; empty: it can."""
    if node.has_effects or node.cache is not CachePolicy.AUTO:
        return (
            "it has effects beside its results"
            if node.has_effects
            else f"its cache policy is {node.cache.value}"
        )
    if not node.identity:
        return "what computes it is not known here"
    if parameters.variable_of(node.parameter_address):
        return f"its parameters at {node.parameter_address} are its agent's, and not known here"
    if node.parameter_address.partition(":")[0] not in ("", "run"):
        return "its parameters are read when it starts"
    if any(edge.source not in outputs for edge in node.inputs if not edge.is_order):
        return "what goes into it runs first"
    return ""


def _params(node: PlannedNode, values: Mapping[str, object]) -> str:
    """As the run will resolve them. Raises ParameterMissing, ParamsInvalid."""
    text = parameters.resolve(node.initial_params, values)
    if node.parameter_address:
        text = parameters.laid_over(text, parameters.at_run(node.parameter_address.partition(":")[2], values))
    return text


def _node(
    node: PlannedNode,
    measure: Measure,
    cached: tuple[bool, str],
    placed: Mapping[int, tuple[str, str]],
    operators: Mapping[str, Operator],
) -> run_pb2.PlannedNode:
    is_cached, why_cached = cached
    where, why = placed.get(node.rank, ("", ""))
    known = operators.get(node.operator)
    if node.control is not None:
        why = described(node)
    elif not why and not is_cached and known is not None:
        why = f"offered by {', '.join(known.nodes)}"
    return run_pb2.PlannedNode(
        node_id=node.id, gradient=node.gradient, order=node.rank, node=where, message=why,
        is_cached=is_cached, cache_reason=why_cached, expected_s=measure.seconds,
        measured_runs=[f"r-{number}" for number in measure.runs],
    )  # fmt: skip
