"""ComfyUI's API form, the "prompt": `{"3": {"class_type": "KSampler", "inputs": {"model": ["4", 0]}, "_meta": {…}}}`.

A list of a node's id and a number is a link; anything else in `inputs` is a parameter. There are no positions:
nodes are laid out by level. ids count up as nodes are put on the canvas, so their numeric order stands in for the
order in which nodes were dragged in. The envelope `{"prompt": …, "extra_data": …}` of a request is read as well,
and written. Pure.
"""

import re
from typing import Any

from services.graph.canvases.canvas import Canvas, Edge, Node
from services.graph.canvases.operators import PLACEHOLDER, Catalogue
from services.graph.imports.format import Format
from services.graph.imports.naming import Names, laid_out, operator_name, port_name, word_of
from services.graph.imports.part import Part
from services.graph.imports.report import Report

NAME = "comfyui-api"
FAMILY = "comfyui"


def _recognises(value: Any) -> bool:
    prompt = _prompt(value)
    if not prompt:
        return (
            isinstance(value, dict)
            and value.get("prompt") == {}
            and isinstance(value.get("extra_data"), dict)
        )
    return all(isinstance(one, dict) and "class_type" in one for one in list(prompt.values())[:10])


def _prompt(value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and isinstance(value.get("prompt"), dict):
        value = value["prompt"]
    return value if isinstance(value, dict) else {}


def _read(value: Any, report: Report, operators: Catalogue) -> Canvas:
    prompt = _prompt(value)
    inside = "prompt" if prompt is not value else ""
    if inside:
        Part(value, "", report).tell_rest(silent=("prompt", "extra_data", "client_id"))
    names = Names()
    parts = sorted(Part(prompt, inside, report).members(), key=lambda each: number_of(each[0]))
    taken = [(names.take(original), part) for original, part in parts]
    works = {node_id: operator_name(FAMILY, part.text("class_type"), operators) for node_id, part in taken}
    nodes, edges = [], list[Edge]()
    for node_id, part in taken:
        operator = works[node_id]
        if operator.startswith(PLACEHOLDER):
            word = word_of(FAMILY, operator)
            report.add(part.at("class_type"), f"no agent offers {word!r}: a placeholder", node_id)
        params, links = _inputs(part.part("inputs"), node_id, names)
        for name, source, slot in links:
            port = output_name(works[source], slot, operators)
            edges.append(Edge("", source, port, node_id, port_name(name)))
        label = part.part("_meta").text("title")
        part.tell_rest(node_id)
        nodes.append(Node(id=node_id, operator=operator, initial_params=params, label=label))
    return Canvas(tuple(laid_out(nodes, edges)), tuple(edges))


def number_of(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts "9" before "10", and "9:2" after "9"; numbers before names."""
    return tuple(
        (0, int(piece), "") if re.fullmatch(r"[0-9]{1,18}", piece) else (1, 0, piece)
        for piece in text.split(":")
    )


def output_name(operator: str, slot: int, operators: Catalogue) -> str:
    """The port of an output that is known by its number only."""
    known = operators.get(operator.partition("@")[0])
    if known is not None and 0 <= slot < len(known.outputs):
        return known.outputs[slot].name
    return str(slot)


def _inputs(part: Part, node_id: str, names: Names) -> tuple[dict[str, Any], list[tuple[str, str, int]]]:
    """Parameters, and links: input, source, slot."""
    params, links = {}, []
    for name, value in part.rest().items():
        link = _link(value)
        source = names.of(link[0]) if link else None
        if link and source is not None:
            links.append((name, source, link[1]))
            continue
        if link:
            part.report.add(
                part.at(name), f"links to {link[0]!r}, which is not there; taken as a parameter", node_id
            )
        params[name] = value
    return params, links


def _link(value: Any) -> tuple[str, int] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    node, slot = value
    is_link = isinstance(node, str) and isinstance(slot, int) and not isinstance(slot, bool) and slot >= 0
    return (node, slot) if is_link else None


def _write(canvas: Canvas) -> Any:
    slots = slots_of(canvas)
    prompt: dict[str, Any] = {}
    for node in canvas.nodes:
        work = node.operator or (f"modelyard.{node.works[0]}" if node.works else "modelyard.none")
        prompt[node.id] = {
            "class_type": word_of(FAMILY, work),
            "inputs": dict(node.initial_params),
            **({"_meta": {"title": node.label}} if node.label else {}),
        }
    for edge in canvas.edges:
        if edge.target in prompt and edge.source in prompt and not edge.is_order:
            name = edge.target_port or "value"
            prompt[edge.target]["inputs"][name] = [edge.source, slots[edge.source][edge.source_port]]
    return {"prompt": prompt, "extra_data": {}}


def slots_of(canvas: Canvas) -> dict[str, dict[str, int]]:
    """By node the numbers of its output ports: those that are numbers keep theirs, others follow by name."""
    ports: dict[str, set[str]] = {node.id: set() for node in canvas.nodes}
    for edge in canvas.edges:
        if not edge.is_order:
            ports.setdefault(edge.source, set()).add(edge.source_port)
    return {node_id: _numbered(sorted(names)) for node_id, names in ports.items()}


def _numbered(names: list[str]) -> dict[str, int]:
    numbers = {name: int(name) for name in names if re.fullmatch(r"0|[1-9][0-9]{0,5}", name)}
    taken, free = set(numbers.values()), 0
    for name in names:
        if name not in numbers:
            while free in taken:
                free += 1
            numbers[name] = free
            free += 1
    return numbers


def _envelope(value: Any) -> Any:
    """A bare prompt as a request: what lies beside its nodes would be taken for one."""
    return value if _prompt(value) is not value else {"prompt": value, "extra_data": {}}


FORMAT = Format(NAME, _recognises, _read, _write, ("extra_data",), FAMILY, _envelope)
