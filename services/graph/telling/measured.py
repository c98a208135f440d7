"""How long nodes will take: the median of what they took in the latest runs that computed them (S1.3). Pure."""

from collections.abc import Iterable, Sequence

import msgspec

from services.graph.model import Graph, PlannedNode
from services.graph.runs.places import body_at
from services.graph.runs.values import Detail, End

SAMPLES_MOST = 5
"""Of one node; older ones say less and less."""


class Measure(msgspec.Struct, frozen=True):
    """Seconds, and the runs that they were measured in, newest first."""

    seconds: float = 0.0
    runs: tuple[int, ...] = ()


UNKNOWN = Measure()


def measures(graph: Graph, past: Iterable[tuple[int, Graph, Iterable[tuple[int, End]]]]) -> list[Measure]:
    """By rank. `past`: runs, newest first, each with its graph and how its nodes ended, by rank.

    A node is the same as before if it has the same id and does the same work, with whatever parameters. What the cache
    had, or an earlier run had done, was measured there.
    """
    samples: dict[tuple[str, str], list[tuple[int, float]]] = {}
    seen: set[str] = set()
    for number, ran, ends in past:
        for rank, end in ends:
            node = ran.nodes[rank]
            known = samples.setdefault((node.id, node.operator), [])
            # A map or loop took what its executions took, from its start to its end.
            name = end.task or (f"{end.start_ms} {end.end_ms}" if _is_own(node, end) else "")
            is_new = end.detail is Detail.COMPUTED and bool(name) and name not in seen
            if is_new and len(known) < SAMPLES_MOST:
                seen.add(name)
                known.append((number, seconds_of(end)))
    return [_measure(samples.get((node.id, node.operator), ())) for node in graph.nodes]


def _is_own(node: PlannedNode, end: End) -> bool:
    """Whether it executed a body, and was not kept of an earlier run."""
    return body_at(node) is not None and not end.reason


def seconds_of(end: End) -> float:
    """What the task took on its agent; of one that was done before that was kept, from its start to its end."""
    return (end.run_ms or max(0, end.end_ms - end.start_ms)) / 1000


def _measure(samples: Sequence[tuple[int, float]]) -> Measure:
    if not samples:
        return UNKNOWN
    return Measure(median_of(seconds for _, seconds in samples), tuple(number for number, _ in samples))


def median_of(values: Iterable[float]) -> float:
    """Loads `statistics`, which an idle service does without: 1 MB."""
    from statistics import median

    return median(values)
