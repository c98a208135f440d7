"""What another program's form cannot say, brought back: a merge of three canvases, and what sets two apart.

`kept` is the canvas that was exported, `base` what the exported form alone says of it, `read` what it says now. Where
`read` still is `base`, nobody has changed anything there, and `kept` holds. Pure.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from msgspec.structs import fields, replace

from services.graph.canvases.canvas import Canvas, Edge, Node

T = TypeVar("T")


def merged(kept: Canvas, base: Canvas, read: Canvas) -> Canvas:
    """`read` with all of `kept` that it does not contradict."""
    if read == base:
        return kept
    return Canvas(
        nodes=_by_id(kept.nodes, base.nodes, read.nodes),
        edges=_edges(kept.edges, base.edges, read.edges),
        params=_by_name(kept.params, base.params, read.params),
        subgraphs={
            name: replace(
                _fields(kept.subgraphs[name], base.subgraphs[name], subgraph),
                canvas=merged(kept.subgraphs[name].canvas, base.subgraphs[name].canvas, subgraph.canvas),
            )
            if name in kept.subgraphs and name in base.subgraphs
            else subgraph
            for name, subgraph in _order(kept.subgraphs, base.subgraphs, read.subgraphs).items()
        },
        groups=_by_id(kept.groups, base.groups, read.groups),
        extra=_by_name(kept.extra, base.extra, read.extra),
    )


def _order(kept: dict[str, T], base: dict[str, T], read: dict[str, T]) -> dict[str, T]:
    """What there is now: what was there first, then what is new; with what the form never says."""
    names = [name for name in kept if name in read or name not in base]
    return {name: read.get(name, kept.get(name)) for name in dict.fromkeys([*names, *read])}  # type: ignore[misc]


def _by_name(kept: dict[str, T], base: dict[str, T], read: dict[str, T]) -> dict[str, T]:
    return {
        name: kept[name] if name in kept and base.get(name) == read.get(name) else value
        for name, value in _order(kept, base, read).items()
    }


def _by_id(kept: Sequence[T], base: Sequence[T], read: Sequence[T]) -> tuple[T, ...]:
    named = [{str(getattr(one, "id", "")): one for one in many} for many in (kept, base, read)]
    names = _order(*named)
    return tuple(
        _fields(named[0][name], named[1][name], value) if name in named[0] and name in named[1] else value
        for name, value in names.items()
    )


def _fields(kept: T, base: T, read: T) -> T:
    """`kept` with the fields that have changed."""
    changed = {
        field.name: value
        for field in fields(kept)  # type: ignore[arg-type]
        if (value := getattr(read, field.name)) != getattr(base, field.name)
    }
    return replace(kept, **changed) if changed else kept  # type: ignore[type-var]


def _edges(kept: Sequence[Edge], base: Sequence[Edge], read: Sequence[Edge]) -> tuple[Edge, ...]:
    """Between two nodes the former edges, unless something has changed between them."""
    before, now = _between(base), _between(read)
    same = {pair for pair in {*before, *now} if before.get(pair) == now.get(pair)}
    named = {*_between(kept)}
    held = [
        edge for edge in kept if (pair := (edge.source, edge.target)) in same or pair not in {*before, *now}
    ]
    new = [edge for edge in read if (pair := (edge.source, edge.target)) not in same or pair not in named]
    return (*held, *new)


def _between(edges: Sequence[Edge]) -> dict[tuple[str, str], Counter[tuple[Any, ...]]]:
    found: dict[tuple[str, str], Counter[tuple[Any, ...]]] = {}
    for edge in edges:
        ports = (edge.source_port, edge.target_port, edge.index, edge.is_order, edge.on_error)
        found.setdefault((edge.source, edge.target), Counter())[ports] += 1
    return found


def differences(canvas: Canvas, other: Canvas, path: str = "") -> Iterator[tuple[str, str, str]]:
    """What of `canvas` is not so in `other`: path, the words for it, the node."""
    others = {node.id: node for node in other.nodes}
    for node in canvas.nodes:
        found = others.get(node.id)
        at = f"{path}nodes.{node.id}"
        if found is None:
            yield at, "the node", node.id
            continue
        for field in _unequal(node, found):
            name = field.removesuffix("_ns")
            yield f"{at}.{name}", name, node.id
    kept, there = Counter(map(_key, canvas.edges)), Counter(map(_key, other.edges))
    for key in kept - there:
        yield f"{path}edges.{key[0]}", f"the edge from {key[1]} to {key[3]}", key[3]
    for field in ("params", "groups", "extra"):
        if getattr(canvas, field) != getattr(other, field):
            yield path + field, field, ""
    if tuple(node.id for node in canvas.nodes) != tuple(node.id for node in other.nodes):
        yield path + "nodes", "the order of the nodes", ""
    for name, subgraph in canvas.subgraphs.items():
        inner = other.subgraphs.get(name)
        if inner is None:
            yield f"{path}subgraphs.{name}", f"sub-graph {name}", ""
            continue
        yield from differences(subgraph.canvas, inner.canvas, f"{path}subgraphs.{name}.")
        if replace(subgraph, canvas=inner.canvas) != inner:
            yield f"{path}subgraphs.{name}", f"the ports of sub-graph {name}", ""


def _unequal(node: Node, other: Node) -> list[str]:
    names = [field.name for field in fields(node)]
    return [name for name in names if getattr(node, name) != getattr(other, name)]


def _key(edge: Edge) -> tuple[str, str, str, str, str, int, bool]:
    return (
        edge.id,
        edge.source,
        edge.source_port,
        edge.target,
        edge.target_port,
        edge.index,
        edge.is_order,
    )
