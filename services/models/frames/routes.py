"""Which version answers a call: weights and sticky keys. Pure.

By weighted rendezvous hashing: each version draws a number for the key, the highest in proportion to its weight wins.
So a caller stays with a version, and when weights change only as many move as have to.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

_WHOLE = float(1 << 64)


def draw(sticky: str, name: str) -> float:
    """Uniform between 0 and 1, the same each time."""
    digest = hashlib.blake2b(f"{sticky}\0{name}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 0.5) / _WHOLE


def choose(sticky: str, weights: Sequence[tuple[str, int]]) -> int:
    """The place of whom the key comes to; names tell versions apart. Of none with a weight, the first."""
    best, best_score = 0, -math.inf
    for place, (name, weight) in enumerate(weights):
        if weight <= 0:
            continue
        score = weight / -math.log(draw(sticky, name))
        if score > best_score:
            best, best_score = place, score
    return best


def is_mirrored(count: int, ratio: float) -> bool:
    """Whether the call of this number is sent to the mirror as well: evenly, so many of all."""
    return math.floor((count + 1) * ratio) > math.floor(count * ratio)
