"""Pictures: PNG, JPEG, WebP, BMP and GIF into arrays of pixels, and arrays into PNG. Pillow."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelyard.serving.codecs.media import PNG
from modelyard.serving.codecs.shaping import converted
from modelyard.serving.errors import ComponentUnfit, InvalidValue, library

Array = Any
Spec = Mapping[str, Any]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
PIXELS_MOST = 1 << 26
"""Of one picture; looked at before any pixel is unpacked."""
BYTES_MOST = 64 << 20
CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}


def arrangement(shape: Sequence[int]) -> tuple[str, int]:
    """How a declared shape holds a picture: "hwc", "chw" or "hw", and its channels (0: as the picture has them)."""
    sizes = list(shape[-3:])
    if len(sizes) < 2:
        return "hwc", 0
    if len(sizes) == 2:
        return "hw", 1
    if sizes[2] in CHANNELS:
        return "hwc", sizes[2]
    if sizes[0] in CHANNELS:
        return "chw", sizes[0]
    return "hwc", 0


def decode(spec: Spec, items: list[bytes], _: str) -> Array:
    """One picture, or several of one size below each other, in the declared order of axes; pixels are 0 … 255.

    Declared BYTES: height, width, red-green-blue, as UINT8. Of a moving picture the first; turned as its camera says.
    """
    field, declared = f"inputs[{spec['name']}]", spec["datatype"]
    form, channels = arrangement(spec["shape"]) if declared != "BYTES" else ("hwc", 3)
    found = [_pixels(item, channels, field) for item in items]
    if form == "hw":
        found = [one[..., 0] for one in found]
    elif form == "chw":
        found = [np.moveaxis(one, -1, 0) for one in found]
    if declared == "BYTES" and len(found) == 1:
        return found[0]
    sizes = {one.shape for one in found}
    if len(sizes) > 1:
        raise InvalidValue(
            f"its pictures have the sizes {sorted(map(list, sizes))}; send one size at a time", field
        )
    array = np.stack(found) if len(found) > 1 or len(spec["shape"]) == len(form) + 1 else found[0]
    return _fitting(spec, converted(array, declared, field), field) if declared != "BYTES" else array


def _fitting(spec: Spec, array: Array, field: str) -> Array:
    shape = list(spec["shape"])
    if len(shape) == array.ndim and all(w in (-1, s) for w, s in zip(shape, array.shape, strict=True)):
        return np.ascontiguousarray(array)
    raise InvalidValue(
        f"the picture has the shape {list(array.shape)}, and {shape} is declared;"
        " send it in that size, or let the model resize it (pre: resize)",
        field,
    )


def _pixels(content: bytes, channels: int, field: str) -> Array:
    images = library("PIL.Image", "pillow", field, "a picture")
    turning = library("PIL.ImageOps", "pillow", field, "a picture")
    if len(content) > BYTES_MOST:
        raise InvalidValue(f"the picture has {len(content)} bytes; at most {BYTES_MOST} are taken", field)
    try:
        with images.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > PIXELS_MOST:
                raise InvalidValue(
                    f"the picture has {width} x {height} pixels; at most {PIXELS_MOST} are taken", field
                )
            turned = turning.exif_transpose(image)
            mode = CHANNELS.get(channels) or ("L" if turned.mode in ("1", "L") else "RGB")
            array = np.asarray(turned.convert(mode), dtype=np.uint8)
    except InvalidValue:
        raise
    except (images.DecompressionBombError, images.DecompressionBombWarning) as error:
        raise InvalidValue(f"the picture has more than {PIXELS_MOST} pixels", field) from error
    except images.UnidentifiedImageError as error:
        raise InvalidValue(f"it is no picture in {', '.join(FORMATS)}, or a broken one", field) from error
    except (OSError, ValueError, SyntaxError, KeyError, IndexError, EOFError, MemoryError) as error:
        raise InvalidValue(f"the picture is broken: {error}", field) from error
    return array if array.ndim == 3 else array[..., None]


def encode(spec: Spec, value: Any) -> tuple[Array, dict[str, Any]]:
    """A picture of Pillow, bytes that are one, or an array [height, width, channels] as PNG; a list: one each."""
    field = f"outputs[{spec['name']}]"
    items = value if isinstance(value, (list, tuple)) else [value]
    found = np.empty(len(items), dtype=np.object_)
    types = set()
    for place, item in enumerate(items):
        found[place] = content = as_png(item, field)
        types.add(kind_of(content))
    return found, {"content_type": types.pop() if len(types) == 1 else "application/octet-stream"}


def kind_of(content: bytes) -> str:
    """The content type by its first bytes; empty: none that is known."""
    for start, kind in (
        (b"\x89PNG\r\n\x1a\n", PNG), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"), (b"BM", "image/bmp"),
    ):  # fmt: skip
        if content.startswith(start):
            return kind
    return "image/webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else ""


def as_png(value: Any, field: str) -> bytes:
    """Of a picture in whatever form; bytes stay as they are. Raises ComponentUnfit if it is none."""
    if isinstance(value, (bytes, bytearray)):
        if not kind_of(bytes(value)):
            raise ComponentUnfit("it is bytes, and no picture", field)
        return bytes(value)
    images = library("PIL.Image", "pillow", field, "a picture")
    image = value if isinstance(value, images.Image) else images.fromarray(*_image_array(value, field))
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def _image_array(value: Any, field: str) -> tuple[Array]:
    array = np.asarray(value)
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[2] not in CHANNELS and array.shape[0] in CHANNELS:
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if (
        array.ndim not in (2, 3)
        or array.dtype.kind not in "biuf"
        or (array.ndim == 3 and array.shape[2] not in (3, 4))
    ):
        raise ComponentUnfit(f"{array.dtype} {list(array.shape)} is no picture", field)
    if 0 in array.shape or array.shape[0] * array.shape[1] > PIXELS_MOST:
        raise ComponentUnfit(f"a picture of {array.shape[0]} x {array.shape[1]} pixels cannot be", field)
    return (np.ascontiguousarray(pixels(array)),)


def pixels(array: Array) -> Array:
    """As UINT8: numbers of 0 … 1 are brightnesses, others pixels."""
    if array.dtype == np.uint8:
        return array
    real = np.nan_to_num(array.astype(np.float32), nan=0.0, posinf=255.0, neginf=0.0)
    if array.dtype.kind == "b" or (
        array.dtype.kind == "f" and real.size and real.max() <= 1.0 and real.min() >= 0.0
    ):
        real = real * 255
    return np.clip(np.rint(real), 0, 255).astype(np.uint8)
