"""KFP's intermediate representation, PipelineSpec 2, as JSON or YAML.

`{root: {dag: {tasks}}, components, deploymentSpec: {executors}, pipelineInfo}`. A component with an executor is
the operator of its name, a placeholder unless an agent offers one; its image and command are kept, and never run.
A component with tasks is a sub-graph; a task with an iterator is a map over it, a task with a condition waits for
a branch, retries and caching become the node's own. The alphabet stands in for the order in which nodes were
dragged in, for the order of a map of tasks says nothing. Writing is in `kfp_writing`. Pure.
"""

from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from services.graph.canvases.canvas import (
    BranchWork,
    Canvas,
    CaseWork,
    ConditionWork,
    Edge,
    MapWork,
    Node,
    Param,
    Subgraph,
    SubgraphPort,
    SubgraphWork,
)
from services.graph.canvases.operators import PLACEHOLDER, Catalogue
from services.graph.imports.format import Format
from services.graph.imports.kfp_bodies import without_unread
from services.graph.imports.kfp_conditions import read_conditions
from services.graph.imports.kfp_writing import THEN, WHEN, write
from services.graph.imports.naming import Names, laid_out, operator_name, port_name
from services.graph.imports.part import Part
from services.graph.imports.report import Report
from services.graph.model import CachePolicy, Comparison, Trigger

NAME = "kfp"
ONE_OF = "first"
"""Ends the id of a node that passes on one of several outputs."""
_TYPES = {
    "NUMBER_INTEGER": "integer",
    "NUMBER_DOUBLE": "number",
    "STRING": "string",
    "BOOLEAN": "boolean",
    "LIST": "array",
    "STRUCT": "object",
}
_ENDED = "ALL_UPSTREAM_TASKS_COMPLETED"


