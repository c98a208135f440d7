"""Both halves as one."""

from __future__ import annotations

import os

import numpy as np

halves = [np.load(os.environ[name]) for name in ("YARD_INPUT_FIRST", "YARD_INPUT_SECOND")]
names = ("train_x", "train_y", "test_x", "test_y")
train_x, train_y, test_x, test_y = (np.concatenate([half[name] for half in halves]) for name in names)
np.savez("prepared.npz", train_x=train_x, train_y=train_y, test_x=test_x, test_y=test_y)
