"""LightGBM's text files: a Booster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelyard.serving.errors import ComponentUnfit, InvalidValue, library
from modelyard.serving.loaders.loading import Findings, Loading, Values
from modelyard.serving.loaders.tables import table_of


def load(loading: Loading) -> Booster:
    """Raises ServingError."""
    lightgbm = library("lightgbm", "lightgbm", "runtime.requirements", "loading LightGBM")
    try:
        booster = lightgbm.Booster(model_file=str(loading.path))
    except lightgbm.basic.LightGBMError as error:
        raise ComponentUnfit(f"{loading.path.name}: {error}", "component.file") from None
    return Booster(lightgbm, booster, loading)


class Booster:
    """One output: what the objective predicts."""

    takes_objects = False

    def __init__(self, lightgbm: Any, booster: Any, loading: Loading) -> None:
        outputs = [one.name for one in loading.settings.outputs]
        if len(outputs) > 1:
            raise ComponentUnfit(f"LightGBM gives one output, and {', '.join(outputs)} are named", "outputs")
        self._error = lightgbm.basic.LightGBMError
        self._booster = booster
        self._output = outputs[0] if outputs else "prediction"
        self._columns = booster.feature_name()
        self._threads = loading.settings.library_threads

    def compute(self, values: Values, wanted: Sequence[str] | None) -> Values:
        table = table_of(values, self._columns)
        try:
            return {self._output: self._booster.predict(table, num_threads=self._threads)}
        except (self._error, ValueError) as error:
            raise InvalidValue(str(error)[:500], "inputs") from None

    def findings(self) -> Findings:
        why = "the booster"
        found: Findings = {
            "inputs": (["features"], why),
            "inputs[features].datatype": ("FP64", why),
            "inputs[features].shape": ([-1, int(self._booster.num_feature())], why),
            "outputs": ([self._output], why),
        }
        if not all(name.startswith("Column_") for name in self._columns):
            found["inputs[features].columns"] = (list(self._columns), why)
        return found
