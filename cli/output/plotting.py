"""Curves as a picture, PNG or SVG, by matplotlib, which is loaded here and nowhere else."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import exit_codes
from cli.errors import CommandError, UsageError
from cli.output.curves import who

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.v1 import job_pb2

FORMATS = ("png", "svg")
PICTURES_MOST, LINES_MOST = 20, 20
_WIDTH, _HEIGHT = 8.0, 3.0


def require(out: str) -> None:
    """Raises UsageError, or CommandError where matplotlib is missing: before anything is asked for."""
    if Path(out).suffix.removeprefix(".").lower() not in FORMATS:
        raise UsageError(f"{out!r} ends neither with .png nor with .svg", next_step="--out curve.svg")
    _library("matplotlib")


def draw(series: Sequence[job_pb2.MetricSeries], out: str, *, title: str) -> None:
    """One picture for each metric, below each other; the same curves give the same bytes."""
    names = sorted({one.name for one in series})[:PICTURES_MOST]
    # Without pyplot nothing is looked for that shows windows.
    figure = _library("matplotlib.figure").Figure(
        figsize=(_WIDTH, _HEIGHT * len(names)), layout="constrained"
    )
    figure.suptitle(title)
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(len(names), 1, place)
        of_name = [one for one in series if one.name == name]
        for one in of_name[:LINES_MOST]:
            marker = "o" if len(one.points) < 2 else ""
            steps, values = [point.step for point in one.points], [point.value for point in one.points]
            axes.plot(steps, values, marker=marker, label=who(one))
        axes.set_ylabel(name)
        axes.set_xlabel("step")
        axes.grid(visible=True, alpha=0.3)
        if len(of_name) > 1:
            axes.legend(fontsize="small")
    kind = Path(out).suffix.removeprefix(".").lower()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with _library("matplotlib").rc_context({"svg.hashsalt": "modelyard", "svg.fonttype": "none"}):
        figure.savefig(out, format=kind, dpi=120, metadata=metadata)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("matplotlib"):
            raise
        raise CommandError(
            "pictures need matplotlib, which is not installed here",
            code=exit_codes.WORK_FAILED,
            next_step="pip install 'modelyard[operators]'; yard train metrics JOB -o json needs nothing",
        ) from error
