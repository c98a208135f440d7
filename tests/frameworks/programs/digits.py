"""What every program here trains: softmax regression by gradient descent over all samples.

A mean of the gradients of equal shards is the gradient of all samples, so every framework, on any number of processes,
must come to the numbers of `reference`, but for rounding. Where ROOM is set, a directory that all processes share, the
training goes on until somebody puts the file `finish` there, and can be taken up again from what was saved.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

SAMPLES, FEATURES, CLASSES = 960, 12, 4
STEPS, RATE = 40, 0.5
PAUSE_S = 0.05


def samples():
    """Four clouds of points, and of which one each is; the same in every process."""
    random = np.random.default_rng(7)
    labels = np.arange(SAMPLES) % CLASSES
    centres = random.normal(size=(CLASSES, FEATURES)) * 1.2
    points = centres[labels] + random.normal(size=(SAMPLES, FEATURES))
    return points.astype(np.float32), labels.astype(np.int64)


def shard(index, count):
    """The part of one of so many processes; they are of equal size."""
    points, labels = samples()
    assert SAMPLES % count == 0
    return points[index::count], labels[index::count]


def gradients(weights, bias, points, labels):
    """Of the mean loss over these samples: of the weights, of the bias; and the loss."""
    logits = points @ weights + bias
    logits = logits - logits.max(axis=1, keepdims=True)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = -np.log(shares[np.arange(len(labels)), labels]).mean()
    shares[np.arange(len(labels)), labels] -= 1
    return points.T @ shares / len(labels), shares.mean(axis=0), loss


def quality(weights, bias):
    """Loss and accuracy over all samples."""
    points, labels = samples()
    weights, bias = np.asarray(weights, np.float64), np.asarray(bias, np.float64)
    loss = gradients(weights, bias, points, labels)[2]
    return {
        "loss": float(loss),
        "accuracy": float(((points @ weights + bias).argmax(axis=1) == labels).mean()),
    }


def quality_of(shares, labels):
    """The same of shares that a model gives to each class."""
    shares = np.asarray(shares, np.float64)
    loss = -np.log(shares[np.arange(len(labels)), labels]).mean()
    return {"loss": float(loss), "accuracy": float((shares.argmax(axis=1) == labels).mean())}


def reference(steps=STEPS):
    """What comes out without any framework, in one process and double precision."""
    points, labels = samples()
    weights, bias = np.zeros((FEATURES, CLASSES)), np.zeros(CLASSES)
    for _ in range(steps):
        of_weights, of_bias, _ = gradients(weights, bias, points, labels)
        weights, bias = weights - RATE * of_weights, bias - RATE * of_bias
    return quality(weights, bias)


def report(**values):
    """The line that the tests read; in one write, since ranks share a file and launchers begin them without buffers."""
    print(f"result {json.dumps(values)}\n", end="", flush=True)


def leave():
    """Ends a rank of torch.distributed that is done, without the end of the interpreter: threads of gloo outlive their
    group, since DistributedDataParallel keeps it, and one that wants the interpreter by then aborts the process."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


class Room:
    """Where a long training keeps its state; without one it takes STEPS steps."""

    def __init__(self):
        self.path = Path(os.environ["ROOM"]) if os.environ.get("ROOM") else None

    def load(self):
        """Steps taken so far, weights, bias."""
        if self.path is None or not (self.path / "state.npz").exists():
            return 0, np.zeros((FEATURES, CLASSES), np.float32), np.zeros(CLASSES, np.float32)
        with np.load(self.path / "state.npz") as saved:
            return int(saved["step"]), saved["weights"], saved["bias"]

    def save(self, step, weights, bias, **told):
        """After every step; `told` goes into the file of all steps that were ever taken. That first: whoever is killed
        between the two takes the step again, and tells it twice."""
        if self.path is None:
            return
        draft = self.path / ".state.npz"
        np.savez(draft, step=step, weights=weights, bias=bias)
        with (self.path / "steps").open("a") as file:
            file.write(json.dumps({"step": step, **told}) + "\n")
        draft.rename(self.path / "state.npz")
        time.sleep(PAUSE_S)

    def is_over(self, step):
        return step >= STEPS and (self.path is None or (self.path / "finish").exists())
