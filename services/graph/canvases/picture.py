"""An execution graph, or a run, as a picture: SVG (S1.1, S1.10).

Lanes by gradient from left to right, in bands one below the other; in a lane nodes by their order. A state has a
colour, a symbol and a word, so that none is needed alone. Lanes of many nodes fold: what runs or failed stays, the
rest becomes one box with its counts. Edges to another band are drawn as their two ends, dashed. The same values give
the same bytes. Labels are text of strangers: nothing of them is markup. Pure.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

ROWS_MOST = 16
"""Boxes in a lane before it folds."""
LANES_IN_BAND = 12
EDGES_MOST = 5_000
LANES_MOST = 1_000
"""More levels than that share lanes."""
NODES_DRAWN_MOST = 3_000
LABEL_LENGTH = 22
LINE_LENGTH = 26
_WIDTH, _HEIGHT, _ACROSS, _DOWN = 184, 42, 244, 56
_LEFT, _TOP, _HEAD, _STUB = 24, 96, 26, 16


class PictureNode(msgspec.Struct, frozen=True):
    """What is drawn of a node."""

    id: str
    gradient: int
    order: int
    label: str = ""
    detail: str = "waiting"
    """A word of STATES."""
    progress: float | None = None
    """0 to 1, while it runs."""
    note: str = ""
    """Where it runs, why it failed: shown when one points at it."""
    inputs: tuple[str, ...] = ()
    """Ids of the nodes that it waits for."""
    work: str = ""
    """What it does: the operator; of a control node what became of it."""
    is_control: bool = False
    """Drawn with round ends."""


class State(msgspec.Struct, frozen=True):
    """How a state looks."""

    symbol: str
    word: str
    fill: str
    line: str


STATES: Mapping[str, State] = {
    "planned": State("□", "planned", "#f6f8fa", "#8c959f"),
    "waiting": State("○", "waiting", "#f6f8fa", "#8c959f"),
    "ready": State("◇", "ready", "#eef2ff", "#6172d9"),
    "running": State("▶", "running", "#dbeafe", "#1d4ed8"),
    "retrying": State("↻", "retrying", "#fef3c7", "#b45309"),
    "gated": State("‖", "waits for approval", "#fef3c7", "#b45309"),
    "computed": State("✓", "done", "#dcfce7", "#15803d"),
    "cached": State("≈", "done, cached", "#ccfbf1", "#0f766e"),
    "skipped": State("–", "skipped", "#f1f5f9", "#64748b"),
    "failed": State("✗", "failed", "#fee2e2", "#b91c1c"),
    "timed_out": State("⧗", "timed out", "#fee2e2", "#b91c1c"),
    "cancelled": State("⊘", "cancelled", "#fae8ff", "#a21caf"),
}
_DONE = [STATES[word] for word in ("computed", "cached", "skipped")]
_WRONG = [STATES[word] for word in ("failed", "timed_out", "cancelled")]
_FOLDED_LAST = ("running", "retrying", "gated", "failed", "timed_out", "cancelled")


def draw(title: str, nodes: Sequence[PictureNode], note: str = "") -> str:
    """The whole picture, a document of its own. `note` stands below the title. No limit on nodes or labels."""
    lanes = _lanes(nodes)
    boxes, height = _place(lanes)
    count = min(len(lanes), LANES_IN_BAND) or 1
    width = max(2 * _LEFT + count * _ACROSS - (_ACROSS - _WIDTH), 520)
    places = {node.id: box for box in boxes for node in box.nodes}
    edges, left_out = _edges(nodes, places)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'role="img" font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{_text(title)}</title><desc>{_text(_summary(nodes))}</desc>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _header(title, note, nodes, width),
        *(_lane_head(box) for box in boxes if box.row == 0),
        '<g fill="none" stroke="#8c959f" stroke-opacity="0.7">',
        *edges,
        "</g>",
        *(_drawn(box) for box in boxes),
    ]
    if left_out:
        parts.append(_words(_LEFT, height - 8, f"{left_out} more edges are not drawn", 11))
    return "\n".join([*parts, "</svg>\n"])


class _Box(msgspec.Struct, frozen=True):
    """One box: a node, or a fold of several."""

    x: int
    y: int
    lane: str
    row: int
    band: int
    nodes: tuple[PictureNode, ...]
    is_fold: bool


def _lanes(nodes: Sequence[PictureNode]) -> list[tuple[str, list[PictureNode]]]:
    """Nodes by what their lane is called."""
    lanes: dict[int, list[PictureNode]] = {}
    for node in sorted(nodes, key=lambda each: (each.order, each.id)):
        lanes.setdefault(node.gradient, []).append(node)
    ordered = sorted(lanes)
    step = -(-len(ordered) // LANES_MOST) or 1
    shared = [ordered[first : first + step] for first in range(0, len(ordered), step)]
    return [
        (
            f"level {levels[0]}" if len(levels) == 1 else f"levels {levels[0]} to {levels[-1]}",
            [node for level in levels for node in lanes[level]],
        )
        for levels in shared
    ]


def _place(lanes: Sequence[tuple[str, list[PictureNode]]]) -> tuple[list[_Box], int]:
    """Boxes with their places, and the height of the picture."""
    rows_most = max(2, min(ROWS_MOST, NODES_DRAWN_MOST // max(1, len(lanes))))
    boxes, top = list[_Box](), _TOP
    for first in range(0, len(lanes), LANES_IN_BAND):
        deepest = 0
        for column, (lane, nodes) in enumerate(lanes[first : first + LANES_IN_BAND]):
            shown = _folded(nodes, rows_most)
            deepest = max(deepest, len(shown))
            x = _LEFT + column * _ACROSS
            boxes += [
                _Box(x, top + _HEAD + row * _DOWN, lane, row, first, tuple(group), len(group) > 1)
                for row, group in enumerate(shown)
            ]
        top += _HEAD + deepest * _DOWN + 20
    return boxes, top + 16


def _folded(nodes: list[PictureNode], rows_most: int) -> list[list[PictureNode]]:
    if len(nodes) <= rows_most:
        return [[node] for node in nodes]
    # What people look for stays in sight; the order of those that stay is the order of the lane.
    by_interest = sorted(nodes, key=lambda node: node.detail not in _FOLDED_LAST)
    chosen = {node.id for node in by_interest[: rows_most - 1]}
    rest = [node for node in nodes if node.id not in chosen]
    return (
        [*([node] for node in nodes if node.id in chosen), rest]
        if len(rest) > 1
        else [[node] for node in nodes]
    )


def _edges(nodes: Sequence[PictureNode], places: Mapping[str, _Box]) -> tuple[list[str], int]:
    """The edges between boxes, each once, and how many are left out."""
    pairs: dict[str, None] = {}
    for node in sorted(nodes, key=lambda each: (each.order, each.id)):
        end = places[node.id]
        for source in node.inputs:
            start = places.get(source)
            if start is None or start is end:
                continue
            x1, y1, x2, y2 = start.x + _WIDTH, start.y + _HEIGHT // 2, end.x, end.y + _HEIGHT // 2
            if start.band == end.band:
                pairs[_path(x1, y1, x2, y2)] = None
            else:
                pairs |= {_stub(x1, y1): None, _stub(x2 - _STUB, y2): None}
    return list(pairs)[:EDGES_MOST], max(0, len(pairs) - EDGES_MOST)


def _stub(x: int, y: int) -> str:
    return f'<path d="M{x} {y}h{_STUB}" stroke-dasharray="3 2"/>'


def _path(x1: int, y1: int, x2: int, y2: int) -> str:
    bend = max(24, (x2 - x1) // 2) if x2 > x1 else 40
    return f'<path d="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"/>'


def _header(title: str, note: str, nodes: Sequence[PictureNode], width: int) -> str:
    bar = width - 2 * _LEFT
    done, wrong = (
        round(bar * sum(_state(node) in states for node in nodes) / max(1, len(nodes)), 1)
        for states in (_DONE, _WRONG)
    )
    return "\n".join(
        [
            _words(_LEFT, 28, _cut(title, 80), 18, bold=True),
            _words(_LEFT, 48, _cut(note, 120), 12) if note else "",
            _words(_LEFT, 66, _summary(nodes), 12),
            f'<rect x="{_LEFT}" y="74" width="{bar}" height="6" rx="3" fill="#e5e7eb"/>',
            f'<rect x="{_LEFT}" y="74" width="{done}" height="6" rx="3" fill="#15803d"/>',
            f'<rect x="{round(_LEFT + done, 1)}" y="74" width="{wrong}" height="6" rx="3" fill="#b91c1c"/>',
        ]
    )


def _summary(nodes: Iterable[PictureNode]) -> str:
    counts = Counter(node.detail if node.detail in STATES else "waiting" for node in nodes)
    if not counts:
        return "no nodes"
    said = [f"{STATES[word].symbol} {counts[word]} {STATES[word].word}" for word in STATES if counts[word]]
    return f"{sum(counts.values())} nodes: " + ", ".join(said)


def _lane_head(box: _Box) -> str:
    return _words(box.x, box.y - 10, box.lane, 11)


def _drawn(box: _Box) -> str:
    return _fold(box) if box.is_fold else _node(box, box.nodes[0])


def _node(box: _Box, node: PictureNode) -> str:
    state = _state(node)
    said = f"{state.word} {_ratio(node):.0%}" if _is_under_way(node) else state.word
    full = " · ".join(part for part in (node.id, node.label, node.work, said, node.note) if part)
    parts = [
        f'<g id="{_text("node-" + _clean(node.id, 120))}"><title>{_text(_cut(full, 400))}</title>',
        _rectangle(box, state, is_round=node.is_control),
    ]
    if _is_under_way(node):
        parts.append(
            f'<rect x="{box.x}" y="{box.y + _HEIGHT - 4}" width="{round(_WIDTH * _ratio(node), 1)}" height="4" '
            f'fill="{state.line}"/>'
        )
    parts.append(
        _words(
            box.x + 8,
            box.y + 17,
            f"{state.symbol} {_cut(node.label or node.id, LABEL_LENGTH)}",
            12,
            bold=True,
        )
    )
    parts.append(_words(box.x + 8, box.y + 33, said, 11))
    if node.work:
        parts.append(
            f'<text x="{box.x + _WIDTH - 8}" y="{box.y + 33}" font-size="11" text-anchor="end" fill="#59636e">'
            f"{_text(_cut(node.work, max(4, LINE_LENGTH - len(said))))}</text>"
        )
    return "".join([*parts, "</g>"])


def _fold(box: _Box) -> str:
    return "".join(
        [
            f"<g><title>{_text(_summary(box.nodes))}</title>",
            _rectangle(box, STATES["waiting"], dashed=True),
            _words(box.x + 8, box.y + 17, f"… {len(box.nodes)} more nodes", 12, bold=True),
            _words(box.x + 8, box.y + 33, _short_counts(box.nodes), 11),
            "</g>",
        ]
    )


def _short_counts(nodes: Sequence[PictureNode]) -> str:
    counts = Counter(_state(node).symbol for node in nodes)
    return "  ".join(f"{symbol} {count}" for symbol, count in counts.most_common(5))


def _rectangle(box: _Box, state: State, dashed: bool = False, is_round: bool = False) -> str:
    radius = _HEIGHT // 2 if is_round else 6
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    return (
        f'<rect x="{box.x}" y="{box.y}" width="{_WIDTH}" height="{_HEIGHT}" rx="{radius}" fill="{state.fill}" '
        f'stroke="{state.line}"{dashes}/>'
    )


def _words(x: int, y: int, text: str, size: int, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="{size}"{weight} fill="#1f2328">{_text(text)}</text>'


def _state(node: PictureNode) -> State:
    return STATES.get(node.detail, STATES["waiting"])


def _is_under_way(node: PictureNode) -> bool:
    return node.progress is not None and node.detail in ("running", "retrying")


def _ratio(node: PictureNode) -> float:
    ratio = node.progress or 0.0
    return min(1.0, max(0.0, ratio)) if ratio == ratio else 0.0


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _text(text: str) -> str:
    # Its names of characters are half a megabyte, and no idle service draws.
    from html import escape

    return escape(_clean(text, 1_000))


def _clean(text: str, length: int) -> str:
    """Without what XML cannot hold, and what turns the direction of other text."""
    return "".join(
        "\ufffd" if unicodedata.category(one)[0] == "C" or one in "\ufffe\uffff" else one
        for one in text[:length]
    )
