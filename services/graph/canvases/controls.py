"""Control nodes, commands and bodies: what of their settings is wrong (S1.3). Pure."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from services.graph.canvases.canvas import ConditionWork, LoopWork, MapWork, Node, body_of
from services.graph.canvases.identifiers import is_port
from services.graph.canvases.operators import Ports, Signatures
from services.graph.canvases.problems import Problem, Reason, shown, suggestion
from services.graph.model import Comparison

ITERATIONS_MOST = 1_000_000
TIMEOUT_MOST_S = 10 * 365 * 86_400
ACCOUNT_LENGTH = 100
_ORDERED = (
    Comparison.LESS, Comparison.LESS_OR_EQUAL, Comparison.GREATER, Comparison.GREATER_OR_EQUAL,
)  # fmt: skip
_NUMBER_MOST = 1_000_000
_ARGV_BYTES_MOST = 128 << 10
# What an instance of a sub-graph does not read: it is written out, and its nodes have settings of their own.
_OF_TASKS = (
    "initial_params", "parameter_address", "retry", "placement", "resources", "environment", "timeout_s",
    "bundle_digest",
)  # fmt: skip
_OF_NODES = ("record", "trigger", "cache", "has_effects")


def of_node(at: str, node: Node, signatures: Signatures) -> Iterator[Problem]:
    """What is wrong with the settings of this kind of node."""
    yield from _unread(at, node)
    if node.command is not None:
        yield from _command(at, node)
    if node.branch is not None:
        yield from _branch(at, node)
    if node.gate is not None:
        yield from _gate(at, node)
    name = body_of(node)
    if name is None:
        return
    if name not in signatures.subgraphs:
        yield Problem(
            Reason.UNKNOWN_SUBGRAPH, f"there is no sub-graph {shown(name)!r}", at, field=f"{node.works[0]}.subgraph",
            next_step=suggestion(name, signatures.subgraphs, "add it to the subgraphs of the canvas"),
        )  # fmt: skip
        return
    ports = signatures.of_subgraph(name)
    if node.map is not None:
        yield from _map(at, node.map, ports)
    if node.loop is not None:
        yield from _loop(at, node.loop, ports)


def _unread(at: str, node: Node) -> Iterator[Problem]:
    if node.operator or node.command is not None:
        return
    fields = _OF_TASKS + (_OF_NODES if node.subgraph is not None else ("has_effects", "cache"))
    if node.gate is not None:
        fields = tuple(field for field in fields if field != "timeout_s")
    for field in fields:
        value = getattr(node, field)
        if value is not None and value != {} and value:
            yield Problem(
                Reason.WITHOUT_EFFECT, f"{field} means nothing for a {node.works[0]} node", at, field=field,
                next_step="set it on the nodes of its body" if body_of(node) is not None else "remove it",
            )  # fmt: skip


def _command(at: str, node: Node) -> Iterator[Problem]:
    work = node.command
    assert work is not None
    if not work.argv or not work.argv[0]:
        yield Problem(Reason.NO_WORK, "a command needs its program", at, field="command.argv")
    if sum(len(word) for word in work.argv) > _ARGV_BYTES_MOST:
        yield Problem(Reason.TOO_LARGE, "the command has more than 128 KiB", at, field="command.argv")
    if any("\0" in word for word in work.argv):
        yield Problem(Reason.BAD_SETTING, "a word of a command has no NUL", at, field="command.argv")
    for name, path in work.outputs.items():
        field = f"command.outputs.{shown(name)}"
        if not is_port(name):
            yield Problem(Reason.BAD_ID, f"{shown(name)!r} is no name of a port", at, port=name, field=field)
        if not is_inside(path):
            yield Problem(
                Reason.BAD_SETTING, f"{shown(path)!r} is no file below the working directory", at, name, field=field,
                next_step="use a relative path without '..'",
            )  # fmt: skip


def is_inside(path: str) -> bool:
    """Whether a path stays below the directory that it is relative to."""
    return (
        0 < len(path) <= 1_000
        and not path.startswith("/")
        and "\0" not in path
        and "\\" not in path
        and ".." not in path.split("/")
    )


def _branch(at: str, node: Node) -> Iterator[Problem]:
    work = node.branch
    assert work is not None
    if not work.cases:
        yield Problem(Reason.NO_WORK, "a branch needs a case", at, field="branch.cases")
    counts = Counter([case.port for case in work.cases])
    otherwise = work.otherwise or "else"
    for number, case in enumerate(work.cases):
        field = f"branch.cases[{number}]"
        if not is_port(case.port):
            yield Problem(
                Reason.BAD_ID, f"{shown(case.port)!r} is no name of a port", at, field=f"{field}.port"
            )
        elif counts[case.port] > 1 or case.port == otherwise:
            yield Problem(
                Reason.DUPLICATE_PORT, f"several cases lead to port {shown(case.port)!r}", at, case.port,
                field=f"{field}.port", next_step="give each case a port of its own",
            )  # fmt: skip
        yield from _condition(at, case.condition, f"{field}.condition")


def _gate(at: str, node: Node) -> Iterator[Problem]:
    work = node.gate
    assert work is not None
    for number, name in enumerate(work.approvers):
        if not 0 < len(name) <= ACCOUNT_LENGTH or not name.isprintable() or name != name.strip():
            yield Problem(
                Reason.BAD_SETTING, f"{shown(name)!r} is no name of an account", at, field=f"gate.approvers[{number}]",
                next_step="name accounts, or nobody: then whoever may run the project decides",
            )  # fmt: skip
    yield from _in_range(
        at, "timeout_s", node.timeout_s or 0, 0, TIMEOUT_MOST_S, "0: it waits for as long as it takes"
    )


def _condition(at: str, condition: ConditionWork, field: str) -> Iterator[Problem]:
    if len(condition.path) > 1_000:
        yield Problem(Reason.TOO_LARGE, "the path is too long", at, field=f"{field}.path")
    if condition.comparison is None:
        words = ", ".join(comparison.value for comparison in Comparison)
        yield Problem(
            Reason.BAD_SETTING, "it is not said how to compare", at, field=f"{field}.comparison",
            next_step=f"one of {words}",
        )  # fmt: skip
        return
    is_set = condition.value is not msgspec.UNSET
    if condition.comparison is Comparison.EXISTS:
        if is_set:
            yield Problem(Reason.WITHOUT_EFFECT, "exists compares with nothing", at, field=f"{field}.value")
    elif not is_set:
        yield Problem(Reason.BAD_SETTING, "there is nothing to compare with", at, field=f"{field}.value")
    elif condition.comparison is Comparison.IN and not isinstance(condition.value, list):
        yield Problem(Reason.BAD_SETTING, "in compares with a list", at, field=f"{field}.value")
    elif condition.comparison in _ORDERED and not _has_order(condition.value):
        yield Problem(
            Reason.BAD_SETTING, f"{condition.comparison.value} compares with a number or a text", at,
            field=f"{field}.value", next_step="compare with a number or a text, or use equal",
        )  # fmt: skip


def _has_order(value: Any) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _map(at: str, work: MapWork, ports: Ports) -> Iterator[Problem]:
    if work.item_port:
        yield from _is_port_of(at, work.item_port, ports.inputs, "map.item_port", "input", ports.takes_any)
    elif not ports.takes_any and len(ports.inputs) != 1:
        yield Problem(
            Reason.UNKNOWN_PORT, f"the body has {len(ports.inputs)} inputs, so item_port has to name one", at,
            field="map.item_port", next_step=f"its inputs are: {_listed(ports.inputs)}",
        )  # fmt: skip
    if "items" in ports.inputs and work.item_port != "items":
        yield Problem(
            Reason.DUPLICATE_PORT, "the body's input 'items' is hidden by the map's own", at, "items",
            next_step="call the body's input otherwise",
        )  # fmt: skip
    yield from _in_range(at, "map.max_parallel", work.max_parallel, 0, _NUMBER_MOST, "0: no limit")
    yield from _in_range(at, "map.batch_size", work.batch_size, 0, _NUMBER_MOST, "0: items go one by one")
    if work.min_success_ratio is not None:
        yield from _in_range(at, "map.min_success_ratio", work.min_success_ratio, 0, 1, "0.9: nine of ten")


def _loop(at: str, work: LoopWork, ports: Ports) -> Iterator[Problem]:
    rounds = "say how many rounds there are at most, whatever the condition"
    yield from _in_range(at, "loop.max_iterations", work.max_iterations, 1, ITERATIONS_MOST, rounds)
    if work.until is None:
        if work.until_port:
            yield Problem(
                Reason.WITHOUT_EFFECT,
                "until_port without a condition means nothing",
                at,
                field="loop.until_port",
            )
        return
    yield from _condition(at, work.until, "loop.until")
    if work.until_port or len(ports.outputs) != 1:
        yield from _is_port_of(
            at, work.until_port, ports.outputs, "loop.until_port", "output", ports.gives_any
        )


def _is_port_of(
    at: str, name: str, side: dict[str, Any], field: str, word: str, is_open: bool
) -> Iterator[Problem]:
    if name in side or is_open:
        return
    step = suggestion(name, side, f"its {word}s are: {_listed(side)}")
    yield Problem(
        Reason.UNKNOWN_PORT,
        f"the body has no {word} {shown(name)!r}",
        at,
        shown(name),
        field=field,
        next_step=step,
    )


def _in_range(
    at: str, field: str, value: float, least: float, most: float, next_step: str
) -> Iterator[Problem]:
    if not least <= value <= most:
        message = f"{field} is {least} to {most}, not {value}"
        yield Problem(Reason.OUT_OF_RANGE, message, at, field=field, next_step=next_step)


def _listed(side: dict[str, Any]) -> str:
    return ", ".join(shown(name) for name in list(side)[:20]) or "none"
