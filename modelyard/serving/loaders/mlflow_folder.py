"""MLflow's directories: the format that they wrap, where it is loaded here; otherwise MLflow's python_function."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from modelyard.serving.errors import ComponentUnfit, InvalidValue, library
from modelyard.serving.launch import Spec
from modelyard.serving.loaders import (
    estimators,
    lightgbm_booster,
    onnx_session,
    pickles,
    torch_modules,
    xgboost_booster,
)
from modelyard.serving.loaders.loading import Findings, Loading, Model, Values
from modelyard.serving.mlflow_layout import CODE, MLMODEL, PYFUNC, Layout, LayoutUnfit, layout_of

_ALLOW = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
_ONE_OUTPUT = ("skops", "pickle", "xgboost", "lightgbm")
_LOADERS: dict[str, Callable[[Loading], Model]] = {
    "onnx": onnx_session.load,
    "lightgbm": lightgbm_booster.load,
    "torch-export": torch_modules.load,
    "torchscript": torch_modules.load,
}


def load(loading: Loading) -> Model:
    """Raises ServingError, and whatever MLflow raises."""
    folder = loading.inside(MLMODEL).parent
    try:
        layout = layout_of(folder)
    except LayoutUnfit as error:
        raise ComponentUnfit(str(error), "component.file") from None
    if layout.format not in (PYFUNC, CODE):
        return _wrapped(loading, layout)
    if layout.format == PYFUNC:
        loading.unpickling(layout.file or "a model of MLflow")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Whatever MLmodel makes of it: the server's word is the only one.
    os.environ[_ALLOW] = str(loading.may_unpickle).lower()
    mlflow = library(
        "mlflow.pyfunc", "mlflow-skinny and pandas", "runtime.requirements", "loading MLflow's models"
    )
    return PythonFunction(mlflow.load_model(str(folder)), loading)


def _wrapped(loading: Loading, layout: Layout) -> Model:
    """What MLmodel says of types to be trusted is not asked."""
    settings = replace(loading.settings, format=layout.format, file=layout.file)
    if not settings.outputs and layout.format in _ONE_OUTPUT:
        # As the signature is noted: what predict gives is the output.
        settings = replace(settings, outputs=(Spec("output"),))
    inner = replace(loading, settings=settings)
    if layout.format == "skops":
        return estimators.load(inner, layout.method)
    if layout.format == "pickle":
        return pickles.load(inner, layout.method)
    if layout.format == "xgboost":
        if layout.wrapper:
            return estimators.Estimator(
                xgboost_booster.wrapped(inner, layout.wrapper), inner.settings, layout.method
            )
        return xgboost_booster.load(inner)
    return _LOADERS[layout.format](inner)


class PythonFunction:
    """predict of MLflow's python_function: arrays by name, or a table where columns have names."""

    takes_objects = True

    def __init__(self, function: Any, loading: Loading) -> None:
        self._function = function
        self._inputs = {one.name: one for one in loading.settings.inputs}
        self._outputs = loading.settings.outputs
        self._types = _types(function)

    def compute(self, values: Values, wanted: Sequence[str] | None) -> Values:
        given: Any = {name: self._given(name, value) for name, value in values.items()}
        found = self._function.predict(next(iter(given.values())) if len(given) == 1 else given)
        if isinstance(found, dict) and (len(self._outputs) != 1 or {*found} == {self._outputs[0].name}):
            return {str(name): np.asarray(value) for name, value in found.items()}
        return {self._outputs[0].name if self._outputs else "output": self._plain(found)}

    def findings(self) -> Findings:
        """Its signature stands in MLmodel, where the look at the files reads it."""
        return {}

    def _given(self, name: str, value: Any) -> Any:
        if hasattr(value, "to_pandas"):
            return value.to_pandas()
        spec = self._inputs.get(name)
        if isinstance(value, np.ndarray) and spec is not None and spec.columns and spec.datatype != "BYTES":
            value = dict(zip(spec.columns, value.T, strict=True)) if value.ndim == 2 else value
        elif isinstance(value, np.ndarray) and value.dtype.kind in "OSU":
            return value.tolist()
        return self._table(name, value) if isinstance(value, dict) and spec and spec.columns else value

    def _table(self, name: str, columns: dict[str, Any]) -> Any:
        """Numbers as the signature has them: MLflow takes no wider ones."""
        pandas = library("pandas", "pandas", "runtime.requirements", "a table with named columns")
        try:
            return pandas.DataFrame(
                {
                    column: values.astype(self._types[column])
                    if column in self._types and values.dtype.kind in "iufb"
                    else values
                    for column, values in columns.items()
                }
            )
        except (ValueError, TypeError, OverflowError) as error:
            raise InvalidValue(f"a column is not as the signature says: {error}", f"inputs[{name}]") from None

    def _plain(self, found: Any) -> Any:
        """A table stays one where it is declared; all else as an array."""
        if (
            len(self._outputs) == 1
            and self._outputs[0].codec in ("table", "json")
            and not hasattr(found, "to_list")
        ):
            return found
        return np.asarray(found.to_numpy() if hasattr(found, "to_numpy") else found)


def _types(function: Any) -> dict[str, Any]:
    """Of numpy, by the name of a numeric column of the signature."""
    schema = function.metadata.get_input_schema() if function.metadata is not None else None
    found: dict[str, Any] = {}
    for one in schema.inputs if schema is not None else ():
        kind = getattr(one, "type", None)
        dtype = kind.to_numpy() if kind is not None and hasattr(kind, "to_numpy") else None
        if one.name is not None and dtype is not None and np.dtype(dtype).kind in "iufb":
            found[str(one.name)] = np.dtype(dtype)
    return found
