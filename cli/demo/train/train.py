"""Trains a small neural network on handwritten digits; keeps the model and a picture of how it went.

A script as a user would write it: the yard is only felt by a file that takes progress. The data set comes with
scikit-learn.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import joblib
import matplotlib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def tell_progress(ratio: float, message: str) -> None:
    """One line "ratio message" in the file that the yard names; nothing outside of a yard."""
    path = os.environ.get("YARD_PROGRESS_FILE")
    if path:
        with Path(path).open("a") as file:
            file.write(f"{ratio:.4f} {message}\n")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--epochs", type=int, default=30)
    epochs = arguments.parse_args().epochs
    pictures, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(pictures, digits, test_size=0.25, random_state=0)
    scaler = StandardScaler().fit(train_x)
    train_x, test_x = scaler.transform(train_x), scaler.transform(test_x)
    model = MLPClassifier(hidden_layer_sizes=(64,), random_state=0)
    print(f"{len(train_x)} digits to learn from, {len(test_x)} to test with", flush=True)
    losses, scores = [], []
    for epoch in range(1, epochs + 1):
        model.partial_fit(train_x, train_y, classes=np.arange(10))
        losses.append(model.loss_)
        scores.append(model.score(test_x, test_y))
        print(f"epoch {epoch:3d}  loss {losses[-1]:.4f}  accuracy {scores[-1]:.3f}", flush=True)
        tell_progress(epoch / epochs, f"accuracy {scores[-1]:.3f}")
    joblib.dump({"scaler": scaler, "model": model}, "model.joblib")
    draw(losses, scores, model, test_x, test_y)
    print("saved model.joblib and plot.png", flush=True)


def draw(
    losses: list[float], scores: list[float], model: MLPClassifier, x: np.ndarray, y: np.ndarray
) -> None:
    """Loss and accuracy by epoch beside the confusion matrix, as plot.png."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5))
    left.plot(range(1, len(losses) + 1), losses, label="loss")
    left.plot(range(1, len(scores) + 1), scores, label="test accuracy")
    left.set_xlabel("epoch")
    left.legend()
    ConfusionMatrixDisplay.from_estimator(model, x, y, ax=right, colorbar=False, cmap="Blues")
    figure.suptitle(f"Handwritten digits: {scores[-1]:.1%} right")
    figure.tight_layout()
    figure.savefig("plot.png", dpi=110)


if __name__ == "__main__":
    main()
