"""What ids, ports and operators of another tool are called in a canvas. Pure."""

import re
from collections.abc import Sequence

from msgspec.structs import replace

from services.graph.canvases.canvas import Edge, Node, Position
from services.graph.canvases.identifiers import is_id
from services.graph.canvases.levels import gradients
from services.graph.canvases.operators import PLACEHOLDER, Catalogue
from services.graph.model import CycleFound

_LENGTH_MOST = 80
COLUMN = 240.0
"""Distance between levels where a document has no positions."""
ROW = 110.0


class Names:
    """Ids of a document as ids of a canvas: the same where they may be, and each another."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._taken: dict[str, int] = {}
        """By name the number that the next of that name tries first."""

    def take(self, original: str) -> str:
        """A new id. An original that was taken before counts from now on for the later one."""
        self._ids[original] = chosen = self.fresh(original)
        return chosen

    def fresh(self, original: str) -> str:
        """A new id of something that the document does not have."""
        name = original if is_id(original) else _cleaned(original)
        chosen, number = name, self._taken.get(name, 1)
        while chosen in self._taken:
            number += 1
            chosen = f"{name}-{number}"
        self._taken[name] = number
        self._taken.setdefault(chosen, 1)
        return chosen

    def of(self, original: str) -> str | None:
        """The id of what was taken."""
        return self._ids.get(original)


def _cleaned(text: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9_.-]", ".", text[:_LENGTH_MOST]).lstrip("._-")
    return cleaned or "node"


def port_name(text: str) -> str:
    """A name that a port may have."""
    cleaned = re.sub(r"[\x00-\x1f/\\]", "_", text)[:100]
    return f"_{cleaned}" if cleaned in (".", "..") else cleaned


def operator_name(tool: str, word: str, operators: Catalogue) -> str:
    """The operator that a tool's own word means: one that agents offer as "word" or "tool.word", else a placeholder."""
    for name in (f"{tool}.{word}", word):
        if name.partition("@")[0] in operators:
            return name
    return PLACEHOLDER + word


def word_of(tool: str, operator: str) -> str:
    """The way back from `operator_name`."""
    return operator.removeprefix(PLACEHOLDER).removeprefix(f"{tool}.")


def laid_out(nodes: Sequence[Node], edges: Sequence[Edge]) -> list[Node]:
    """The nodes with positions by level and place in it, where they have none."""
    if all(node.position is not None for node in nodes):
        return list(nodes)
    levels, rows = _levels(nodes, edges), dict[int, int]()
    placed = []
    for node, level in zip(nodes, levels, strict=True):
        row = rows[level] = rows.get(level, -1) + 1
        placed.append(replace(node, position=node.position or Position(level * COLUMN, row * ROW)))
    return placed


def _levels(nodes: Sequence[Node], edges: Sequence[Edge]) -> list[int]:
    index = {node.id: number for number, node in enumerate(nodes)}
    successors: list[list[int]] = [[] for _ in nodes]
    for edge in edges:
        if edge.source in index and edge.target in index:
            successors[index[edge.source]].append(index[edge.target])
    try:
        return gradients(successors)
    except CycleFound:
        return [0] * len(nodes)
