"""Half of the pictures (0 or 1): scaled to 0 … 1, parted for learning and testing, those for learning shifted as well.

A picture that is shifted by a pixel shows the same digit, so there are five times as many to learn from.
"""

from __future__ import annotations

import os
import sys

import numpy as np
from sklearn.model_selection import train_test_split


def shifted(pictures: np.ndarray) -> list[np.ndarray]:
    """By one pixel to each side; what leaves the picture is lost."""
    squares = np.pad(pictures.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    places = ((0, 1), (2, 1), (1, 0), (1, 2))
    return [squares[:, top : top + 8, left : left + 8].reshape(-1, 64) for top, left in places]


half = int(sys.argv[1])
given = np.load(os.environ["YARD_INPUT_DIGITS"])
x, y = given["x"][half::2] / 16, given["y"][half::2]
train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)
moved = shifted(train_x)
np.savez(
    "half.npz",
    train_x=np.concatenate([train_x, *moved]).astype(np.float32),
    train_y=np.tile(train_y, 1 + len(moved)),
    test_x=test_x.astype(np.float32),
    test_y=test_y,
)
print(
    f"half {half} on {os.environ['YARD_NODE']}: {len(train_y) * 5} to learn from, {len(test_y)} to test with"
)
