"""scikit-learn's estimators, and whatever behaves like them: skops, and what pickles hold.

An output's name says which method gives it; the same names that the look at the files, and the probe, use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelyard.serving.errors import ComponentUnfit, InvalidValue, TypesNotTrusted, library
from modelyard.serving.launch import Settings
from modelyard.serving.loaders.loading import Findings, Loading, Values
from modelyard.serving.loaders.tables import table_of

METHODS = {
    "label": "predict",
    "prediction": "predict",
    "probabilities": "predict_proba",
    "transformed": "transform",
    "decision": "decision_function",
    "score": "score_samples",
}
"""By the name of an output."""


_STATE = re.compile(r"(sklearn|xgboost|lightgbm)\.[\w.]+\.[A-Z]\w*")
"""Classes of these libraries that skops has not on its list, above all the compiled state of trees: without them no
forest would load. They run nothing by being constructed; functions are not among them."""


def load(loading: Loading, method: str = "") -> Estimator:
    """skops: only types that it knows as harmless, or that the server trusts, are constructed. Raises ServingError."""
    skops = library("skops.io", "skops", "runtime.requirements", "loading skops")
    path = loading.path
    unknown = skops.get_untrusted_types(file=path)
    refused = sorted(one for one in unknown if one not in loading.trusted_types and not _STATE.fullmatch(one))
    if refused and not loading.may_unpickle:
        raise TypesNotTrusted(
            f"{path.name} has types that this server does not trust: {', '.join(refused[:12])}; keep the model without"
            " them, or have an administrator trust them",
            "component.file",
        )
    return Estimator(skops.load(path, trusted=unknown), loading.settings, method)


class Estimator:
    """predict, predict_proba, transform … by the names of outputs; `method`: what gives the only one, whatever its
    name."""

    takes_objects = False

    def __init__(self, estimator: Any, settings: Settings, method: str = "") -> None:
        if not any(hasattr(estimator, method) for method in METHODS.values()):
            raise ComponentUnfit(
                f"a {type(estimator).__name__} neither predicts nor transforms", "component.file"
            )
        self._estimator = estimator
        self._columns = tuple(map(str, _listed(estimator, "feature_names_in_"))) or tuple(
            one.name for one in settings.inputs
        )
        names = [one.name for one in settings.outputs] or self._natural(method)
        self._methods = {
            name: method
            if method and len(names) == 1 and hasattr(estimator, method)
            else self._method(name, len(names))
            for name in names
        }

    def compute(self, values: Values, wanted: Sequence[str] | None) -> Values:
        table, found, known = self._table(values), {}, {}
        for name, method in self._methods.items():
            if wanted is None or name in wanted:
                if method not in known:
                    known[method] = self._called(method, table)
                found[name] = known[method]
        return found

    def _called(self, method: str, table: Any) -> Any:
        try:
            return _plain(getattr(self._estimator, method)(table))
        except (ValueError, TypeError) as error:
            if isinstance(error, ValueError) or hasattr(table, "columns"):
                raise InvalidValue(str(error)[:500], "inputs") from None
            raise

    def _table(self, values: Values) -> Any:
        """Numbers; or pandas' table, where callers give columns of several types."""
        if len(values) == 1 and isinstance(columns := next(iter(values.values())), Mapping):
            pandas = library("pandas", "pandas", "runtime.requirements", "a table with named columns")
            return pandas.DataFrame(columns)
        return table_of(values, self._columns)

    def findings(self) -> Findings:
        estimator, why = self._estimator, f"of the {type(self._estimator).__name__}"
        found: Findings = {"outputs": (list(self._methods), f"the methods {why}")}
        features = getattr(estimator, "n_features_in_", None)
        columns = [str(one) for one in _listed(estimator, "feature_names_in_")]
        if columns and _takes_columns(estimator):
            why_columns = f"feature_names_in_ {why}, whose ColumnTransformer takes them by name"
            found |= {
                "inputs": (["features"], why_columns),
                "inputs[features].datatype": ("BYTES", why_columns),
                "inputs[features].shape": ([1], why_columns),
                "inputs[features].codec": ("table", why_columns),
                "inputs[features].columns": (columns, why_columns),
            }
        elif isinstance(features, (int, np.integer)):
            found["inputs"] = (["features"], f"n_features_in_ {why}")
            found["inputs[features].datatype"] = ("FP64", f"n_features_in_ {why}")
            found["inputs[features].shape"] = ([-1, int(features)], f"n_features_in_ {why}")
            if columns:
                found["inputs[features].columns"] = (columns, f"feature_names_in_ {why}")
        classes = [str(one) for one in _listed(estimator, "classes_")]
        if classes and "probabilities" in self._methods:
            found["outputs[probabilities].labels"] = (classes, f"classes_ {why}")
        return found

    def _natural(self, method: str) -> list[str]:
        """Names of outputs where nobody has named them."""
        estimator = self._estimator
        if method not in ("", "predict"):
            return [next((name for name, known in METHODS.items() if known == method), "output")]
        if len(_listed(estimator, "classes_")) and hasattr(estimator, "predict"):
            return ["label", *(["probabilities"] if hasattr(estimator, "predict_proba") else [])]
        return ["prediction"] if hasattr(estimator, "predict") else ["transformed"]

    def _method(self, name: str, count: int) -> str:
        method = METHODS.get(name)
        if method is not None and hasattr(self._estimator, method):
            return method
        if method is None and count == 1:
            return "predict" if hasattr(self._estimator, "predict") else "transform"
        kind = type(self._estimator).__name__
        known = [one for one, method in METHODS.items() if hasattr(self._estimator, method)]
        raise ComponentUnfit(f"a {kind} gives no {name}; it gives {', '.join(known)}", f"outputs[{name}]")


def _takes_columns(estimator: Any) -> bool:
    """Whether its first step chooses columns by their names."""
    first = estimator
    while steps := getattr(first, "steps", None):
        first = steps[0][1]
    return hasattr(first, "transformers_")


def _listed(estimator: Any, name: str) -> list[Any]:
    """A fitted attribute; pipelines ask their steps for it, which may have none."""
    try:
        found = getattr(estimator, name, None)
    except (AttributeError, ValueError, TypeError):
        return []
    if isinstance(found, np.ndarray) and found.ndim == 1:
        found = found.tolist()
    return found if isinstance(found, list) else []


def _plain(found: Any) -> Any:
    """Sparse matrices and tables as arrays."""
    if hasattr(found, "toarray"):
        return found.toarray()
    return found.to_numpy() if hasattr(found, "to_numpy") else found
