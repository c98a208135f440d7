"""Drawings beside the computation. Pure, standard library only."""

from __future__ import annotations

from modelyard.serving.vocabulary.options import (
    CHARTS,
    HTML,
    PILLOW,
    PNG,
    SVG,
    VEGA_LITE,
    VISUALISE,
    Operation,
    Option,
)

_LABELS = Option("labels", "texts", "what the numbers stand for, from 0; absent: the value's own labels", ())
_NAME = Option("name", "name", "the answer's output is viz:<name>; absent: the op", "")
_OF = Option("of", "name", "the value that is drawn; absent: the first that can be", "")
_IMAGE = Option("image", "name", "the picture below; absent: the first that is one", "")
_TITLE = Option("title", "text", "", "")
_MOST = Option("most", "integer", "so many at most", 100, least=1, most=10_000)
_SCORES = Option("scores", "name", "", "scores")
_CHART = (
    _NAME,
    _OF,
    Option("as", "word", "as what", PNG, words=(PNG, SVG, VEGA_LITE)),
    _TITLE,
    Option("width", "integer", "pixels", 480, least=50, most=4_000),
    Option("height", "integer", "pixels", 320, least=50, most=4_000),
)

DRAWINGS: tuple[Operation, ...] = (
    Operation(
        "boxes",
        "boxes with labels and scores over the picture",
        (
            _NAME,
            _IMAGE,
            Option("boxes", "name", "[n, 4]", "boxes"),
            _SCORES,
            Option("classes", "name", "[n]", "classes"),
            _LABELS,
            Option("format", "word", "of a box", "xyxy", words=("xyxy", "xywh", "cxcywh")),
            Option("relative", "flag", "boxes are given as parts of the picture's sides", False),
            Option("score", "number", "boxes with less are left out", 0.25),
            _MOST,
        ),
        (VISUALISE,),
        PILLOW,
    ),
    Operation(
        "mask",
        "classes of pixels in colours over the picture",
        (_NAME, _OF, _IMAGE, Option("alpha", "number", "how much of the colours", 0.5, least=0.0, most=1.0)),
        (VISUALISE,),
        PILLOW,
    ),
    Operation(
        "heatmap",
        "numbers as colours, over the picture where there is one",
        (_NAME, _OF, _IMAGE, Option("alpha", "number", "how much of the colours", 0.6, least=0.0, most=1.0)),
        (VISUALISE,),
        PILLOW,
    ),
    Operation(
        "bar",
        "a bar for each number",
        (*_CHART, _LABELS, Option("most", "integer", "the largest so many", 20, least=1, most=1_000)),
        (VISUALISE,),
        CHARTS,
    ),
    Operation("line", "numbers along their axis", (*_CHART, _LABELS), (VISUALISE,), CHARTS),
    Operation(
        "histogram",
        "how often which numbers are",
        (*_CHART, Option("bins", "integer", "", 20, least=1, most=500)),
        (VISUALISE,),
        CHARTS,
    ),
    Operation("confusion", "a square table of counts", (*_CHART, _LABELS), (VISUALISE,), CHARTS),
    Operation(
        "table",
        "rows as HTML",
        (_NAME, Option("of", "names", "absent: all outputs", ()), _TITLE, _MOST),
        (VISUALISE,),
    ),
)

CODE_DRAWING = (_NAME, Option("as", "word", "as what", HTML, words=(PNG, SVG, VEGA_LITE, HTML)))
"""Options of the component's own drawing; its other options are passed to the function."""
