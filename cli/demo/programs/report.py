"""What the canvas came to, as confusion.png and one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import html
import json
import os
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay

matplotlib.use("Agg")
import matplotlib.pyplot as plt

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; border-bottom: 1px solid #ddd; text-align: left }
img { max-width: 100% } code { background: #f4f4f4; padding: 0 .2rem } .big { font-size: 2rem; margin: 0 }
"""


def confusion(labels: np.ndarray, guesses: np.ndarray) -> None:
    figure, axes = plt.subplots(figsize=(5, 5))
    ConfusionMatrixDisplay.from_predictions(labels, guesses, ax=axes, colorbar=False, cmap="Blues")
    axes.set_title(f"{(labels == guesses).mean():.1%} of {len(labels)} told right")
    figure.tight_layout()
    figure.savefig("confusion.png", dpi=110)


def curves(losses: dict[str, list[list[float]]]) -> None:
    figure, axes = plt.subplots(figsize=(8, 3.2))
    for name, points in losses.items():
        axes.plot(*zip(*points, strict=True), label=name)
    axes.set(xlabel="round", ylabel="loss on pictures for testing", yscale="log")
    axes.legend()
    figure.tight_layout()
    figure.savefig("curves.png", dpi=110)


def image(path: str, text: str) -> str:
    content = base64.b64encode(Path(path).read_bytes()).decode()
    return f'<img alt="{html.escape(text)}" src="data:image/png;base64,{content}">'


def table(heads: list[str], rows: list[list[Any]]) -> str:
    return f"<table>{row('th', heads)}{''.join(row('td', one) for one in rows)}</table>"


def row(kind: str, cells: list[Any]) -> str:
    return "<tr>" + "".join(f"<{kind}>{html.escape(str(one))}</{kind}>" for one in cells) + "</tr>"


def page(story: dict[str, Any], share: float) -> str:
    accuracy = [[name, f"{value:.2%}"] for name, value in story["accuracy"].items()]
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Handwritten digits</title>
<style>{STYLE}</style>
<h1>Handwritten digits, from a canvas to a served model</h1>
<p class="big">{share:.1%} told right by <code>{html.escape(story["model"])}</code></p>
<p>Called {story["calls"]} times by a client that knows nothing of the yard. {html.escape(story["said"])}</p>
<h2>Two frameworks, each on two workers</h2>{table(["framework", "told right"], accuracy)}
{image("curves.png", "Loss by round of both frameworks")}
{image(os.environ["YARD_INPUT_PLOT"], "Share of each digit that was told right by both models")}
<h2>What the served model mistakes for what</h2>{image("confusion.png", "Confusion matrix of the served model")}
<h2>How it came about</h2>{table(["node", "state", "where", "took"], story["nodes"])}
</html>"""


story = json.loads(Path(os.environ["YARD_INPUT_STORY"]).read_text())
labels, guesses = np.array(story["labels"]), np.array(story["guesses"])
confusion(labels, guesses)
curves(story["losses"])
Path("report.html").write_text(page(story, float((labels == guesses).mean())), encoding="utf-8")
print("confusion.png and report.html")
