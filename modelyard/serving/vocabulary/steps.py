"""Operations before and after the computation. Pure, standard library only."""

from __future__ import annotations

from modelyard.serving.vocabulary.options import (
    DATATYPES,
    LAYOUTS,
    PILLOW,
    SIDE_MOST,
    Operation,
    Option,
)

_ON = Option("on", "names", "the values that it works on; absent: all", ())
_ONE = Option("on", "name", "the value that it works on; absent: the only one", "")
_TO = Option("to", "name", "the name of the result, with the old value kept; absent: it takes its place", "")
_LAYOUT = Option("layout", "word", "the order of the last three axes", "hwc", words=LAYOUTS)
_SIZE = Option("size", "integers", "[height, width]", is_required=True, least=1, most=SIDE_MOST, length=2)
_AXIS = Option("axis", "integer", "along which axis", -1, least=-16, most=15)
_LABELS = Option("labels", "texts", "what the numbers stand for, from 0; absent: the value's own labels", ())

STEPS: tuple[Operation, ...] = (
    Operation(
        "resize",
        "pictures in another size",
        (
            _ON,
            _SIZE,
            Option(
                "fit",
                "word",
                "stretch; shorter side to fit, the other in proportion; contain with a border",
                "stretch",
                words=("stretch", "shorter", "contain"),
            ),
            Option(
                "method",
                "word",
                "how pixels between are found",
                "bilinear",
                words=("nearest", "bilinear", "bicubic", "lanczos"),
            ),
            Option("fill", "number", "of the border", 0.0),
            _LAYOUT,
        ),
        requirements=PILLOW,
    ),
    Operation("centre_crop", "the middle of pictures", (_ON, _SIZE, _LAYOUT)),
    Operation(
        "normalize",
        "(x − mean) / std, as FP32",
        (
            _ON,
            Option("mean", "numbers", "one, or one for each along the axis", 0.0),
            Option("std", "numbers", "one, or one for each along the axis", 1.0),
            _AXIS,
        ),
    ),
    Operation(
        "standardize",
        "each row to mean 0 and deviation 1, as FP32",
        (_ON, Option("epsilon", "number", "added to the deviation", 1e-7, least=0.0)),
    ),
    Operation(
        "scale",
        "x · factor + offset, as FP32",
        (_ON, Option("factor", "number", "", 1.0), Option("offset", "number", "", 0.0)),
    ),
    Operation(
        "clip",
        "no smaller, no larger",
        (_ON, Option("least", "number", "", None), Option("most", "number", "", None)),
    ),
    Operation(
        "fill_missing", "a number where there is none (NaN)", (_ON, Option("value", "number", "", 0.0))
    ),
    Operation("exp", "e to the power of x", (_ON,)),
    Operation("log", "the natural logarithm", (_ON,)),
    Operation(
        "cast",
        "another datatype",
        (_ON, Option("datatype", "word", "", is_required=True, words=DATATYPES)),
    ),
    Operation(
        "transpose",
        "axes in another order",
        (_ON, Option("axes", "integers", "", is_required=True, least=-16, most=15)),
    ),
    Operation(
        "layout",
        "channels last or first",
        (
            _ON,
            Option("from", "word", "", is_required=True, words=LAYOUTS),
            Option("into", "word", "", is_required=True, words=LAYOUTS),
        ),
    ),
    Operation("to_gray", "pictures with one channel", (_ON, _LAYOUT)),
    Operation("to_rgb", "pictures with three channels", (_ON, _LAYOUT)),
    Operation(
        "reshape",
        "other axes over the same numbers",
        (_ON, Option("shape", "integers", "−1 at most once", is_required=True, least=-1, most=1 << 31)),
    ),
    Operation(
        "expand",
        "one more axis, of size 1",
        (_ON, Option("axis", "integer", "where it comes", 0, least=-16, most=15)),
    ),
    Operation(
        "squeeze",
        "one axis less, of size 1",
        (_ON, Option("axis", "integer", "which goes", 0, least=-16, most=15)),
    ),
    Operation(
        "one_hot",
        "a number or a word as a row with one 1",
        (
            _ON,
            Option("size", "integer", "how many classes", 0, least=0, most=1 << 20),
            Option("categories", "texts", "the words, in their order", ()),
        ),
    ),
    Operation(
        "select",
        "some columns",
        (_ON, Option("columns", "columns", "", is_required=True)),
    ),
    Operation("lower", "texts in small letters", (_ON,)),
    Operation("strip", "texts without spaces around", (_ON,)),
    Operation(
        "truncate",
        "the beginnings of texts",
        (_ON, Option("most", "integer", "characters", is_required=True, least=0, most=1 << 30)),
    ),
    Operation("softmax", "numbers as probabilities", (_ON, _TO, _AXIS)),
    Operation("sigmoid", "each number as a probability", (_ON, _TO)),
    Operation("argmax", "where the largest is", (_ON, _TO, _AXIS)),
    Operation(
        "top_k",
        "the largest of each row, with their places",
        (
            _ONE,
            Option("k", "integer", "how many", 5, least=1, most=10_000),
            Option("index", "name", "the places' name; absent: <name>_index", ""),
            Option("label", "name", "the labels' name; absent: <name>_label", ""),
            _LABELS,
        ),
    ),
    Operation("threshold", "whether it is larger", (_ON, _TO, Option("above", "number", "", 0.5))),
    Operation("label", "numbers as their names", (_ON, _TO, _LABELS)),
    Operation("round", "fewer digits", (_ON, Option("decimals", "integer", "", 0, least=-15, most=15))),
    Operation("rename", "another name", (_ONE, Option("to", "name", "", is_required=True))),
    Operation("drop", "is not passed on", (Option("on", "names", "", is_required=True),)),
    Operation(
        "nms",
        "of boxes that cover each other the best one",
        (
            Option("boxes", "name", "[n, 4]", "boxes"),
            Option("scores", "name", "[n], or [n, classes]", "scores"),
            Option("classes", "name", "[n]; made where scores have classes", "classes"),
            Option("format", "word", "of a box", "xyxy", words=("xyxy", "xywh", "cxcywh")),
            Option("iou", "number", "boxes that overlap more are one", 0.5, least=0.0, most=1.0),
            Option("score", "number", "boxes with less are dropped", 0.25),
            Option("most", "integer", "boxes", 100, least=1, most=10_000),
        ),
    ),
)
