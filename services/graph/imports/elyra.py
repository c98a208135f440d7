"""Elyra v3 pipelines: scripts and notebooks that pass files on.

`{doc_type: "pipeline", primary_pipeline, pipelines: [{id, nodes: [{id, type, op, app_data, inputs:
[{links}]}]}]}`. Scripts become command nodes that really run: `python FILE`, `Rscript FILE`, and `papermill FILE
…` for a notebook; the files that a node declares as outputs are ports, and every node downstream gets them at the
same paths, as there. Other components are placeholders unless an agent offers them. Pipelines within pipelines are
sub-graphs. The order of the list stands in for the order in which nodes were dragged in. Pure.
"""

from typing import Any

from msgspec.structs import replace

from modelyard.image_names import is_image
from services.graph.canvases.canvas import Canvas, Edge, Node, Position, Subgraph, SubgraphWork
from services.graph.canvases.operators import PLACEHOLDER, Catalogue
from services.graph.imports import commands
from services.graph.imports.format import Format
from services.graph.imports.naming import Names, laid_out, operator_name, port_name, word_of
from services.graph.imports.part import Part
from services.graph.imports.report import Report

_NAME = "elyra"
_PROGRAMS = {
    "execute-python-node": "python",
    "execute-r-node": "Rscript",
    "execute-notebook-node": "papermill",
}
_OF_RUNTIME = ("runtime_image", "dependencies", "include_subdirectories", "mounted_volumes", "kubernetes_secrets",
               "kubernetes_pod_annotations", "kubernetes_pod_labels", "kubernetes_tolerations",
               "kubernetes_shared_mem_size", "gpu_vendor", "disallow_cached_output")  # fmt: skip
_FALLBACK = "modelyard"
FILE_EDGES_MOST = 100_000
"""Beyond that a node gets the files of its parents only."""


def _recognises(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("pipelines"), list) and (
        value.get("doc_type") == "pipeline" or "primary_pipeline" in value
    )  # fmt: skip


def _read(value: Any, report: Report, operators: Catalogue) -> Canvas:
    document = Part(value, "", report)
    names = Names()
    pipelines = [(each.text("id"), each) for each in document.parts("pipelines")]
    primary = document.text("primary_pipeline")
    if pipelines and primary not in dict(pipelines):
        report.add("primary_pipeline", "names no pipeline; the first one is taken")
        primary = pipelines[0][0]
    for original, _ in pipelines:
        if original != primary:
            names.take(original)
    canvas, subgraphs = Canvas(), dict[str, Subgraph]()
    for original, part in pipelines:
        name = "" if original == primary else names.of(original) or original
        body = _Pipeline(part, name, names, operators).canvas()
        if original == primary:
            canvas = body
        else:
            subgraphs[name] = Subgraph(body)
    document.tell_rest(silent=("doc_type", "version", "json_schema", "id", "schemas", "app_data"))
    return replace(canvas, subgraphs=subgraphs)


