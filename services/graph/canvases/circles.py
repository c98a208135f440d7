"""What goes in circles in a canvas, or too deep (S1.3): nodes that wait for each other, bodies in themselves. Pure."""

from collections.abc import Mapping, Sequence

from services.graph.canvases.canvas import Subgraph, body_of
from services.graph.canvases.drawings import Drawing
from services.graph.canvases.levels import find_cycle
from services.graph.canvases.problems import Findings, Reason, shown
from services.graph.model import SUBGRAPH_DEPTH_MOST

CYCLES_MOST = 20
"""Of one canvas so many are told."""


def check_nesting(subgraphs: Mapping[str, Subgraph], findings: Findings) -> None:
    """Bodies that contain themselves, and bodies too deep within each other."""
    names = list(subgraphs)
    place = {name: number for number, name in enumerate(names)}
    inner = [
        sorted({place[name] for node in subgraphs[outer].canvas.nodes if (name := body_of(node)) in place})
        for outer in names
    ]
    cycle = find_cycle(inner)
    if cycle:
        along = [names[number] for number in cycle]
        findings.add(
            Reason.RECURSIVE_SUBGRAPH,
            f"sub-graph {shown(along[0])!r} contains itself: {_chain(along)}", nodes=along[:100],
            next_step="a loop node repeats a body; take the sub-graph out of itself",
        )  # fmt: skip
        return
    if depth(inner) > SUBGRAPH_DEPTH_MOST:
        findings.add(
            Reason.TOO_DEEP, f"sub-graphs lie more than {SUBGRAPH_DEPTH_MOST} deep within each other"
        )


def check_cycles(drawing: Drawing, findings: Findings) -> None:
    """Nodes that wait for each other."""
    successors: list[list[int]] = [[] for _ in drawing.canvas.nodes]
    for edge in drawing.canvas.edges:
        source, target = drawing.index.get(edge.source), drawing.index.get(edge.target)
        if source is not None and target is not None:
            successors[source].append(target)
    for _ in range(CYCLES_MOST):
        cycle = find_cycle(successors)
        if not cycle:
            return
        along = [drawing.canvas.nodes[number].id for number in cycle]
        findings.add(
            Reason.CYCLE, f"the nodes wait for each other: {_chain(along)}", node=drawing.at(along[0]),
            nodes=[drawing.at(each) for each in along[:1_000]],
            next_step="remove one of the edges between them; a loop node repeats a body",
        )  # fmt: skip
        for number in cycle:
            successors[number] = []


def _chain(names: Sequence[str]) -> str:
    listed = [shown(name) for name in names[:10]]
    more = f" → … {len(names) - 10} more …" if len(names) > 10 else ""
    return " → ".join(listed) + more + f" → {listed[0]}"


def depth(inner: Sequence[Sequence[int]]) -> int:
    """How deep the bodies lie: the longest chain, of a graph without cycles."""
    depths = [1] * len(inner)
    unmet = [0] * len(inner)
    for within in inner:
        for number in within:
            unmet[number] += 1
    ready = [number for number, count in enumerate(unmet) if not count]
    for number in ready:
        for within_ in inner[number]:
            depths[within_] = max(depths[within_], depths[number] + 1)
            unmet[within_] -= 1
            if not unmet[within_]:
                ready.append(within_)
    return max(depths, default=0)