def _recognises(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return isinstance(value.get("root"), dict) and any(
        key in value
        for key in ("components", "deploymentSpec", "deployment_spec", "pipelineInfo", "pipeline_info")
    )


def _read(value: Any, report: Report, operators: Catalogue) -> Canvas:
    document = Part(value, "", report)
    components = dict(document.part("components").members())
    executors = dict(document.part("deploymentSpec").part("executors").members())
    bodies = Names()
    dags = {name: part for name, part in components.items() if "dag" in part}
    for name in dags:
        bodies.take(name.removeprefix("comp-"))
    names = {name: bodies.of(name.removeprefix("comp-")) or name for name in dags}
    reader = _Reader(names, executors, components, operators)
    subgraphs = {names[name]: reader.body(part) for name, part in dags.items()}
    root = document.part("root")
    canvas = reader.body(root, is_root=True).canvas
    canvas, subgraphs = without_unread(canvas, subgraphs)
    label = document.part("pipelineInfo").text("name")
    document.tell_rest(
        silent=("schemaVersion", "schema_version", "sdkVersion", "sdk_version", "defaultPipelineRoot")
    )
    return replace(
        canvas,
        params=_params(root.part("inputDefinitions")),
        subgraphs=subgraphs,
        extra={"name": label} if label else {},
    )


def _params(definitions: Part) -> dict[str, Param]:
    params = {}
    for name, part in definitions.part("parameters").members():
        kind = _TYPES.get(part.text("parameterType"))
        if kind is None and part.text("parameterType"):
            part.report.add(part.at("parameterType"), "is not known: anything is taken")
        default = part.value("defaultValue", None if part.flag("isOptional") else UNSET)
        params[name] = Param({"type": kind} if kind else {}, default, part.text("description"))
    for name, part in definitions.part("artifacts").members():
        part.report.add(
            part.path, f"artefact {name!r} cannot be given to a run; connect it, or use a parameter address"
        )
    return params


class _Reader:
    """Reads the tasks of one DAG after the other."""

    def __init__(
        self,
        bodies: dict[str, str],
        executors: dict[str, Part],
        components: dict[str, Part],
        operators: Catalogue,
    ) -> None:
        self._bodies, self._executors = bodies, executors
        self._components, self._operators = components, operators

    def body(self, part: Part, is_root: bool = False) -> Subgraph:
        """The canvas of a component, and its ports."""
        dag = _Dag(self, is_root)
        tasks = [
            (dag.names.take(name), each) for name, each in sorted(part.part("dag").part("tasks").members())
        ]
        for node_id, each in tasks:
            dag.task(node_id, each)
        outputs = dag.outputs(part.part("dag").part("outputs"))
        canvas = Canvas(tuple(laid_out(dag.nodes, dag.edges)), tuple(dag.edges))
        return Subgraph(canvas, tuple(dict.fromkeys(dag.inputs)), tuple(outputs))

    def work(self, node: Node, part: Part) -> Node:
        """What the task's component does."""
        reference = part.part("componentRef").text("name")
        iterator = part.part("parameterIterator") or part.part("artifactIterator")
        if reference in self._bodies:
            body = self._bodies[reference]
            if not iterator:
                return replace(node, subgraph=SubgraphWork(body), cache=None, trigger=None, retry=None)
            limit = part.part("iteratorPolicy").integer("parallelismLimit")
            work = MapWork(body, port_name(iterator.text("itemInput")), max(0, limit))
            return replace(node, map=work, cache=None, retry=None)
        if iterator:
            part.report.add(iterator.path, "iterates over something that is no sub-graph; left out", node.id)
        word = reference.removeprefix("comp-")
        operator = operator_name(NAME, word or "task", self._operators)
        component = self._components.get(reference)
        if component is None:
            part.report.add(
                part.at("componentRef"), f"there is no component {reference!r}: a placeholder", node.id
            )
            return replace(node, operator=operator)
        executor = self._executors.get(component.text("executorLabel"))
        if operator.startswith(PLACEHOLDER):
            part.report.add(part.at("componentRef"), f"no agent offers {word!r}: a placeholder", node.id)
        kept = executor.rest() if executor else {}
        return replace(node, operator=operator, extra={NAME: {"executor": kept}} if kept else {})


class _Dag:
    """What is known of one DAG while it is read."""

    def __init__(self, reader: _Reader, is_root: bool) -> None:
        self._reader, self._is_root = reader, is_root
        self.names = Names()
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.inputs: list[SubgraphPort] = []
        self._first_edge = self._first_input = 0
        """From there on they are the present task's."""

    def task(self, node_id: str, part: Part) -> None:
        """Takes a task with all that leads to it."""
        self._first_edge, self._first_input = len(self.edges), len(self.inputs)
        label = part.part("taskInfo").text("name")
        policy = part.part("triggerPolicy")
        has_ended = policy.text("strategy") == _ENDED
        node = Node(
            id=node_id,
            label=label if label != node_id else "",
            trigger=None if has_ended else Trigger.ALL_DONE,
            retry=_retry(part.part("retryPolicy")),
            cache=None if part.part("cachingOptions").flag("enableCache") else CachePolicy.OFF,
        )
        node = self._reader.work(node, part)
        inputs = part.part("inputs")
        condition = policy.text("condition")
        params: dict[str, Any] = {}
        for kind in ("parameters", "artifacts"):
            for name, source in inputs.part(kind).members():
                self._input(node, port_name(name), source, params)
        if condition:
            self._condition(node, condition, policy, params)
        self._items(node, part, params)
        self._order(node_id, part)
        if node.works != ["operator"] and params:
            self._constants(node, params)
            params = {}
        part.tell_rest(node_id, ("iteratorPolicy", "componentRef"))
        self.nodes.append(replace(node, initial_params=params))

    def _input(self, node: Node, name: str, part: Part, params: dict[str, Any]) -> None:
        for kind, output in (
            ("taskOutputParameter", "outputParameterKey"),
            ("taskOutputArtifact", "outputArtifactKey"),
        ):
            if kind in part:
                link = part.part(kind)
                source = self.names.of(link.text("producerTask"))
                if source is None:
                    part.report.add(link.at("producerTask"), "names no task; left out", node.id)
                else:
                    self.edges.append(Edge("", source, port_name(link.text(output)), node.id, name))
                return
        if "componentInputParameter" in part:
            self._from_outside(node, name, part.text("componentInputParameter"), params)
        elif "componentInputArtifact" in part:
            self.inputs.append(SubgraphPort(port_name(part.text("componentInputArtifact")), node.id, name))
        elif "runtimeValue" in part:
            value = part.part("runtimeValue")
            if "runtimeParameter" in value:
                params[name] = {"$param": value.text("runtimeParameter")}
            else:
                params[name] = value.value("constant", value.value("constantValue"))
        else:
            part.report.add(part.path, "comes from something that is not understood; left out", node.id)

    def _from_outside(self, node: Node, name: str, outer: str, params: dict[str, Any]) -> None:
        if self._is_root:
            params[name] = {"$param": outer}
        else:
            self.inputs.append(SubgraphPort(port_name(outer), node.id, name))

    def _condition(self, node: Node, text: str, policy: Part, params: dict[str, Any]) -> None:
        """Puts a branch before the input that the condition looks at: without a value nothing runs behind it. Before a
        sub-graph, and where several conditions have to hold, branches stand beside it, and it waits for their ports."""
        tests = read_conditions(text)
        names = [port_name(test.parameter) for test in tests]
        known = [
            n for n in names if self._edge_to(n) is not None or self._input_to(n) is not None or n in params
        ]
        if not tests or len(known) < len(names):
            policy.report.add(
                policy.at("condition"), f"{text!r} is not understood; the node runs always", node.id
            )
            return
        is_beside = len(tests) > 1 or node.works != ["operator"]
        for name, test in zip(names, tests, strict=True):
            branch = self.names.fresh(f"{node.id}.{WHEN}")
            work = BranchWork((CaseWork(THEN, test.condition),))
            self.nodes.append(Node(id=branch, branch=work, trigger=node.trigger))
            if is_beside:
                self._copy(name, branch, params)
                self.edges.append(Edge("", branch, THEN, node.id, is_order=True))
            else:
                self._move(name, branch, params)
                self.edges.append(Edge("", branch, THEN, node.id, name))

    def _move(self, name: str, branch: str, params: dict[str, Any]) -> None:
        """What came to that input comes to the branch."""
        index, port = self._edge_to(name), self._input_to(name)
        if index is not None:
            self.edges[index] = replace(self.edges[index], target=branch, target_port="value")
        elif port is not None:
            self.inputs[port] = replace(self.inputs[port], node=branch, port="value")
        else:
            self._constant(branch, "value", params.pop(name))

    def _copy(self, name: str, branch: str, params: dict[str, Any]) -> None:
        """What comes to that input comes to the branch as well."""
        index, port = self._edge_to(name), self._input_to(name)
        if index is not None:
            self.edges.append(replace(self.edges[index], target=branch, target_port="value"))
        elif port is not None:
            self.inputs.append(replace(self.inputs[port], node=branch, port="value"))
        else:
            self._constant(branch, "value", params[name])

    def _items(self, node: Node, part: Part, params: dict[str, Any]) -> None:
        """What a map runs over."""
        items = (part.part("parameterIterator") or part.part("artifactIterator")).part("items")
        if node.map is None:
            return
        if "raw" in items:
            self._constant(node.id, "items", _json_of(items.text("raw"), items, node.id))
            return
        name = port_name(items.text("inputParameter") or items.text("inputArtifact"))
        index, port = self._edge_to(name), self._input_to(name)
        if index is not None:
            self.edges[index] = replace(self.edges[index], target_port="items")
        elif port is not None:
            self.inputs[port] = replace(self.inputs[port], port="items")
        elif name in params:
            self._constant(node.id, "items", params.pop(name))
        else:
            items.report.add(items.path, "names no input of the task", node.id)

    def _edge_to(self, port: str) -> int | None:
        """The edge that leads to that input of the present task."""
        numbers = range(self._first_edge, len(self.edges))
        return next((number for number in numbers if self.edges[number].target_port == port), None)

    def _input_to(self, port: str) -> int | None:
        """The input of the whole that leads there."""
        numbers = range(self._first_input, len(self.inputs))
        return next((number for number in numbers if self.inputs[number].port == port), None)

    def _order(self, node_id: str, part: Part) -> None:
        linked = {edge.source for edge in self.edges[self._first_edge :]}
        for number, name in enumerate(part.texts("dependentTasks")):
            source = self.names.of(name)
            if source is None:
                part.report.add(
                    f"{part.at('dependentTasks')}[{number}]", f"there is no task {name!r}; left out", node_id
                )
            elif source not in linked:
                self.edges.append(Edge("", source, target=node_id, is_order=True))

    def _constants(self, node: Node, params: dict[str, Any]) -> None:
        for name, value in params.items():
            self._constant(node.id, name, value)

    def _constant(self, target: str, port: str, value: Any) -> None:
        """A sub-graph, a map and a branch have inputs, and no parameters: a node gives the constant."""
        source = self.names.fresh(f"{target}.{port}")
        self.nodes.append(Node(id=source, operator="echo", initial_params={"value": value}))
        self.edges.append(Edge("", source, "result", target, port))

    def outputs(self, part: Part) -> list[SubgraphPort]:
        """The DAG's own outputs; of one that has several sources that of the first which is done."""
        found = []
        for kind in ("parameters", "artifacts"):
            for name, each in part.part(kind).members():
                selectors = [each.part("valueFromParameter"), *each.parts("artifactSelectors")]
                selectors += each.part("valueFromOneof").parts("parameterSelectors")
                real = [one for one in selectors if one]
                if not real or any(self.names.of(one.text("producerSubtask")) is None for one in real):
                    each.report.add(each.path, "comes from no task; left out")
                    continue
                ends = [self._end(one) for one in real]
                source, output = ends[0] if len(ends) == 1 else self._first_of(name, ends)
                found.append(SubgraphPort(port_name(name), source, output))
        return found

    def _end(self, selector: Part) -> tuple[str, str]:
        source = self.names.of(selector.text("producerSubtask")) or ""
        return source, port_name(selector.text("outputParameterKey") or selector.text("outputArtifactKey"))

    def _first_of(self, name: str, ends: list[tuple[str, str]]) -> tuple[str, str]:
        """A branch that passes on the value of the first of several nodes that is done, as one of them is."""
        join = self.names.fresh(f"{name}.{ONE_OF}")
        always = ConditionWork("", Comparison.EXISTS)
        self.nodes.append(
            Node(id=join, branch=BranchWork((CaseWork(THEN, always),)), trigger=Trigger.ANY_DONE)
        )
        self.edges += [Edge("", source, output, join, "value") for source, output in ends]
        return join, THEN


def _retry(part: Part) -> dict[str, Any] | None:
    count = part.integer("maxRetryCount")
    if count <= 0:
        return None
    for name in ("backoffFactor", "backoffMaxDuration"):
        if part.value(name) not in (None, 2, 2.0):
            part.report.add(part.at(name), "is not taken: waits double from one attempt to the next")
    backoff = part.text("backoffDuration")
    return {"max_attempts": count + 1, **({"backoff": backoff} if backoff else {})}


def _json_of(text: str, part: Part, node: str) -> Any:
    from services.graph.imports.parsing import parse_json_text

    value = parse_json_text(text)
    if not isinstance(value, list):
        part.report.add(part.at("raw"), "is no JSON list; taken as empty", node)
        return []
    return value


FORMAT = Format(NAME, _recognises, _read, write, ("deploymentSpec",))
