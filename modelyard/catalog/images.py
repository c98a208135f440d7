"""Operators on images, by Pillow."""

from pathlib import Path
from typing import Annotated, Any, Literal

from modelyard.catalog.libraries import library
from modelyard.context import Context
from modelyard.operator.declaration import operator
from modelyard.operator.ports import File, Input
from modelyard.operator.schema import Range

ImageFormat = Literal["png", "jpeg", "webp"]
Fit = Literal["inside", "cover", "exact"]
LIBRARIES = ("pillow",)
Side = Annotated[int, Range(1, 16_384)]
_PIXELS_MOST = 100_000_000


@operator(name="image.describe", version="1", libraries=LIBRARIES)
def describe_image(image: Input[Path]) -> dict[str, Any]:
    """Tells the format, size and colours of an image, without reading its pixels."""
    with _opened(image) as opened:
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


def _opened(path: Path) -> Any:
    module = library("PIL.Image", "pillow")
    try:
        image = module.open(path)
    except module.UnidentifiedImageError as error:
        raise ValueError("the file is no image that is known") from error
    if image.width * image.height > _PIXELS_MOST:
        image.close()
        raise ValueError(
            f"the image has {image.width} x {image.height} pixels, and {_PIXELS_MOST} in all are the most"
        )
    return image


def _written(ctx: Context, image: Any, to: ImageFormat, quality: int = 85) -> File:
    path = ctx.directory / f"image.{to}"
    # JPEG has no transparency and no palettes.
    drawn = image.convert("RGB") if to == "jpeg" and image.mode not in ("RGB", "L") else image
    drawn.save(path, format=to, **({} if to == "png" else {"quality": quality}))
    return File(path)
