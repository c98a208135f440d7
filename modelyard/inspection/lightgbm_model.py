"""LightGBM's text: the header says features, classes and objective."""

from __future__ import annotations

from pathlib import Path

from modelyard.inspection.detection import ComponentUnknown
from modelyard.models.facts import Inspection
from modelyard.models.values import Datatype

HEADER_BYTES_MOST = 16 << 20
_ONE_A_ROW = ("regression", "binary", "lambdarank", "poisson", "quantile", "huber", "fair", "mape", "gamma", "tweedie",
              "cross_entropy", "rank_xendcg")  # fmt: skip


def look(folder: Path, found: Inspection) -> None:
    """Fills in what the header says."""
    header = _header(folder / found.file)
    try:
        features = int(header["max_feature_idx"]) + 1
        classes = int(header.get("num_class", "1"))
    except (KeyError, ValueError):
        raise ComponentUnknown(f"{found.file} is no model of LightGBM: its header says no features") from None
    if features < 1 or classes < 1:
        raise ComponentUnknown(
            f"{found.file} is no model of LightGBM: {features} features, {classes} classes"
        )
    found.tensor("inputs", "features", Datatype.FP64.value, (-1, features), f"header of {found.file}")
    names = header.get("feature_names", "").split()
    if len(names) == features and not all(name.startswith("Column_") for name in names):
        found.know("inputs[features].columns", tuple(names), f"feature_names in {found.file}")
    objective = header.get("objective", "").split(" ")[0]
    if objective in ("multiclass", "multiclassova"):
        found.tensor("outputs", "prediction", Datatype.FP64.value, (-1, classes), f"objective {objective}")
    elif objective.startswith(_ONE_A_ROW):
        found.tensor("outputs", "prediction", Datatype.FP64.value, (-1,), f"objective {objective}")


def _header(path: Path) -> dict[str, str]:
    """What stands before the first tree."""
    header: dict[str, str] = {}
    with path.open("rb") as lines:
        taken = 0
        for raw in iter(lambda: lines.readline(HEADER_BYTES_MOST), b""):
            taken += len(raw)
            if raw.startswith(b"Tree=") or taken > HEADER_BYTES_MOST:
                break
            name, mark, value = raw.decode(errors="replace").rstrip("\r\n").partition("=")
            if mark:
                header[name] = value
    return header
