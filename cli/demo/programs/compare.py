"""Both models on the pictures that neither has seen: which is better, and a plot of how they differ."""

from pathlib import Path
from typing import Any

from modelyard.context import Context
from modelyard.operator import File, Input, operator


@operator(outputs={"verdict": "json", "plot": "file"})
def compare(ctx: Context, lightgbm: Input[Path], xgboost: Input[Path], data: Input[Path]) -> dict[str, Any]:
    """`verdict`: {"winner": …, "accuracy": {…}}."""
    import numpy as np

    found = np.load(data)
    points, labels = found["test_x"], found["test_y"]
    guesses = {"lightgbm": _by_lightgbm(lightgbm, points), "xgboost": _by_xgboost(xgboost, points)}
    right = {name: guess == labels for name, guess in guesses.items()}
    accuracy = {name: float(hits.mean()) for name, hits in right.items()}
    path = ctx.directory / "comparison.png"
    _draw(right, labels, path)
    return {
        "verdict": {"winner": max(accuracy, key=accuracy.__getitem__), "accuracy": accuracy},
        "plot": File(path),
    }


def _by_lightgbm(path: Path, points: Any) -> Any:
    import lightgbm

    guesses: Any = lightgbm.Booster(model_file=str(path)).predict(points)
    return guesses.argmax(axis=1)


def _by_xgboost(path: Path, points: Any) -> Any:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(bytearray(path.read_bytes()))
    return booster.predict(xgboost.DMatrix(points)).argmax(axis=1)


def _draw(right: dict[str, Any], labels: Any, path: Path) -> None:
    """Of each digit, how many were told right."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3.6))
    for place, (name, hits) in enumerate(right.items()):
        shares = [hits[labels == digit].mean() for digit in range(10)]
        axes.bar(
            [digit + 0.4 * place - 0.2 for digit in range(10)], shares, 0.4, label=f"{name} {hits.mean():.1%}"
        )
    axes.set(xticks=range(10), xlabel="digit", ylabel="told right", ylim=(0.7, 1.02))
    axes.legend(loc="lower left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
