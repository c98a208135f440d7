"""WfFormat 1.5, the form of workflow traces: tasks that run commands on files.

`workflow.specification.tasks` has the graph, `workflow.execution.tasks` the commands and what they took. A task
with a command becomes a command node with its files as ports; one without becomes a `sleep` as long as it ran, so
that a bare trace can be replayed; one without either is a placeholder. The order of the list stands in for the
order in which nodes were dragged in. Pure.
"""

from typing import Any

from msgspec.structs import replace

from services.graph.canvases.canvas import Canvas, Edge, Node
from services.graph.canvases.operators import PLACEHOLDER, Catalogue
from services.graph.imports import commands
from services.graph.imports.format import Format
from services.graph.imports.naming import Names, laid_out, operator_name, word_of
from services.graph.imports.part import Part
from services.graph.imports.report import Report
from services.graph.model import EDGES_MOST

_NAME = "wfformat"
_MEASURED = (
    "executedAt",
    "avgCPU",
    "readBytes",
    "writtenBytes",
    "energyInKWh",
    "avgPowerInW",
    "priority",
    "machines",
)
_SLEEP = "sleep"


def _recognises(value: Any) -> bool:
    workflow = value.get("workflow") if isinstance(value, dict) else None
    return isinstance(workflow, dict) and ("specification" in workflow or "tasks" in workflow)


def _read(value: Any, report: Report, operators: Catalogue) -> Canvas:
    document = Part(value, "", report)
    name, workflow = document.text("name"), document.part("workflow")
    specification, execution = workflow.part("specification"), workflow.part("execution")
    ran = {part.text("id"): part for part in execution.parts("tasks")}
    names = Names()
    taken = [
        (names.take(part.text("id") or part.text("name")), part) for part in specification.parts("tasks")
    ]
    files = {
        node_id: (_files(part, "inputFiles", node_id), _files(part, "outputFiles", node_id))
        for node_id, part in taken
    }
    nodes = [
        _node(node_id, part, ran.get(part.text("id")), files[node_id], operators) for node_id, part in taken
    ]
    edges = _edges(taken, nodes, files, names, report)
    for part in (document, workflow, specification, execution):
        part.tell_rest(silent=("schemaVersion", "createdAt", "author", "runtimeSystem", "description", "machines",
                               "files", "makespanInSeconds", "executedAt"))  # fmt: skip
    extra = {"name": name} if name else {}
    return Canvas(tuple(laid_out(nodes, edges)), tuple(edges), extra=extra)


def _files(part: Part, side: str, node: str) -> list[str]:
    paths = list(dict.fromkeys(part.texts(side)))
    for path in paths:
        if not commands.is_file(path):
            part.report.add(part.at(side), f"{path!r} is no path below a working directory; left out", node)
    return [path for path in paths if commands.is_file(path)]


def _node(
    node_id: str, part: Part, ran: Part | None, files: tuple[list[str], list[str]], operators: Catalogue
) -> Node:
    report, label = part.report, part.text("name")
    ran = ran or Part({}, part.path, report)
    for side in ("parents", "children"):
        part.value(side)
    node = Node(id=node_id, label=label, resources=_resources(ran))
    command = ran.part("command")
    program, arguments = command.text("program"), command.texts("arguments")
    runtime = ran.number("runtimeInSeconds", -1.0)
    word = part.text("operator")
    part.tell_rest(node_id, ("category", "inputFiles", "outputFiles"))
    ran.tell_rest(node_id, _MEASURED)
    if program and "/" in program and commands.is_file(program):
        report.need(
            command.at("program"), f"runs {program!r} of the node's bundle: give it one", node_id, program
        )
    if program:
        return replace(node, command=commands.command_of([program, *arguments], *files, {}))
    if word or runtime < 0:
        operator = operator_name(_NAME, word or label or node_id, operators)
        if operator.startswith(PLACEHOLDER):
            report.add(part.path, "has neither a command nor a run time: a placeholder", node_id)
        return replace(node, operator=operator)
    report.add(part.path, f"has no command: it sleeps for the {runtime} s that it ran", node_id)
    return replace(node, operator=_SLEEP, initial_params={"seconds": runtime})


