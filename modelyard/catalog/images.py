"""Operators on images, by Pillow."""

import struct
from pathlib import Path
from typing import Annotated, Any, Literal

from modelyard.catalog.libraries import library
from modelyard.context import Context
from modelyard.operator.declaration import operator
from modelyard.operator.failure import OperatorFailed
from modelyard.operator.ports import File, Input
from modelyard.operator.schema import Range

ImageFormat = Literal["png", "jpeg", "webp"]
Fit = Literal["inside", "cover", "exact"]
LIBRARIES = ("pillow",)
Side = Annotated[int, Range(1, 16_384)]
_PIXELS_MOST = 100_000_000
_NEXT = "give it a whole PNG, JPEG, WebP, GIF, BMP or TIFF"
# What Pillow raises for files that begin well.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error)
# JPEG has no transparency and no palettes, PNG no colours for printing.
_MODES = {"jpeg": ("RGB", "L"), "png": ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")}


@operator(name="image.describe", version="1", libraries=LIBRARIES)
def describe_image(image: Input[Path]) -> dict[str, Any]:
    """Tells the format, size and colours of an image, without reading its pixels."""
    with _opened(image, is_whole=False) as opened:
        return {
            "format": (opened.format or "").lower(),
            "width": opened.width,
            "height": opened.height,
            "mode": opened.mode,
        }


@operator(name="image.resize", version="1", libraries=LIBRARIES)
def resize_image(
    ctx: Context, image: Input[Path], width: Side, height: Side, fit: Fit = "inside", to: ImageFormat = "png"
) -> File:
    """Resizes an image: inside the size with its own proportions, over it with the rest cut off, or exactly to it."""
    ops = library("PIL.ImageOps", "pillow")
    with _opened(image) as opened:
        upright = ops.exif_transpose(opened)
        if fit == "inside":
            resized = ops.contain(upright, (width, height))
        elif fit == "cover":
            resized = ops.fit(upright, (width, height))
        else:
            resized = upright.resize((width, height))
        return _written(ctx, resized, to)


@operator(name="image.grayscale", version="1", libraries=LIBRARIES)
def grayscale_image(ctx: Context, image: Input[Path], to: ImageFormat = "png") -> File:
    """Takes the colours out of an image."""
    with _opened(image) as opened:
        return _written(ctx, opened.convert("L"), to)


@operator(name="image.convert", version="1", libraries=LIBRARIES)
def convert_image(
    ctx: Context, image: Input[Path], to: ImageFormat = "png", quality: Annotated[int, Range(1, 100)] = 85
) -> File:
    """Writes an image in another format; quality counts for JPEG and WebP."""
    with _opened(image) as opened:
        return _written(ctx, opened, to, quality)


def _opened(path: Path, *, is_whole: bool = True) -> Any:
    """The image in a file, its pixels read unless that is not wanted. Raises OperatorFailed."""
    module = library("PIL.Image", "pillow")
    try:
        image = module.open(path)
    except module.UnidentifiedImageError as error:
        what = "is no image of a known format" if path.stat().st_size else "is empty"
        raise OperatorFailed(f"the file {what}", _NEXT) from error
    except module.DecompressionBombError as error:
        raise OperatorFailed(f"the image is too large: {error}", "make it smaller first") from error
    except _DAMAGED as error:
        raise OperatorFailed(f"the image is damaged: {error}", _NEXT) from error
    if image.width * image.height > _PIXELS_MOST:
        image.close()
        raise OperatorFailed(
            f"the image has {image.width} x {image.height} pixels, and {_PIXELS_MOST} in all are the most",
            "make it smaller first",
        )
    try:
        if is_whole:
            image.load()
    except _DAMAGED as error:
        image.close()
        raise OperatorFailed(f"the image is damaged: {error}", _NEXT) from error
    return image


def _written(ctx: Context, image: Any, to: ImageFormat, quality: int = 85) -> File:
    path = ctx.directory / f"image.{to}"
    drawn = image if to == "webp" or image.mode in _MODES[to] else image.convert("RGB")
    drawn.save(path, format=to, **({} if to == "png" else {"quality": quality}))
    return File(path)
