"""XGBoost's own files, JSON or binary JSON: a Booster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from modelyard.serving.errors import ComponentUnfit, InvalidValue, library
from modelyard.serving.loaders.loading import Findings, Loading, Values
from modelyard.serving.loaders.tables import table_of


def load(loading: Loading) -> Booster:
    """Raises ServingError, and what XGBoost raises of a file that it cannot read."""
    xgboost = library("xgboost", "xgboost", "runtime.requirements", "loading XGBoost")
    booster = xgboost.Booster({"nthread": loading.settings.library_threads})
    try:
        booster.load_model(str(loading.path))
    except xgboost.core.XGBoostError as error:
        raise ComponentUnfit(f"{loading.path.name}: {_first(error)}", "component.file") from None
    if loading.settings.has_gpu:
        booster.set_param({"device": "cuda"})
    return Booster(xgboost, booster, [one.name for one in loading.settings.outputs])


def wrapped(loading: Loading, name: str) -> Any:
    """The estimator of xgboost.sklearn of this name; the file says its booster and classes. Raises ServingError."""
    library("sklearn", "scikit-learn", "runtime.requirements", f"loading a {name}")
    xgboost = library("xgboost", "xgboost", "runtime.requirements", "loading XGBoost")
    kind = getattr(xgboost.sklearn, name, None)
    if kind is None:
        raise ComponentUnfit(f"this version of XGBoost has no {name}", "component.file")
    estimator = kind(n_jobs=loading.settings.library_threads)
    try:
        estimator.load_model(str(loading.path))
    except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
        raise ComponentUnfit(f"{loading.path.name}: {_first(error)}", "component.file") from None
    return estimator


class Booster:
    """One output: what the objective predicts."""

    takes_objects = False

    def __init__(self, xgboost: Any, booster: Any, outputs: list[str]) -> None:
        if len(outputs) > 1:
            raise ComponentUnfit(f"XGBoost gives one output, and {', '.join(outputs)} are named", "outputs")
        self._xgboost = xgboost
        self._booster = booster
        self._output = outputs[0] if outputs else "prediction"
        self._columns = booster.feature_names or []
        settings = json.loads(booster.save_config())["learner"]
        self._objective = str(settings["objective"]["name"])
        self._is_tree = settings["gradient_booster"]["name"] in ("gbtree", "dart")

    def compute(self, values: Values, wanted: Sequence[str] | None) -> Values:
        table = table_of(values, self._columns)
        if table.dtype not in (np.float32, np.float64):
            table = table.astype(np.float32)
        try:
            found = self._booster.inplace_predict(table) if self._is_tree else self._slow(table)
        except (self._xgboost.core.XGBoostError, ValueError) as error:
            raise InvalidValue(_first(error), "inputs") from None
        return {self._output: found}

    def findings(self) -> Findings:
        why = f"the booster, objective {self._objective}"
        found: Findings = {
            "inputs": (["features"], why),
            "inputs[features].datatype": ("FP32", why),
            "inputs[features].shape": ([-1, int(self._booster.num_features())], why),
            "outputs": ([self._output], why),
        }
        if self._columns:
            found["inputs[features].columns"] = (list(self._columns), why)
        return found

    def _slow(self, table: Any) -> Any:
        return self._booster.predict(self._xgboost.DMatrix(table, feature_names=self._columns or None))


def _first(error: BaseException) -> str:
    """Without the native stack below it."""
    lines = str(error).partition("Stack trace")[0].strip().splitlines()
    return lines[-1][:500] if lines else type(error).__name__