def _resources(ran: Part) -> dict[str, Any] | None:
    cores, memory = ran.number("coreCount"), ran.integer("memoryInBytes")
    resources: dict[str, Any] = {"cpu": cores} if cores > 0 else {}
    if memory > 0:
        resources["memory_bytes"] = memory
    return resources or None


def _edges(
    taken: list[tuple[str, Part]],
    nodes: list[Node],
    files: dict[str, tuple[list[str], list[str]]],
    names: Names,
    report: Report,
) -> list[Edge]:
    """Files from those that make them to those that need them; an order edge where there is none between the two."""
    makers = {path: node_id for node_id, (_, made) in files.items() for path in made}
    works = {node.id: node for node in nodes}
    edges = []
    for node_id, part in taken:
        before = {found for each in part.texts("parents") if (found := _known(each, names, part, node_id))}
        linked = set()
        for path in files[node_id][0]:
            maker = makers.get(path)
            if maker is None and works[node_id].command:
                report.need(
                    part.at("inputFiles"), f"nothing makes {path!r}: put it into the bundle, or connect it", node_id,
                    path,
                )  # fmt: skip
            elif maker and maker != node_id and works[maker].command and works[node_id].command:
                linked.add(maker)
                edges.append(Edge("", maker, commands.file_port(path), node_id, commands.file_port(path)))
            elif maker and maker != node_id:
                before.add(maker)
        edges += [Edge("", each, target=node_id, is_order=True) for each in sorted(before - linked)]
        if len(edges) > EDGES_MOST:
            report.add(part.path, "has more edges than a canvas takes; the rest is left out", node_id)
            break
    return edges


def _known(original: str, names: Names, part: Part, node: str) -> str:
    found = names.of(original)
    if found is None:
        part.report.add(part.at("parents"), f"there is no task {original!r}; left out", node)
    return found or ""


def _write(canvas: Canvas) -> Any:
    parents: dict[str, dict[str, None]] = {node.id: {} for node in canvas.nodes}
    children: dict[str, dict[str, None]] = {node.id: {} for node in canvas.nodes}
    for edge in canvas.edges:
        if edge.source in parents and edge.target in parents:
            parents[edge.target][edge.source] = children[edge.source][edge.target] = None
    tasks = [_task(node, list(parents[node.id]), list(children[node.id])) for node in canvas.nodes]
    paths = dict.fromkeys(path for task in tasks for path in (*task["inputFiles"], *task["outputFiles"]))
    name = canvas.extra.get("name")
    return {
        "name": name if isinstance(name, str) else "canvas",
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {"tasks": tasks, "files": [{"id": path, "sizeInBytes": 0} for path in paths]},
            "execution": {
                "makespanInSeconds": 0,
                "executedAt": "1970-01-01T00:00:00+00:00",
                "tasks": [_execution(node) for node in canvas.nodes],
            },
        },
    }


def _task(node: Node, parents: list[str], children: list[str]) -> dict[str, Any]:
    work = node.command
    task = {
        "id": node.id,
        "name": node.label or node.id,
        "parents": parents,
        "children": children,
        "inputFiles": commands.inputs_of(work) if work else [],
        "outputFiles": list(work.outputs.values()) if work else [],
    }
    if node.operator and node.operator != _SLEEP:
        task["operator"] = word_of(_NAME, node.operator)
    return task


def _execution(node: Node) -> dict[str, Any]:
    task: dict[str, Any] = {"id": node.id}
    seconds = node.initial_params.get("seconds")
    if node.operator == _SLEEP and isinstance(seconds, int | float):
        task["runtimeInSeconds"] = seconds
    if node.command and node.command.argv:
        program, *arguments = commands.argv_of(node.command) or [""]
        task["command"] = {"program": program, "arguments": arguments}
    resources = node.resources or {}
    for name, field in (("coreCount", "cpu"), ("memoryInBytes", "memory_bytes")):
        if resources.get(field):
            task[name] = resources[field]
    return task


FORMAT = Format(_NAME, _recognises, _read, _write)