class _Pipeline:
    """The nodes and edges of one pipeline."""

    def __init__(self, part: Part, name: str, pipelines: Names, operators: Catalogue) -> None:
        self._part, self._name, self._pipelines, self._operators = part, name, pipelines, operators
        defaults = part.part("app_data").part("properties").part("pipeline_defaults")
        self._image = defaults.text("runtime_image")
        self._names = Names()
        self._taken = [(self._names.take(each.text("id")), each) for each in part.parts("nodes")]
        self._parents = {node_id: self._sources(node_id, each) for node_id, each in self._taken}
        self._details = {node_id: _details(each) for node_id, each in self._taken}
        self._outputs = {
            node_id: [path for path in _texts(details, "outputs") if commands.is_file(path)]
            for node_id, details in self._details.items()
        }

    def canvas(self) -> Canvas:
        upstream = self._upstream()
        nodes = [self._node(node_id, part, upstream[node_id]) for node_id, part in self._taken]
        edges = self._edges({node.id: node for node in nodes}, upstream)
        app_data = self._part.part("app_data")
        app_data.tell_rest(
            silent=(
                "version",
                "ui_data",
                "comments",
                "runtime_type",
                "properties",
                "runtime",
                "source",
                "name",
            )
        )
        self._part.tell_rest(silent=("runtime_ref", "id"))
        return Canvas(tuple(laid_out(nodes, edges)), tuple(edges))

    def _sources(self, node_id: str, part: Part) -> list[str]:
        found: dict[str, None] = {}
        for port in part.parts("inputs"):
            for link in port.parts("links"):
                source = self._names.of(link.text("node_id_ref"))
                if source is None:
                    link.report.add(link.path, "leads from a node that is not there; left out", node_id)
                else:
                    found[source] = None
        return list(found)

    def _upstream(self) -> dict[str, list[str]]:
        """By node the makers of all files that are there when it starts: its parents and theirs, bounded."""
        found: dict[str, dict[str, None]] = {}
        unmet = {node_id: len(parents) for node_id, parents in self._parents.items()}
        children: dict[str, list[str]] = {node_id: [] for node_id in self._parents}
        for node_id, parents in self._parents.items():
            for parent in parents:
                children[parent].append(node_id)
        ready, count = [node_id for node_id, number in unmet.items() if not number], 0
        for node_id in ready:
            found[node_id] = {}
            for parent in self._parents[node_id]:
                if count < FILE_EDGES_MOST:
                    found[node_id].update(found[parent])
                if self._outputs[parent]:
                    found[node_id][parent] = None
            count += len(found[node_id])
            for child in children[node_id]:
                unmet[child] -= 1
                if not unmet[child]:
                    ready.append(child)
        if count >= FILE_EDGES_MOST:
            self._part.report.add(
                self._part.path,
                "passes on too many files; from some node on only those of parents are kept",
            )
        # What lies on a cycle is told by the validation.
        return {node_id: list(found.get(node_id, {})) for node_id in self._parents}

    def _node(self, node_id: str, part: Part, upstream: list[str]) -> Node:
        app_data, kind, op = part.part("app_data"), part.text("type"), part.text("op")
        ui_data = app_data.part("ui_data")
        details = self._details[node_id]
        label = app_data.text("label") or ui_data.text("label")
        node = Node(
            id=node_id,
            label=label,
            position=Position(ui_data.number("x_pos"), ui_data.number("y_pos")),
            resources=_resources(details),
        )
        for silent in ("inputs", "outputs"):
            part.value(silent)
        if kind == "super_node":
            return replace(node, subgraph=self._body(part), resources=None)
        app_data.tell_rest(
            node_id, ("version", "component_source", "component_parameters", *details_fields(details))
        )
        part.tell_rest(node_id)
        program = _PROGRAMS.get(op)
        if program:
            inputs = [path for source in upstream for path in self._outputs[source]]
            environment = self._environment(details, node_id)
            command = self._command(details, program, node_id, inputs)
            return replace(node, command=command, environment=environment)
        operator = operator_name(_NAME, op or kind or "node", self._operators)
        if operator.startswith(PLACEHOLDER):
            part.report.add(part.at("op"), f"no agent offers {op or kind!r}: a placeholder", node_id)
        return replace(node, operator=operator, initial_params=dict(details.rest()))

    def _command(self, details: Part, program: str, node_id: str, inputs: list[str]) -> Any:
        filename = details.text("filename")
        # A name that begins with a dash would be taken for an option.
        script = f"./{filename}" if filename.startswith("-") else filename
        argv = [program, script]
        if program == "papermill":
            argv.append(script.removesuffix(".ipynb") + "-output.ipynb")
        if filename:
            details.report.need(
                details.at("filename"), f"runs {filename!r} of the node's bundle: give it one", node_id,
                filename, self._name,
            )  # fmt: skip
        for path in _texts(details, "outputs"):
            if not commands.is_file(path):
                details.report.add(
                    details.at("outputs"), f"{path!r} is no path below a working directory; left out", node_id
                )
        env = _env(details)
        details.tell_rest(node_id)
        return commands.command_of(argv, inputs, self._outputs[node_id], env)

    def _environment(self, details: Part, node_id: str) -> dict[str, Any] | None:
        """The image that the script runs in there: its own, or the pipeline's."""
        own = details.text("runtime_image")
        image, report = own or self._image, details.report
        if not image:
            return None
        path = details.at("runtime_image")
        if not is_image(image):
            report.add(path, f"{image!r} is no name of an image; the script runs on the node itself", node_id)
            return None
        report.add(
            path,
            f"kept as environment.image: it runs in a container of {image!r}, without a network; "
            "environment.network: bridge gives it one, no environment runs it on the node itself",
            node_id,
        )
        return {"image": image}

    def _body(self, part: Part) -> SubgraphWork:
        original = part.part("subflow_ref").text("pipeline_id_ref")
        return SubgraphWork(self._pipelines.of(original) or port_name(original))

    def _edges(self, works: dict[str, Node], upstream: dict[str, list[str]]) -> list[Edge]:
        edges: list[Edge] = []
        for node_id, parents in self._parents.items():
            linked = set()
            for source in upstream[node_id] if works[node_id].command else []:
                if works[source].command and len(edges) < FILE_EDGES_MOST:
                    linked.add(source)
                    ports = [commands.file_port(path) for path in self._outputs[source]]
                    edges += [Edge("", source, port, node_id, port) for port in ports]
            edges += [Edge("", each, target=node_id, is_order=True) for each in parents if each not in linked]
        return edges


