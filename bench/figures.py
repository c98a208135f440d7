"""What a measurement gives, and how figures are shown."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured figure; ``runs`` holds every repetition, ``value`` their median."""

    name: str
    unit: str
    runs: tuple[float, ...]
    goal: str = ""
    note: str = ""
    value: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", statistics.median(self.runs))


def repeat(count: int, measure: Callable[[], float]) -> tuple[float, ...]:
    """The figure of each of ``count`` runs."""
    return tuple(measure() for _ in range(count))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 … 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def table(figures: Sequence[Figure]) -> str:
    """Markdown: figure, median, spread, goal."""
    lines = ["| what | median | lowest – highest | goal | |", "|---|---|---|---|---|"]
    for f in figures:
        spread = f"{min(f.runs):.4g} – {max(f.runs):.4g}"
        lines.append(f"| {f.name} | {f.value:.4g} {f.unit} | {spread} | {f.goal} | {f.note} |")
    return "\n".join(lines)


def save(figures: Sequence[Figure], path: Path) -> None:
    """All figures with all their runs, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(f) for f in figures], indent=1) + "\n", encoding="utf-8")
