"""Canvases as KFP's PipelineSpec 2. Pure."""

from typing import Any

import msgspec

from services.graph.canvases.canvas import Canvas, Edge, Node, Subgraph, body_of
from services.graph.canvases.operators import PLACEHOLDER
from services.graph.imports.kfp_conditions import Test, write_condition
from services.graph.model import CachePolicy, Trigger

WHEN, THEN = "when", "then"
"""A task that runs on a condition becomes a node and, before it, a branch of its id and this ending, with this port."""
_TYPES = {
    "integer": "NUMBER_INTEGER",
    "number": "NUMBER_DOUBLE",
    "string": "STRING",
    "boolean": "BOOLEAN",
    "array": "LIST",
    "object": "STRUCT",
}
_COMMAND = ["yard", "call"]


def write(canvas: Canvas) -> Any:
    """The specification; YAML readers take it, for it is JSON."""
    writer = _Writer()
    root = writer.dag(canvas, None)
    for name, subgraph in canvas.subgraphs.items():
        writer.components[f"comp-{name}"] = writer.dag(subgraph.canvas, subgraph)
    label = canvas.extra.get("name")
    return {
        "pipelineInfo": {"name": label if isinstance(label, str) else "canvas"},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.0.0",
        "root": {**root, "inputDefinitions": {"parameters": _definitions(canvas)}},
        "components": writer.components,
        "deploymentSpec": {"executors": writer.executors},
    }


def _definitions(canvas: Canvas) -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    for name, param in canvas.params.items():
        kind = param.schema.get("type")
        definition: dict[str, Any] = {
            "parameterType": _TYPES.get(kind, "STRUCT") if isinstance(kind, str) else "STRUCT"
        }
        if param.default is not msgspec.UNSET:
            definition["defaultValue"] = param.default
        if param.description:
            definition["description"] = param.description
        definitions[name] = definition
    return definitions


class _Writer:
    """Collects the components and executors that tasks refer to."""

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}
        self.executors: dict[str, Any] = {}

    def dag(self, canvas: Canvas, subgraph: Subgraph | None) -> dict[str, Any]:
        """The tasks of a canvas; a branch that is not that of a condition is a task like another."""
        nodes = {node.id: node for node in canvas.nodes}
        inputs = _Inputs(canvas, nodes, subgraph)
        tasks = {}
        for node in canvas.nodes:
            if node.id not in inputs.tests:
                tasks[node.id] = self._task(node, inputs)
        document: dict[str, Any] = {"dag": {"tasks": tasks}}
        if subgraph is not None:
            document["dag"]["outputs"] = {
                "parameters": {port.name: _output(port.node, port.port) for port in subgraph.outputs}
            }
            document["inputDefinitions"] = {
                "parameters": {port.name: {"parameterType": "STRUCT"} for port in subgraph.inputs}
            }
        return document

    def _task(self, node: Node, inputs: "_Inputs") -> dict[str, Any]:
        task: dict[str, Any] = {
            "taskInfo": {"name": node.label or node.id},
            "componentRef": {"name": self._component(node)},
            "inputs": {"parameters": inputs.of(node)},
            "cachingOptions": {} if node.cache is CachePolicy.OFF else {"enableCache": True},
        }
        before = inputs.before.get(node.id)
        if before:
            task["dependentTasks"] = list(before)
        policy: dict[str, Any] = {}
        if node.trigger is not Trigger.ALL_DONE:
            policy["strategy"] = "ALL_UPSTREAM_TASKS_COMPLETED"
        if node.id in inputs.conditions:
            policy["condition"] = inputs.conditions[node.id]
        if policy:
            task["triggerPolicy"] = policy
        if node.map is not None:
            task["parameterIterator"] = {
                "items": {"inputParameter": "items"},
                "itemInput": node.map.item_port,
            }
            task["iteratorPolicy"] = (
                {"parallelismLimit": node.map.max_parallel} if node.map.max_parallel else {}
            )
        retry = node.retry or {}
        attempts = retry.get("max_attempts", retry.get("maxAttempts"))
        if isinstance(attempts, int) and attempts > 1:
            task["retryPolicy"] = {"maxRetryCount": attempts - 1}
            if isinstance(retry.get("backoff"), str):
                task["retryPolicy"]["backoffDuration"] = retry["backoff"]
        return task

    def _component(self, node: Node) -> str:
        body = body_of(node)
        if body is not None and node.loop is None:
            return f"comp-{body}"
        word = node.operator.removeprefix(PLACEHOLDER).removeprefix("kfp.")
        word = word or f"modelyard.{node.works[0] if node.works else 'none'}"
        name = f"comp-{word}"
        self.components.setdefault(name, {"executorLabel": f"exec-{word}"})
        kept = node.extra.get("kfp")
        executor = kept.get("executor") if isinstance(kept, dict) else None
        container = {"container": {"image": "modelyard", "command": [*_COMMAND, word]}}
        self.executors.setdefault(f"exec-{word}", executor if isinstance(executor, dict) else container)
        return name


