"""XGBoost's JSON: features and objective, as its documented schema has them. Binary JSON is left to the probe."""

from __future__ import annotations

from pathlib import Path

import msgspec

from modelyard.inspection.detection import ComponentUnknown
from modelyard.models.facts import Inspection
from modelyard.models.values import Datatype


class _Parameters(msgspec.Struct, frozen=True):
    num_feature: str = "0"
    num_class: str = "0"
    num_target: str = "1"


class _Objective(msgspec.Struct, frozen=True):
    name: str = ""


class _Learner(msgspec.Struct, frozen=True):
    learner_model_param: _Parameters = _Parameters()
    objective: _Objective = _Objective()
    feature_names: list[str] = []


class _Model(msgspec.Struct):
    learner: _Learner


def look(folder: Path, found: Inspection) -> None:
    """Fills in what the model says. Trees are skipped while reading."""
    if found.file.endswith(".ubj"):
        found.warnings.append("binary JSON is not looked into; saved as .json it says its features itself")
        return
    try:
        learner = msgspec.json.decode((folder / found.file).read_bytes(), type=_Model).learner
        parameters = learner.learner_model_param
        features, classes = int(parameters.num_feature), int(parameters.num_class)
        targets = int(parameters.num_target)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ComponentUnknown(f"{found.file} is no model of XGBoost: {error}") from None
    if features < 0 or classes < 0:
        raise ComponentUnknown(f"{found.file} is no model of XGBoost: {features} features, {classes} classes")
    why = f"learner in {found.file}"
    found.tensor("inputs", "features", Datatype.FP32.value, (-1, features or -1), why)
    if learner.feature_names:
        found.know("inputs[features].columns", tuple(learner.feature_names), f"feature_names in {found.file}")
    shape = _shape(learner.objective.name, classes, targets)
    if shape is not None:
        found.tensor(
            "outputs", "prediction", Datatype.FP32.value, shape, f"objective {learner.objective.name}"
        )


def _shape(objective: str, classes: int, targets: int) -> tuple[int, ...] | None:
    if objective == "multi:softprob":
        return (-1, classes)
    if (
        objective.startswith(("binary:", "reg:", "count:", "rank:", "survival:"))
        or objective == "multi:softmax"
    ):
        return (-1, targets) if targets > 1 else (-1,)
    return None
