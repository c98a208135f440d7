"""Boxes of detectors: of those that cover each other the best one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from modelyard.serving.steps.names import Names
from modelyard.serving.steps.numbers import floating, numeric
from modelyard.serving.steps.shapes import only

Array = Any
Values = dict[str, Any]


def corners(boxes: Array, form: str) -> Array:
    """[n, 4] as x0, y0, x1, y1."""
    if form == "xyxy":
        return boxes
    x, y, width, height = boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3]
    if form == "cxcywh":
        x, y = x - width / 2, y - height / 2
    return np.stack([x, y, x + width, y + height], axis=1)


def overlaps(one: Array, others: Array) -> Array:
    """Intersection over union of a box with others, all by their corners."""
    left, top = np.maximum(one[0], others[:, 0]), np.maximum(one[1], others[:, 1])
    right, bottom = np.minimum(one[2], others[:, 2]), np.minimum(one[3], others[:, 3])
    common = np.clip(right - left, 0, None) * np.clip(bottom - top, 0, None)
    union = _areas(one[None])[0] + _areas(others) - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def _areas(boxes: Array) -> Array:
    return np.clip(boxes[:, 2] - boxes[:, 0], 0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0, None)


def flat(value: Any, axes: int, name: str) -> Array:
    """Without a leading axis of size 1. Raises ValueError if it has another number of axes."""
    array = floating(value)
    while array.ndim > axes and array.shape[0] == 1:
        array = array[0]
    if array.ndim != axes:
        raise ValueError(f"{name} has the shape {list(np.shape(value))}, and should have {axes} axes")
    return array


def nms(values: Values, options: Mapping[str, Any], _: Names) -> Values:
    boxes_name, scores_name = only(values, options["boxes"]), only(values, options["scores"])
    boxes = flat(values[boxes_name], 2, boxes_name)
    if boxes.shape[1:] != (4,):
        raise ValueError(f"{boxes_name} has the shape {list(boxes.shape)}, and a box has 4 numbers")
    scores, classes = _scored(values, options, boxes.shape[0])
    boxes = corners(boxes, options["format"])
    kept = _kept(boxes, scores, classes, options)
    return {
        **values,
        boxes_name: boxes[kept],
        scores_name: scores[kept],
        options["classes"]: classes[kept],
    }


def _scored(values: Values, options: Mapping[str, Any], count: int) -> tuple[Array, Array]:
    name = options["scores"]
    scores = floating(values[name])
    while scores.ndim > 1 and scores.shape[0] == 1 and scores.shape != (count, 1):
        scores = scores[0]
    if scores.ndim == 2:
        classes = scores.argmax(axis=1).astype(np.int64)
        scores = scores.max(axis=1)
    else:
        given = values.get(options["classes"])
        classes = (
            np.zeros(scores.shape, np.int64) if given is None else numeric(given).reshape(-1).astype(np.int64)
        )
    if scores.shape != (count,) or classes.shape != (count,):
        raise ValueError(f"there are {count} boxes, {scores.shape[0]} scores and {classes.shape[0]} classes")
    return scores, classes


def _kept(boxes: Array, scores: Array, classes: Array, options: Mapping[str, Any]) -> Array:
    waiting = np.argsort(-scores, kind="stable")
    waiting = waiting[scores[waiting] >= options["score"]]
    kept: list[int] = []
    while waiting.size and len(kept) < options["most"]:
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        is_other = classes[waiting] != classes[best]
        waiting = waiting[is_other | (overlaps(boxes[best], boxes[waiting]) <= options["iou"])]
    return np.asarray(kept, dtype=np.int64)


WHOLE: dict[str, Callable[[Values, Mapping[str, Any], Names], Values]] = {"nms": nms}
"""By name."""
