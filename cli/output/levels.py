"""A graph level by level, a symbol a node, drawn again as it goes on. Goes to stderr."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from typing import TYPE_CHECKING

from cli.errors import colour_wanted
from cli.output.runs import detail_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelyard.v1 import canvas_pb2

SYMBOLS = {
    "waiting": "○",
    "ready": "◇",
    "running": "▶",
    "retrying": "↻",
    "gated": "‖",
    "computed": "✓",
    "cached": "≈",
    "skipped": "–",
    "failed": "✗",
    "timed_out": "⧗",
    "cancelled": "⊘",
}
ENDED = ("computed", "cached", "skipped", "failed", "timed_out", "cancelled")
_NAMES_WIDTH = 24


def symbol_of(detail: str) -> str:
    """One character for the state of a node."""
    return SYMBOLS.get(detail, SYMBOLS["waiting"])


def level_lines(nodes: Iterable[tuple[int, int, str, str]], width: int = 80, height: int = 20) -> list[str]:
    """A line a level, of nodes as (level, order, id, detail): what has ended, a symbol a node, or counts where those do
    not fit. Of more levels than ``height`` those where something happens, and around them."""
    levels: dict[int, list[tuple[int, str, str]]] = {}
    for level, order, name, detail in nodes:
        levels.setdefault(level, []).append((order, name, detail))
    ordered = [(level, sorted(members)) for level, members in sorted(levels.items())]
    shown = _window(ordered, height)
    lines = [_line(level, members, width) for level, members in shown]
    hidden = len(ordered) - len(shown)
    return [*lines, f"      … {hidden} more levels"] if hidden else lines


def _window(
    levels: Sequence[tuple[int, list[tuple[int, str, str]]]], height: int
) -> Sequence[tuple[int, list[tuple[int, str, str]]]]:
    if len(levels) <= height:
        return levels
    going = (n for n, (_, members) in enumerate(levels) if any(detail not in ENDED for *_, detail in members))
    first = max(0, min(next(going, len(levels)) - 2, len(levels) - height + 1))
    return levels[first : first + height - 1]


def _line(level: int, members: Sequence[tuple[int, str, str]], width: int) -> str:
    ended = sum(detail in ENDED for *_, detail in members)
    head = f"{level:>5} {ended:>5}/{len(members):<5} "
    symbols = "".join(symbol_of(detail) for *_, detail in members)
    if len(symbols) > width - len(head):
        counts = Counter(symbol_of(detail) for *_, detail in members)
        symbols = "  ".join(f"{symbol} {counts[symbol]}" for symbol in SYMBOLS.values() if counts[symbol])
    names = ", ".join(name for _, name, detail in members if detail in ("running", "failed", "timed_out"))
    plain = "".join(char if char.isprintable() else "�" for char in names)
    room = max(_NAMES_WIDTH, width - len(head) - len(symbols) - 2)
    if len(plain) > room:
        plain = plain[: room - 1] + "…"
    return f"{head}{symbols}  {plain}".rstrip()[:width]


class Board:
    """The levels of a run, drawn over what was drawn before. Only for terminals: see `is_wanted`."""

    def __init__(self) -> None:
        self._nodes: dict[str, tuple[int, int, str, str]] = {}
        self._drawn = 0

    @staticmethod
    def is_wanted() -> bool:
        """Whether stderr can be drawn over."""
        return colour_wanted(sys.stderr)

    def learn(self, nodes: Iterable[canvas_pb2.ExecutionNode]) -> None:
        """Takes in how nodes are now."""
        for node in nodes:
            # How many items of a map have ended, how far a job is, stands beside its name.
            goes_on = node.HasField("progress") and not node.commit_sequence
            name = f"{node.node_id} {node.progress.message}" if goes_on else node.node_id
            self._nodes[node.node_id] = (node.gradient, node.order, name, detail_of(node))

    def draw(self, summary: str) -> None:
        """Draws all levels, and a line about the whole."""
        size = shutil.get_terminal_size()
        lines = level_lines(self._nodes.values(), size.columns - 1, max(4, size.lines - 4))
        self.clear()
        sys.stderr.write("".join(line + "\n" for line in (*lines, summary[: size.columns - 1])))
        sys.stderr.flush()
        self._drawn = len(lines) + 1

    def clear(self) -> None:
        """Takes away what was drawn."""
        if self._drawn:
            sys.stderr.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0
