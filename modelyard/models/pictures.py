"""Which shapes are those of pictures. Pure."""

from __future__ import annotations

from collections.abc import Sequence

PIXELS_LEAST = 8
_CHANNELS = (1, 3, 4)


def is_image(shape: Sequence[int]) -> bool:
    """Height, width and channels, or channels first, perhaps below an axis of a batch."""
    if len(shape) not in (3, 4):
        return False
    one = tuple(shape[-3:])
    for channels, height, width in ((one[0], one[1], one[2]), (one[2], one[0], one[1])):
        if channels in _CHANNELS and all(size == -1 or size >= PIXELS_LEAST for size in (height, width)):
            return True
    return False
