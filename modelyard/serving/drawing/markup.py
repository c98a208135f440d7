"""Tables as HTML, every text escaped; and HTML of the component's code, cleaned."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from modelyard.serving.drawing.drawn import Drawn, Scene
from modelyard.serving.errors import ComponentUnfit, library
from modelyard.serving.vocabulary import HTML

Options = Mapping[str, Any]

CELL_MOST = 1_000
COLUMNS_MOST = 200
_SOURCES = tuple(f"data:image/{kind};base64," for kind in ("png", "jpeg", "gif", "webp"))
_TAG_WORDS = """
a abbr b blockquote br caption code col colgroup dd del details div dl dt em figcaption figure h1 h2
h3 h4 h5 h6 hr i img ins kbd li mark ol p pre s samp small span strong sub summary sup table tbody
td tfoot th thead tr u ul var
"""
_ATTRIBUTES = {
    "a": {"href", "title"}, "img": {"src", "alt", "width", "height"}, "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"}, "ol": {"start"},
}  # fmt: skip
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = (
    "body{font:14px sans-serif;margin:1em}table{border-collapse:collapse}"
    "td,th{border:1px solid #bbb;padding:.2em .6em;text-align:left}"
)


def page(body: str, title: str = "") -> Drawn:
    """A page that loads nothing and runs nothing. `body` is clean already."""
    head = (
        '<!doctype html><html><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
    )
    return Drawn(HTML, f"{head}{body}</body></html>\n".encode(errors="replace"))


def cleaned(text: str) -> str:
    """HTML without anything that runs, loads or looks like something else. nh3."""
    sanitiser = library("nh3", "nh3", "", "HTML of the component's code")
    return str(
        sanitiser.clean(
            text,
            tags=set(_TAG_WORDS.split()),
            attributes=_ATTRIBUTES,
            attribute_filter=_attribute,
            url_schemes={"https", "http", "mailto", "data"},
            link_rel="noopener noreferrer nofollow",
        )
    )


def _attribute(tag: str, name: str, value: str) -> str | None:
    if name == "src":
        return value if value.lower().startswith(_SOURCES) else None
    if name == "href":
        return value if value.lower().startswith(("https://", "http://", "mailto:")) else None
    return value


def table(options: Options, scene: Scene) -> Drawn:
    """Values as columns, their elements as rows."""
    wanted = options["of"]
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    columns: list[tuple[str, list[str]]] = []
    for name in names or list(scene.outputs):
        columns += _columns(name, scene.value(name), scene, bool(names), options["most"])
    if not columns:
        raise ComponentUnfit("none of the outputs has rows that could be a table")
    columns, count = columns[:COLUMNS_MOST], max(len(cells) for _, cells in columns)
    head = "".join(f"<th>{html.escape(name)}</th>" for name, _ in columns)
    rows = "".join(
        "<tr>"
        + "".join(f"<td>{html.escape(cells[at]) if at < len(cells) else ''}</td>" for _, cells in columns)
        + "</tr>"
        for at in range(count)
    )
    title = options["title"]
    caption = f"<caption>{html.escape(title)}</caption>" if title else ""
    return page(f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>", title)


def _columns(name: str, value: Any, scene: Scene, is_asked: bool, most: int) -> list[tuple[str, list[str]]]:
    if isinstance(value, Mapping):
        return [
            (str(key), _cells(np.atleast_1d(np.asarray(inner, dtype=np.object_)), most))
            for key, inner in value.items()
        ]
    array = np.asarray(value) if isinstance(value, np.ndarray) else np.asarray(value, dtype=np.object_)
    if array.ndim < 2:
        return [(name, _cells(array.reshape(-1), most))]
    if array.ndim == 2:
        known = scene.names_of(name, "columns")
        width = array.shape[1]
        titles = (
            known
            if len(known) == width
            else (name,)
            if width == 1
            else [f"{name} {at}" for at in range(width)]
        )
        return [(title, _cells(array[:, at], most)) for at, title in enumerate(titles[:COLUMNS_MOST])]
    if is_asked:
        raise ComponentUnfit(f"{name} has {array.ndim} axes, and a table has two")
    return []


def _cells(column: Any, most: int) -> list[str]:
    return [_text(item) for item in column[:most]]


def _text(item: Any) -> str:
    if isinstance(item, bytes):
        item = item.decode(errors="replace")
    if isinstance(item, (float, np.floating)):
        return f"{item:.6g}"
    return str(item)[:CELL_MOST]


DRAWINGS: dict[str, Callable[[Options, Scene], Drawn]] = {"table": table}
"""By name."""
