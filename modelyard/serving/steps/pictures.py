"""Steps on pictures: arrays whose last three axes are height, width and channels, or channels, height and width."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from modelyard.serving.errors import library
from modelyard.serving.steps.names import Names
from modelyard.serving.steps.numbers import numeric

Array = Any
Options = Mapping[str, Any]

PIXELS_MOST = 1 << 26
"""Of one picture."""
_GRAY = (0.299, 0.587, 0.114)
"""ITU-R BT.601."""


def _channels_last(value: Any, options: Options) -> Array:
    array = numeric(value)
    if array.ndim < 3:
        raise ValueError(f"it has the shape {list(array.shape)}, and a picture has three axes")
    return np.moveaxis(array, -3, -1) if options["layout"] == "chw" else array


def _as_it_was(array: Array, options: Options) -> Array:
    return np.ascontiguousarray(np.moveaxis(array, -1, -3) if options["layout"] == "chw" else array)


def _like(array: Array, dtype: Any) -> Array:
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        return np.clip(np.rint(array), limits.min, limits.max).astype(dtype)
    return array.astype(dtype)


def resize(value: Any, options: Options, _: Names) -> Array:
    array = _channels_last(value, options)
    height, width = options["size"]
    if height * width > PIXELS_MOST:
        raise ValueError(f"{height} x {width} are more than {PIXELS_MOST} pixels")
    if 0 in array.shape:
        raise ValueError(f"it has the shape {list(np.shape(value))}: there are no pixels")
    images = array.reshape((-1, *array.shape[-3:]))
    found = np.stack([_resized(image, options) for image in images])
    return _as_it_was(found.reshape((*array.shape[:-3], *found.shape[1:])), options)


def _resized(image: Array, options: Options) -> Array:
    height, width = options["size"]
    inner_height, inner_width = _inner(image.shape[0], image.shape[1], options)
    if inner_height * inner_width > PIXELS_MOST:
        raise ValueError(f"{inner_height} x {inner_width} are more than {PIXELS_MOST} pixels")
    found = _interpolated(image, inner_height, inner_width, options)
    if options["fit"] != "contain":
        return found
    framed = np.full((height, width, image.shape[2]), options["fill"], dtype=image.dtype)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    framed[top : top + inner_height, left : left + inner_width] = found
    return framed


def _inner(height: int, width: int, options: Options) -> tuple[int, int]:
    wanted_height, wanted_width = options["size"]
    if options["fit"] == "stretch":
        return wanted_height, wanted_width
    ratios = wanted_height / height, wanted_width / width
    if options["fit"] == "contain":
        ratio = min(ratios)
        return max(1, min(wanted_height, round(height * ratio))), max(
            1, min(wanted_width, round(width * ratio))
        )
    ratio = max(ratios)
    return max(wanted_height, round(height * ratio)), max(wanted_width, round(width * ratio))


def _interpolated(image: Array, height: int, width: int, options: Options) -> Array:
    """Pixels of one or three channels as Pillow has them; others channel by channel, as real numbers."""
    images = library("PIL.Image", "pillow", "", "resize")
    method, size = images.Resampling[options["method"].upper()], (width, height)
    if image.dtype == np.uint8 and image.shape[2] in (1, 3):
        whole = images.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
        return np.asarray(whole.resize(size, method)).reshape(height, width, image.shape[2])
    planes = [
        np.asarray(images.fromarray(np.ascontiguousarray(image[..., at], np.float32)).resize(size, method))
        for at in range(image.shape[2])
    ]
    return _like(np.stack(planes, axis=-1), image.dtype)


def centre_crop(value: Any, options: Options, _: Names) -> Array:
    array = _channels_last(value, options)
    height, width = options["size"]
    if array.shape[-3] < height or array.shape[-2] < width:
        raise ValueError(f"it is {array.shape[-3]} x {array.shape[-2]}, smaller than {height} x {width}")
    top, left = (array.shape[-3] - height) // 2, (array.shape[-2] - width) // 2
    return _as_it_was(array[..., top : top + height, left : left + width, :], options)


def to_gray(value: Any, options: Options, _: Names) -> Array:
    array = _channels_last(value, options)
    if array.shape[-1] == 1:
        return _as_it_was(array, options)
    if array.shape[-1] not in (3, 4):
        raise ValueError(f"it has {array.shape[-1]} channels, and colours have 3 or 4")
    gray = array[..., :3].astype(np.float64) @ np.asarray(_GRAY)
    return _as_it_was(_like(gray[..., None], array.dtype), options)


def to_rgb(value: Any, options: Options, _: Names) -> Array:
    array = _channels_last(value, options)
    if array.shape[-1] not in (1, 3, 4):
        raise ValueError(f"it has {array.shape[-1]} channels; 1, 3 or 4 can be colours")
    return _as_it_was(np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array[..., :3], options)


OPERATIONS: dict[str, Callable[[Any, Options, Names], Any]] = {
    "resize": resize, "centre_crop": centre_crop, "to_gray": to_gray, "to_rgb": to_rgb,
}  # fmt: skip
"""By name."""
