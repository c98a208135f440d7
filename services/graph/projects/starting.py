"""How a run begins: from a project's version to what the machine is asked (S1.2, S1.3)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from modelyard.operator import validate_params
from services.chassis.errors import InvalidArgument
from services.graph.canvases.canvas import Canvas
from services.graph.model import Graph, Order
from services.graph.projects.library import Library
from services.graph.records.projects import Project, Projects
from services.graph.records.store import RunStore
from services.graph.runs import parameters
from services.graph.runs.state import Spec, Start


class ParamUnknown(InvalidArgument):
    """The canvas declares no parameter of this name."""


class ParamMissing(InvalidArgument):
    """The run has to give this parameter."""


class ParamInvalid(InvalidArgument):
    """A parameter does not fit what the canvas declares."""


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
        spec = msgspec.structs.replace(spec, version=found.version, params=params)
        return Plan(spec, graph, await self._store.plan(graph))


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
