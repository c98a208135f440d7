"""Handwritten digits as scikit-learn ships them: 1,797 pictures of 8 × 8 greys, with what they show."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

pictures, labels = load_digits(return_X_y=True)
np.savez("digits.npz", x=pictures.astype(np.float32), y=labels)
print(f"{len(labels)} pictures")
