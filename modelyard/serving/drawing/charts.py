"""Charts of numbers: Vega-Lite with its data inside, or PNG and SVG made of it with no network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from modelyard.serving.drawing.drawn import Drawn, Scene, words_of
from modelyard.serving.drawing.rendering import rendered
from modelyard.serving.errors import ComponentUnfit

Array = Any
Options = Mapping[str, Any]

POINTS_MOST = 5_000
SIDE_MOST = 200
"""Of a confusion table."""
_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"


def _chart(options: Options, rows: list[dict[str, Any]], **more: Any) -> Drawn:
    spec = {
        "$schema": _SCHEMA,
        "width": options["width"],
        "height": options["height"],
        "data": {"values": rows},
        **({"title": options["title"]} if options["title"] else {}),
        **more,
    }
    return rendered(spec, options["as"])


def _number(value: Any) -> float | None:
    """JSON has no NaN."""
    real = float(value)
    return real if math.isfinite(real) else None


def _labels(options: Options, scene: Scene, name: str, count: int) -> list[str]:
    """What the numbers of a row stand for."""
    beside = f"{name}_label"
    found = list(options["labels"]) or (
        words_of(scene.outputs[beside])[:count] if beside in scene.outputs else []
    )
    found = found or list(scene.names_of(name, "columns") or scene.names_of(name, "labels"))
    return [str(found[at]) if at < len(found) else str(at) for at in range(count)]


def bar(options: Options, scene: Scene) -> Drawn:
    """A bar for each number of the first row, the largest first."""
    name, array = scene.numbers(options["of"], (1,))
    labels = _labels(options, scene, name, array.size)
    order = np.argsort(-np.nan_to_num(array.astype(np.float64)), kind="stable")[: options["most"]]
    rows = [{"label": labels[at], "place": int(at), "value": _number(array[at])} for at in order]
    return _chart(
        options,
        rows,
        mark={"type": "bar", "tooltip": True},
        encoding={
            "x": {"field": "value", "type": "quantitative", "title": name},
            "y": {"field": "label", "type": "nominal", "sort": None, "title": None},
        },
    )


def line(options: Options, scene: Scene) -> Drawn:
    """A line, or one for each column."""
    name, array = scene.numbers(options["of"], (1, 2))
    if array.ndim == 2 and array.shape[0] == 1:
        array = array[0]
    columns = array.reshape(-1, 1) if array.ndim == 1 else array[:, :50]
    names = _labels(options, scene, name, columns.shape[1]) if array.ndim == 2 else [name]
    step = max(1, math.ceil(columns.size / POINTS_MOST))
    rows = [
        {"place": place, "series": names[at], "value": _number(columns[place, at])}
        for place in range(0, columns.shape[0], step)
        for at in range(columns.shape[1])
    ]
    colour = {"color": {"field": "series", "type": "nominal", "title": None}} if columns.shape[1] > 1 else {}
    return _chart(
        options,
        rows,
        mark={"type": "line", "tooltip": True},
        encoding={
            "x": {"field": "place", "type": "quantitative", "title": None},
            "y": {"field": "value", "type": "quantitative", "title": name},
            **colour,
        },
    )


def histogram(options: Options, scene: Scene) -> Drawn:
    """Of all its numbers; what is no number is left out."""
    name, array = scene.numbers(options["of"], (1, 2, 3, 4))
    real = array.astype(np.float64).reshape(-1)
    real = real[np.isfinite(real)]
    if not real.size:
        raise ComponentUnfit(f"{name} has no finite numbers")
    counts, edges = np.histogram(real, bins=options["bins"])
    rows = [
        {"from": float(edges[at]), "to": float(edges[at + 1]), "count": int(count)}
        for at, count in enumerate(counts)
    ]
    return _chart(
        options,
        rows,
        mark={"type": "bar", "tooltip": True},
        encoding={
            "x": {"field": "from", "type": "quantitative", "bin": {"binned": True}, "title": name},
            "x2": {"field": "to"},
            "y": {"field": "count", "type": "quantitative", "title": "how many"},
        },
    )


def confusion(options: Options, scene: Scene) -> Drawn:
    """Rows are what was, columns what was said."""
    name, array = scene.numbers(options["of"], (2,))
    if array.shape[0] != array.shape[1] or array.shape[0] > SIDE_MOST:
        raise ComponentUnfit(
            f"{name} has the shape {list(array.shape)}; a square of at most {SIDE_MOST} can be drawn"
        )
    labels = _labels(options, scene, name, array.shape[0])
    rows = [
        {"actual": labels[at], "predicted": labels[to], "count": _number(array[at, to])}
        for at in range(len(labels))
        for to in range(len(labels))
    ]
    axes: dict[str, Any] = {
        "x": {"field": "predicted", "type": "nominal", "sort": labels},
        "y": {"field": "actual", "type": "nominal", "sort": labels},
    }
    colour = {"field": "count", "type": "quantitative", "scale": {"scheme": "blues"}}
    layers: list[dict[str, Any]] = [{"mark": "rect", "encoding": {"color": colour}}]
    if len(labels) <= 20:
        layers.append({"mark": "text", "encoding": {"text": {"field": "count", "type": "quantitative"}}})
    return _chart(options, rows, encoding=axes, layer=layers)


DRAWINGS: dict[str, Callable[[Options, Scene], Drawn]] = {
    "bar": bar, "line": line, "histogram": histogram, "confusion": confusion,
}  # fmt: skip
"""By name."""