class _Inputs:
    """What flows into the tasks of one canvas."""

    def __init__(self, canvas: Canvas, nodes: dict[str, Node], subgraph: Subgraph | None) -> None:
        self.tests = _tests(canvas, nodes)
        self.conditions: dict[str, str] = {}
        self.before: dict[str, dict[str, None]] = {}
        self._given: dict[str, dict[str, Any]] = {}
        into = {edge.target: edge for edge in canvas.edges if edge.target in self.tests}
        ports = [] if subgraph is None else list(subgraph.inputs)
        outer = {port.node: port.name for port in ports if port.node in self.tests}
        for port in ports:
            if port.node not in self.tests:
                self._give(port.node, port.port, {"componentInputParameter": port.name})
        for edge in canvas.edges:
            if edge.target in self.tests or edge.source not in nodes:
                continue
            if edge.is_order:
                self.before.setdefault(edge.target, {})[edge.source] = None
            elif edge.source not in self.tests:
                self._give(edge.target, edge.target_port, _from(edge))
            else:
                self._guard(edge, into, outer)

    def of(self, node: Node) -> dict[str, Any]:
        """The task's inputs by name."""
        constants: dict[str, Any] = {}
        for name, value in node.initial_params.items():
            is_param = (
                isinstance(value, dict) and value.keys() == {"$param"} and isinstance(value["$param"], str)
            )
            constants[name] = (
                {"componentInputParameter": value["$param"]}
                if is_param
                else {"runtimeValue": {"constant": value}}
            )
        return {**constants, **self._given.get(node.id, {})}

    def _guard(self, edge: Edge, into: dict[str, Edge], outer: dict[str, str]) -> None:
        name, branch = edge.target_port, edge.source
        self.conditions[edge.target] = write_condition(Test(name, self.tests[branch].condition))
        if branch in into:
            self._give(edge.target, name, _from(into[branch]))
        elif branch in outer:
            self._give(edge.target, name, {"componentInputParameter": outer[branch]})

    def _give(self, node: str, port: str, value: dict[str, Any]) -> None:
        self._given.setdefault(node, {})[port or "value"] = value


def _tests(canvas: Canvas, nodes: dict[str, Node]) -> dict[str, Test]:
    """The branches that are no more than the condition of one task."""
    out: dict[str, list[Edge]] = {}
    for edge in canvas.edges:
        out.setdefault(edge.source, []).append(edge)
    found = {}
    for node in canvas.nodes:
        if node.branch is None or len(node.branch.cases) != 1 or node.branch.cases[0].port != THEN:
            continue
        edges = out.get(node.id, [])
        test = Test(edges[0].target_port, node.branch.cases[0].condition) if len(edges) == 1 else None
        is_guard = test and edges[0].source_port == THEN and node.id == f"{edges[0].target}.{WHEN}"
        if test and is_guard and edges[0].target in nodes and write_condition(test):
            found[node.id] = test
    return found


def _from(edge: Edge) -> dict[str, Any]:
    return {"taskOutputParameter": {"producerTask": edge.source, "outputParameterKey": edge.source_port}}


def _output(node: str, port: str) -> dict[str, Any]:
    return {"valueFromParameter": {"producerSubtask": node, "outputParameterKey": port}}
