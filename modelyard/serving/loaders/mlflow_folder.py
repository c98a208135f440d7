"""MLflow's directories: the format that they wrap, where it is loaded here; otherwise MLflow's python_function."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.serving.errors import ComponentUnfit, library
from modelyard.serving.loaders import estimators, lightgbm_booster, onnx_session, pickles, xgboost_booster
from modelyard.serving.loaders.loading import Findings, Loading, Model, Values
from modelyard.serving.tensors import Array

_DOCUMENT_BYTES_MOST = 4 << 20
_NAME = re.compile(r"    (\w+)")
_QUOTES = ("'", '"')
_PLAIN = {
    "mlflow.onnx": ("onnx", ("*.onnx",)),
    "mlflow.xgboost": ("xgboost", ("*.json", "*.ubj")),
    "mlflow.lightgbm": ("lightgbm", ("*.txt", "*.lgb")),
}
"""Flavours whose files run no code when they are opened, by the module that would load them."""


def load(loading: Loading) -> Model:
    """Raises ServingError, and whatever MLflow raises."""
    folder = loading.inside("MLmodel").parent
    fields = _fields(folder / "MLmodel")
    plain = _PLAIN.get(fields.get("loader_module", ""))
    if plain is not None:
        format_, names = plain
        inner = _inside(folder, folder / (fields.get("data") or "."))
        files = [inner] if inner.is_file() else sorted(file for name in names for file in inner.glob(name))
        if len(files) == 1 and any(files[0].match(name) for name in names):
            return _wrapped(loading, format_, files[0])
    if fields.get("loader_module") == "mlflow.sklearn" and fields.get("predict_fn", "predict") == "predict":
        return _estimator(loading, folder, fields)
    loading.unpickling("a model of MLflow")
    mlflow = library("mlflow.pyfunc", "mlflow-skinny", "runtime.requirements", "loading MLflow's models")
    return PythonFunction(mlflow.load_model(str(folder)), loading)


def _estimator(loading: Loading, folder: Path, fields: Mapping[str, str]) -> Model:
    """scikit-learn's. What MLmodel says of types to be trusted is not asked."""
    file = _inside(folder, folder / (fields.get("model_path") or fields.get("data") or "model.pkl"))
    if file.suffix == ".skops":
        return _wrapped(loading, "skops", file)
    loading.unpickling(file.name)
    return _wrapped(loading, "pickle", file)


def _inside(folder: Path, path: Path) -> Path:
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ComponentUnfit("MLmodel names a file outside of the component", "component.file")
    return path


def _fields(path: Path) -> dict[str, str]:
    """Of the flavour python_function; enough of YAML for what MLflow itself writes."""
    if path.stat().st_size > _DOCUMENT_BYTES_MOST:
        raise ComponentUnfit(f"MLmodel has more than {_DOCUMENT_BYTES_MOST} bytes", "component.file")
    text = path.read_text(errors="replace")
    begin = text.find("\n  python_function:")
    if begin < 0:
        raise ComponentUnfit(
            "MLmodel has no flavour python_function: log the model with one", "component.file"
        )
    block = re.split(r"\n {0,2}\S", text[begin + 3 :], maxsplit=1)[0]
    return dict(filter(None, map(_field, block.split("\n"))))


def _field(line: str) -> tuple[str, str] | None:
    """`    name: value`, in quotes or not; in time that grows with the line, whatever stands there."""
    before, mark, value = line.partition(":")
    name = _NAME.fullmatch(before)
    if name is None or not mark:
        return None
    value = value.strip(" \t").removeprefix("'").removeprefix('"').removesuffix("'").removesuffix('"')
    return None if any(quote in value for quote in _QUOTES) else (name[1], value)


def _wrapped(loading: Loading, format_: str, file: Path) -> Model:
    settings = replace(
        loading.settings, format=format_, file=file.relative_to(loading.folder.resolve()).as_posix()
    )
    inner = replace(loading, settings=settings)
    load_of: dict[str, Any] = {
        "onnx": onnx_session.load, "xgboost": xgboost_booster.load, "lightgbm": lightgbm_booster.load,
        "skops": estimators.load, "pickle": pickles.load,
    }  # fmt: skip
    model: Model = load_of[format_](inner)
    return model


class PythonFunction:
    """predict of MLflow's python_function: arrays by name, or a table where columns have names."""

    takes_objects = True

    def __init__(self, function: Any, loading: Loading) -> None:
        self._function = function
        self._inputs = {one.name: one for one in loading.settings.inputs}
        self._outputs = [one.name for one in loading.settings.outputs]

    def compute(self, values: Values, wanted: Sequence[str] | None) -> Values:
        given: Any = {name: self._given(name, value) for name, value in values.items()}
        found = self._function.predict(next(iter(given.values())) if len(given) == 1 else given)
        if isinstance(found, dict):
            return {str(name): np.asarray(value) for name, value in found.items()}
        return {self._outputs[0] if self._outputs else "output": _plain(found)}

    def findings(self) -> Findings:
        """Its signature stands in MLmodel, where the look at the files reads it."""
        return {}

    def _given(self, name: str, value: Any) -> Any:
        if hasattr(value, "to_pandas"):
            return value.to_pandas()
        spec = self._inputs.get(name)
        if spec is None or not spec.columns or not isinstance(value, np.ndarray):
            return value
        pandas = library("pandas", "pandas", "runtime.requirements", "a table with named columns")
        return pandas.DataFrame(value, columns=list(spec.columns))


def _plain(found: Any) -> Array:
    array: Array = np.asarray(found.to_numpy() if hasattr(found, "to_numpy") else found)
    return array
