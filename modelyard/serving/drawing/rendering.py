"""Vega-Lite as what was asked for. Nothing is fetched: a chart carries its data."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from typing import Any

from modelyard.serving.drawing.drawn import Drawn
from modelyard.serving.errors import AnswerTooLarge, ComponentUnfit, library
from modelyard.serving.vocabulary import PNG, SVG, VEGA_LITE

SPEC_BYTES_MOST = 4 << 20
PIXELS_MOST = 16_000_000
_PLACES_ELSEWHERE = ("url", "href")


def rendered(spec: Mapping[str, Any], content_type: str) -> Drawn:
    """As JSON, PNG or SVG. Raises ComponentUnfit for what is no Vega-Lite, or names places elsewhere."""
    try:
        text = json.dumps(spec, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise ComponentUnfit(f"the chart is no JSON: {error}") from error
    if len(text) > SPEC_BYTES_MOST:
        raise AnswerTooLarge(f"the chart has {len(text)} characters; at most {SPEC_BYTES_MOST} are drawn")
    _inside(spec)
    width, height = (_pixels(spec.get(side)) for side in ("width", "height"))
    if content_type == VEGA_LITE:
        return Drawn(VEGA_LITE, text.encode(), width, height)
    if width * height > PIXELS_MOST:
        raise AnswerTooLarge(f"the chart has {width} x {height} pixels; at most {PIXELS_MOST} are drawn")
    renderer = library("vl_convert", "vl-convert-python", "", "a chart as PNG or SVG")
    try:
        if content_type == PNG:
            content = renderer.vegalite_to_png(text, vl_version="5.20", allowed_base_urls=[])
            return Drawn(PNG, content, *struct.unpack(">II", content[16:24]))
        picture = renderer.vegalite_to_svg(text, vl_version="5.20", allowed_base_urls=[])
    except ValueError as error:
        raise ComponentUnfit(f"the chart cannot be drawn: {str(error)[:300]}") from error
    return Drawn(SVG, picture.encode(), *_sides(picture))


def _pixels(side: Any) -> int:
    return (
        int(side) if isinstance(side, (int, float)) and not isinstance(side, bool) and 0 < side < 1e6 else 0
    )


def _sides(picture: str) -> tuple[int, int]:
    root = re.search(r"<svg\b[^>]*>", picture)
    found = dict(re.findall(r'\b(width|height)="([0-9.]+)', root.group(0))) if root else {}
    return round(float(found.get("width", 0))), round(float(found.get("height", 0)))


def _inside(spec: Any) -> None:
    """Nothing of it lies elsewhere. Raises ComponentUnfit."""
    waiting = [spec]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            for name in _PLACES_ELSEWHERE:
                if name in one:
                    raise ComponentUnfit(
                        f"the chart names a place elsewhere ({name}); put its data into data.values"
                    )
            waiting.extend(value for name, value in one.items() if name != "values")
        elif isinstance(one, (list, tuple)):
            waiting.extend(one)
