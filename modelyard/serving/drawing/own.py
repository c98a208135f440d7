"""What the component's own drawing gives: a picture, a Vega-Lite mapping, or HTML, each made harmless."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from modelyard.serving.codecs.images import FORMATS, PIXELS_MOST, as_png
from modelyard.serving.drawing.drawn import Drawn
from modelyard.serving.drawing.markup import cleaned, page
from modelyard.serving.drawing.rendering import rendered
from modelyard.serving.errors import ComponentUnfit, library
from modelyard.serving.vocabulary import HTML, PNG, SVG, VEGA_LITE

TEXT_MOST = 4 << 20


def drawn(given: Any, content_type: str) -> Drawn:
    """By what it is. `content_type` is what the step says in `as`; a mapping can be any but HTML.

    Raises ComponentUnfit for anything else: an SVG of one's own could run scripts, so it has to be Vega-Lite.
    """
    if isinstance(given, Drawn):
        given = given.content if given.content_type not in (HTML, VEGA_LITE) else given.content.decode()
    if isinstance(given, Mapping):
        return rendered(given, VEGA_LITE if content_type == HTML else content_type)
    if isinstance(given, str):
        return _html(given, content_type)
    if content_type == SVG:
        raise ComponentUnfit("an SVG is made of a Vega-Lite mapping only; give that, or a picture")
    return _picture(as_png(given, ""))


def _html(text: str, content_type: str) -> Drawn:
    if content_type != HTML:
        raise ComponentUnfit(f"it gave a text, and {content_type} is asked for")
    if len(text) > TEXT_MOST:
        raise ComponentUnfit(f"it gave {len(text)} characters of HTML; at most {TEXT_MOST} are taken")
    return page(cleaned(text))


def _picture(content: bytes) -> Drawn:
    """Unpacked and packed again: what is sent is a PNG, whatever was hidden in it."""
    images = library("PIL.Image", "pillow", "", "a picture")
    try:
        with images.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > PIXELS_MOST:
                raise ComponentUnfit(f"a picture of {image.width} x {image.height} pixels is not sent")
            made = io.BytesIO()
            image.convert("RGBA" if "A" in image.mode or "transparency" in image.info else "RGB").save(
                made, "PNG"
            )
            return Drawn(PNG, made.getvalue(), image.width, image.height)
    except (images.DecompressionBombError, images.DecompressionBombWarning, OSError, SyntaxError) as error:
        raise ComponentUnfit(f"it gave bytes that are no picture: {error}") from error