def _details(part: Part) -> Part:
    """The settings of a node: newer documents have them one level further down."""
    app_data = part.part("app_data")
    inner = app_data.part("component_parameters")
    return inner if inner else app_data


def details_fields(details: Part) -> tuple[str, ...]:
    """What counts as a setting where settings lie beside everything else."""
    if details.path.endswith("component_parameters"):
        return ()
    return ("filename", "outputs", "env_vars", "cpu", "gpu", "memory", "label", "ui_data", *_OF_RUNTIME)


def _texts(details: Part, name: str) -> list[str]:
    """A list of texts, which newer documents write as objects."""
    found = []
    for each in details.values(name):
        value = each.get("value", each.get("path")) if isinstance(each, dict) else each
        if isinstance(value, str) and value:
            found.append(value)
    return list(dict.fromkeys(found))


def _env(details: Part) -> dict[str, str]:
    env = {}
    for each in details.values("env_vars"):
        if isinstance(each, dict) and isinstance(each.get("env_var"), str):
            env[each["env_var"]] = str(each.get("value", ""))
        elif isinstance(each, str) and "=" in each:
            name, _, value = each.partition("=")
            env[name] = value
    return env


def _resources(details: Part) -> dict[str, Any] | None:
    resources: dict[str, Any] = {}
    for name in ("cpu", "gpu"):
        if details.value(name) not in (None, "") and (count := details.number(name)) > 0:
            resources[name] = count
    if details.value("memory") not in (None, "") and (gigabytes := details.number("memory")) > 0:
        resources["memory_bytes"] = int(gigabytes * 10**9)
    return resources or None


def _write(canvas: Canvas) -> Any:
    pipelines = [_pipeline("primary", canvas)]
    pipelines += [_pipeline(name, subgraph.canvas) for name, subgraph in canvas.subgraphs.items()]
    return {
        "doc_type": "pipeline",
        "version": "3.0",
        "id": "canvas",
        "primary_pipeline": "primary",
        "pipelines": pipelines,
    }


def _pipeline(name: str, canvas: Canvas) -> dict[str, Any]:
    parents: dict[str, dict[str, None]] = {node.id: {} for node in canvas.nodes}
    for edge in canvas.edges:
        if edge.source in parents and edge.target in parents:
            parents[edge.target][edge.source] = None
    return {
        "id": name,
        "nodes": [_node_document(node, list(parents[node.id])) for node in canvas.nodes],
        "app_data": {"version": 7, "ui_data": {"comments": []}, "properties": {}},
        "runtime_ref": "",
    }


def _node_document(node: Node, parents: list[str]) -> dict[str, Any]:
    position = node.position or Position()
    op, parameters = _work(node)
    links = [
        {"id": f"{node.id}-{number}", "node_id_ref": parent, "port_id_ref": "outPort"}
        for number, parent in enumerate(parents, start=1)
    ]
    document: dict[str, Any] = {
        "id": node.id,
        "type": "super_node" if node.subgraph else "execution_node",
        "op": op,
        "app_data": {
            "label": node.label,
            "component_parameters": parameters,
            "ui_data": {"label": node.label, "x_pos": position.x, "y_pos": position.y},
        },
        "inputs": [{"id": "inPort", "links": links}],
        "outputs": [{"id": "outPort"}],
    }
    if node.subgraph:
        document["subflow_ref"] = {"pipeline_id_ref": node.subgraph.subgraph}
    return document


def _work(node: Node) -> tuple[str, dict[str, Any]]:
    argv = commands.argv_of(node.command) if node.command else []
    ops = {program: op for op, program in _PROGRAMS.items()}
    if node.command and len(argv) >= 2 and argv[0] in ops:
        parameters: dict[str, Any] = {"filename": argv[1], "outputs": list(node.command.outputs.values())}
        parameters["env_vars"] = [
            {"env_var": name, "value": value} for name, value in node.command.env.items()
        ]
        if image := (node.environment or {}).get("image"):
            parameters["runtime_image"] = image
        return ops[argv[0]], {**parameters, **_asked(node.resources or {})}
    if node.operator:
        return word_of(_NAME, node.operator), {**node.initial_params, **_asked(node.resources or {})}
    return f"{_FALLBACK}.{node.works[0] if node.works else 'none'}", {}


def _asked(resources: dict[str, Any]) -> dict[str, Any]:
    asked = {name: resources[name] for name in ("cpu", "gpu") if resources.get(name)}
    memory = resources.get("memory_bytes")
    return {**asked, "memory": memory / 10**9} if isinstance(memory, int | float) and memory else asked


FORMAT = Format(_NAME, _recognises, _read, _write, ("app_data",))
