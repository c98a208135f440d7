"""Drawings over pictures, as PNG: boxes, masks, heatmaps. Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from modelyard.serving.codecs.images import pixels
from modelyard.serving.drawing.drawn import Drawn, Scene, as_numbers
from modelyard.serving.errors import ComponentUnfit, library
from modelyard.serving.steps.boxes import corners, flat
from modelyard.serving.vocabulary import PNG

Array = Any
Options = Mapping[str, Any]

SIDE_MOST = 2_048
"""Larger pictures are drawn smaller."""
SIDE_LEAST = 8
_COLOURS = (
    (230, 25, 75), (60, 180, 75), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240),
    (240, 50, 230), (210, 245, 60), (0, 128, 128), (170, 110, 40), (128, 0, 0), (0, 0, 128),
)  # fmt: skip
_HEAT = ((0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191))
"""From small to large: dark to light, also in shades of grey."""


def _pillow(part: str = "Image") -> Any:
    return library(f"PIL.{part}", "pillow", "", "a drawing over a picture")


def is_picture(value: Any) -> bool:
    """Whether an array, or the first of a batch of them, can be one."""
    array = as_numbers(value)
    if array is None or array.ndim not in (3, 4) or not array.size:
        return False
    one = array[0] if array.ndim == 4 else array
    return (one.shape[2] in (1, 3, 4) and min(one.shape[:2]) >= SIDE_LEAST) or (
        one.shape[0] in (1, 3, 4) and min(one.shape[1:]) >= SIDE_LEAST
    )


def background(options: Options, scene: Scene) -> Any:
    """The picture of a call, as Pillow has it; None: there is none."""
    if options["image"]:
        value = scene.value(options["image"])
        if not is_picture(value):
            raise ComponentUnfit(
                f"{options['image']} has the shape {list(np.shape(value))}, and is no picture"
            )
    else:
        value = next((one for one in scene.inputs.values() if is_picture(one)), None)
        if value is None:
            return None
    array = np.asarray(value)
    array = array[0] if array.ndim == 4 else array
    if array.shape[2] not in (1, 3, 4):
        array = np.moveaxis(array, 0, -1)
    shown = pixels(array if array.dtype == np.uint8 else _bright(array))
    shown = np.repeat(shown, 3, axis=2) if shown.shape[2] == 1 else shown[..., :3]
    return _pillow().fromarray(np.ascontiguousarray(shown))


def _bright(array: Array) -> Array:
    """Numbers that are neither pixels nor brightnesses – normalized ones – from their smallest to their largest."""
    real = np.nan_to_num(array.astype(np.float32))
    least, most = float(real.min()), float(real.max())
    if least >= 0 and most <= 255:
        return real
    return (real - least) / (most - least) if most > least else np.zeros_like(real)


def _sized(image: Any) -> tuple[Any, float]:
    """At most so large; and by what its places have to be multiplied."""
    ratio = min(1.0, SIDE_MOST / max(image.size))
    if ratio == 1.0:
        return image, 1.0
    return image.resize((max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))), ratio


def _png(image: Any) -> Drawn:
    content = io.BytesIO()
    image.save(content, "PNG")
    return Drawn(PNG, content.getvalue(), image.width, image.height)


def boxes(options: Options, scene: Scene) -> Drawn:
    """Each box with its label and score, in the colour of its class."""
    found = background(options, scene)
    if found is None:
        raise ComponentUnfit("there is no picture among the inputs to draw boxes on; say which with `image`")
    image, ratio = _sized(found.convert("RGB"))
    places = corners(flat(scene.value(options["boxes"]), 2, options["boxes"]), options["format"])
    if places.shape[1:] != (4,):
        raise ComponentUnfit(
            f"{options['boxes']} has the shape {list(places.shape)}, and a box has 4 numbers"
        )
    scale = (image.width, image.height) * 2 if options["relative"] else (ratio,) * 4
    places = np.nan_to_num(places.astype(np.float64), posinf=1e6, neginf=-1e6) * np.asarray(scale)
    scores, classes = (_of_each(scene, options[name], len(places)) for name in ("scores", "classes"))
    labels = tuple(options["labels"]) or scene.names_of(options["classes"], "labels")
    pen = _pillow("ImageDraw").Draw(image)
    order = range(len(places)) if scores is None else np.argsort(-scores, kind="stable")
    shown = [at for at in order if scores is None or scores[at] >= options["score"]][: options["most"]]
    for at in reversed(shown):
        _box(
            pen,
            image,
            places[at],
            _caption(at, scores, classes, labels),
            0 if classes is None else int(classes[at]),
        )
    return _png(image)


def _of_each(scene: Scene, name: str, count: int) -> Array | None:
    if name not in scene.outputs and name not in scene.inputs:
        return None
    array = as_numbers(scene.value(name))
    if array is None or array.size != count:
        raise ComponentUnfit(
            f"{name} has the shape {list(np.shape(scene.value(name)))}, and there are {count} boxes"
        )
    return array.reshape(-1)


def _caption(at: int, scores: Array | None, classes: Array | None, labels: tuple[str, ...]) -> str:
    words = []
    if classes is not None:
        number = int(classes[at])
        words.append(labels[number] if 0 <= number < len(labels) else str(number))
    if scores is not None:
        words.append(f"{float(scores[at]):.2f}")
    return " ".join(words)[:60]


def _box(pen: Any, image: Any, place: Array, caption: str, number: int) -> None:
    colour = _COLOURS[number % len(_COLOURS)]
    limits = (image.width, image.height) * 2
    x0, y0, x1, y1 = (float(np.clip(value, -1, most)) for value, most in zip(place, limits, strict=True))
    x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    pen.rectangle((x0, y0, x1, y1), outline=colour, width=max(1, min(image.size) // 160))
    if not caption:
        return
    left, top, right, bottom = pen.textbbox((x0 + 2, max(0.0, y0 - 12)), caption)
    pen.rectangle((left - 2, top - 1, right + 2, bottom + 1), fill=colour)
    pen.text((x0 + 2, max(0.0, y0 - 12)), caption, fill=(255, 255, 255))


def mask(options: Options, scene: Scene) -> Drawn:
    """Numbers of classes [height, width], or scores [classes, height, width], in colours; 0 stays clear."""
    name, array = scene.numbers(options["of"], (2, 3))
    if array.ndim == 3:
        array = (
            array[..., 0]
            if array.shape[2] == 1
            else array[0]
            if array.shape[0] == 1
            else array.argmax(axis=0)
        )
    if array.dtype.kind == "f" and array.max() <= 1.0:
        array = array > 0.5
    numbers = np.nan_to_num(array).astype(np.int64)
    table = np.asarray([(0, 0, 0), *_COLOURS], dtype=np.uint8)
    colours = table[np.where(numbers > 0, (numbers - 1) % len(_COLOURS) + 1, 0)]
    opacity = np.where(numbers > 0, options["alpha"], 0.0)
    return _laid_over(colours, opacity, background(options, scene), name)


def heatmap(options: Options, scene: Scene) -> Drawn:
    """Numbers [height, width] from their smallest to their largest, dark to light."""
    name, array = scene.numbers(options["of"], (2, 3))
    if array.ndim == 3:
        array = array.mean(axis=-1 if array.shape[2] in (1, 3, 4) else 0)
    real = np.nan_to_num(array.astype(np.float64), posinf=0.0, neginf=0.0)
    least, most = real.min(), real.max()
    parts = (real - least) / (most - least) if most > least else np.zeros_like(real)
    stops = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(parts, stops, [stop[at] for stop in _HEAT]) for at in range(3)]
    colours = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return _laid_over(colours, np.full(parts.shape, options["alpha"]), background(options, scene), name)


def _laid_over(colours: Array, opacity: Array, below: Any, name: str) -> Drawn:
    images = _pillow()
    if max(colours.shape[:2]) > 1 << 14:
        raise ComponentUnfit(
            f"{name} has {colours.shape[0]} x {colours.shape[1]} places, too many to be drawn"
        )
    above = images.fromarray(np.ascontiguousarray(colours))
    if below is None:
        return _png(_sized(_readable(above))[0])
    image, _ = _sized(below.convert("RGB"))
    veil = images.fromarray(np.rint(np.clip(opacity, 0, 1) * 255).astype(np.uint8)).resize(image.size)
    image.paste(above.resize(image.size, images.Resampling.NEAREST), (0, 0), veil)
    return _png(image)


def _readable(image: Any) -> Any:
    """A few numbers are drawn as large squares."""
    factor = max(1, 256 // max(image.size))
    return image.resize((image.width * factor, image.height * factor), _pillow().Resampling.NEAREST)


DRAWINGS: dict[str, Callable[[Options, Scene], Drawn]] = {"boxes": boxes, "mask": mask, "heatmap": heatmap}
"""By name."""
