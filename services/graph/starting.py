"""How a run begins: from a project's version to what the machine is asked (S1.2, S1.3); what it keeps of another."""

from collections.abc import Mapping
from typing import Any

import msgspec

from modelyard.operator import validate_params
from services.chassis.errors import FailedPrecondition, InvalidArgument, Unimplemented
from services.graph import parameters
from services.graph.canvas import Canvas
from services.graph.library import Library
from services.graph.model import Graph, Kind, Order
from services.graph.projects import Project, Projects
from services.graph.state import Kept, Spec, Start
from services.graph.store import NodeRow, RunRow, RunStore

CONTROL = frozenset({Kind.BRANCH, Kind.MAP, Kind.LOOP, Kind.GATE})


class ParamUnknown(InvalidArgument):
    """The canvas declares no parameter of this name."""


class ParamMissing(InvalidArgument):
    """The run has to give this parameter."""


class ParamInvalid(InvalidArgument):
    """A parameter does not fit what the canvas declares."""


class ControlUnsupported(Unimplemented):
    """Nodes of this kind cannot be run yet."""


class RunGoesOn(FailedPrecondition):
    """The run has not ended."""


class NodeUnknown(InvalidArgument):
    """The version has no such node."""


class Plan(msgspec.Struct, frozen=True):
    """A run that may begin."""

    spec: Spec
    graph: Graph
    plan: int


class Starting:
    """Makes plans; begins nothing."""

    def __init__(self, projects: Projects, library: Library, store: RunStore) -> None:
        self._projects = projects
        self._library = library
        self._store = store

    async def plan(self, project: Project, version: int, spec: Spec) -> Plan:
        """The spec completed and the graph. Raises VersionNotFound, CanvasInvalid, Param…, OperatorsUnavailable."""
        found = await self._projects.version(project, version)
        canvas = await self._library.canvas(found)
        params = settled_params(canvas, spec.params)
        graph = await self._library.graph(canvas, spec.order, found.digest)
        for node in graph.nodes:
            if node.kind in CONTROL:
                raise ControlUnsupported(f"{node.id} is a {node.kind.value} node", field="version")
        spec = msgspec.structs.replace(spec, version=found.version, params=params)
        return Plan(spec, graph, await self._store.plan(graph))

    async def kept(
        self, old: RunRow, graph: Graph, again: frozenset[str], patched: Mapping[str, str]
    ) -> dict[int, Kept]:
        """By rank of the new graph: what the old run committed and the new one may take, if its key is the same.

        Taken is what neither has to run again nor lacks a value that one which has to run again needs.
        """
        old_graph = await self._store.graph(old.plan)
        rows = {old_graph.nodes[row.rank].id: row for row in await self._store.nodes(old.number)}
        known = {node.id for node in graph.nodes}
        for name in (*again, *patched):
            if name not in known:
                raise NodeUnknown(f"there is no node {name[:80]!r}", field="from_nodes")
        return keep(old, old_graph, graph, rows, again | frozenset(patched))


def keep(
    old: RunRow, old_graph: Graph, graph: Graph, rows: Mapping[str, NodeRow], again: frozenset[str]
) -> dict[int, Kept]:
    """See `Starting.kept`. Pure."""
    before = {node.id: node for node in old_graph.nodes}
    runs = bytearray(len(graph.nodes))
    for node in graph.nodes:
        row, was = rows.get(node.id), before.get(node.id)
        is_changed = row is None or was is None or not row.end.detail.has_results or node.id in again
        if not is_changed and was is not None:
            is_changed = _work(was) != _work(node) or _feeds(old_graph, was.rank) != _feeds(graph, node.rank)
        if is_changed or any(runs[edge.source] for edge in node.inputs):
            runs[node.rank] = 1
    for node in reversed(graph.nodes):
        row = rows.get(node.id)
        lacks = row is not None and any(output.is_dropped for output in row.end.outputs)
        if lacks and any(runs[successor] for successor in node.successors):
            runs[node.rank] = 1
    return {node.rank: Kept(old.number, rows[node.id].end) for node in graph.nodes if not runs[node.rank]}


def _work(node: Any) -> tuple[object, ...]:
    return node.operator, node.version, node.identity, node.body, node.initial_params, node.trigger


def _feeds(graph: Graph, rank: int) -> list[tuple[str, str, str, bool]]:
    return [
        (graph.nodes[edge.source].id, edge.source_port, edge.port, edge.is_order)
        for edge in graph.nodes[rank].inputs
    ]


def settled_params(canvas: Canvas, given: str) -> str:
    """The run's parameters with the canvas's defaults below them. Raises ParamUnknown, ParamMissing, ParamInvalid."""
    values = parameters.decode_object(given, "params_json")
    for name in values:
        if name not in canvas.params:
            known = ", ".join(sorted(canvas.params)) or "none"
            raise ParamUnknown(
                f"the canvas has no parameter {name[:80]!r}",
                field="params_json",
                next_step=f"it has: {known}",
            )
    settled = {}
    for name, param in canvas.params.items():
        if name not in values and param.is_required:
            raise ParamMissing(
                f"parameter {name!r} is missing", field="params_json", next_step=f"--param {name}=…"
            )
        settled[name] = values.get(name, param.default)
        _check(name, param.schema, settled[name])
    return parameters.encode(settled)


def _check(name: str, schema: Mapping[str, Any], value: Any) -> None:
    if not schema:
        return
    whole = {"title": "run", "type": "object", "properties": {name: schema}, "additionalProperties": True}
    for problem in validate_params(whole, {name: value}):
        raise ParamInvalid(
            problem.message.replace("of operator 'run' ", ""), field="params_json", next_step="correct it"
        )


def spec_of(
    account: str, project: str, order: Order, start: Start, *, params: str, max_parallel: int, refresh: bool,
    comment: str, continued_from: int = 0,
) -> Spec:  # fmt: skip
    """What is asked for; number, version and time come later."""
    return Spec(
        0,
        account,
        account,
        project,
        0,
        order,
        start,
        params,
        max_parallel,
        refresh,
        comment,
        continued_from,
        0,
    )
