"""Operators that learn from tables, by scikit-learn: fit, predict, score.

A model is a file that only these operators read, in a worker: it is a pickle, so take models from nobody else.
"""

import pickle
from pathlib import Path
from typing import Any, Literal

from modelyard.catalog.dataframes import TableFormat, read_table, require_columns, write_table
from modelyard.catalog.libraries import library
from modelyard.context import Context
from modelyard.operator.declaration import operator
from modelyard.operator.ports import File, Input

Estimator = Literal[
    "logistic-regression",
    "linear-regression",
    "ridge",
    "random-forest-classifier",
    "random-forest-regressor",
    "gradient-boosting-classifier",
    "gradient-boosting-regressor",
    "k-neighbors-classifier",
    "k-means",
]
LIBRARIES = ("scikit-learn", "polars")
_CLASSES: dict[str, tuple[str, str]] = {
    "logistic-regression": ("sklearn.linear_model", "LogisticRegression"),
    "linear-regression": ("sklearn.linear_model", "LinearRegression"),
    "ridge": ("sklearn.linear_model", "Ridge"),
    "random-forest-classifier": ("sklearn.ensemble", "RandomForestClassifier"),
    "random-forest-regressor": ("sklearn.ensemble", "RandomForestRegressor"),
    "gradient-boosting-classifier": ("sklearn.ensemble", "HistGradientBoostingClassifier"),
    "gradient-boosting-regressor": ("sklearn.ensemble", "HistGradientBoostingRegressor"),
    "k-neighbors-classifier": ("sklearn.neighbors", "KNeighborsClassifier"),
    "k-means": ("sklearn.cluster", "KMeans"),
}
_MAGIC = b"modelyard-sklearn-1\n"


@operator(name="sklearn.fit", version="1", libraries=LIBRARIES)
def fit(
    ctx: Context,
    table: Input[Path],
    estimator: Estimator,
    target: str = "",
    features: list[str] | None = None,
    settings: dict[str, Any] | None = None,
    seed: int = 0,
) -> File:
    """Fits a model to the rows of a table. ``target`` is the column to learn (none for k-means), ``features`` are those
    to learn from (default: all others), ``settings`` go to scikit-learn's class. Features are scaled before linear
    models, neighbours and clusters. The same for the same seed."""
    if (estimator == "k-means") == bool(target):
        raise ValueError(
            "k-means learns no target" if target else f"{estimator} needs a target, a column to learn"
        )
    frame = read_table(table)
    names = features if features is not None else [name for name in frame.columns if name != target]
    if not names or target in names:
        raise ValueError("features must be columns beside the target")
    require_columns(frame, [*names, *([target] if target else [])])
    model = _made(estimator, settings or {}, seed)
    model.fit(_matrix(frame, names), frame[target].to_list() if target else None)
    path = ctx.directory / "model.pickle"
    path.write_bytes(_MAGIC + pickle.dumps({"model": model, "features": names, "target": target}))
    return File(path)


@operator(name="sklearn.predict", version="1", libraries=LIBRARIES)
def predict(
    ctx: Context,
    model: Input[Path],
    table: Input[Path],
    column: str = "prediction",
    to: TableFormat = "parquet",
) -> File:
    """Adds a column with the model's predictions to a table."""
    known = _read(model)
    frame = read_table(table)
    if column in frame.columns:
        raise ValueError(f"the table has a column {column!r} already; choose another name")
    predicted = known["model"].predict(_matrix(frame, known["features"])).tolist()
    return write_table(ctx, frame.with_columns(library("polars").Series(column, predicted)), "table", to)


@operator(name="sklearn.score", version="1", libraries=LIBRARIES)
def score(model: Input[Path], table: Input[Path]) -> dict[str, float | int | str]:
    """Tells how well a model predicts the target column of a table: accuracy and F1 of classes, R2 and mean absolute
    error of numbers."""
    known = _read(model)
    if not known["target"]:
        raise ValueError("the model has no target, so there is nothing to compare with")
    frame = read_table(table)
    require_columns(frame, [known["target"]])
    metrics, base = library("sklearn.metrics", "scikit-learn"), library("sklearn.base", "scikit-learn")
    truth = frame[known["target"]].to_list()
    predicted = known["model"].predict(_matrix(frame, known["features"])).tolist()
    if base.is_classifier(known["model"]):
        return {
            "kind": "classes",
            "rows": len(truth),
            "accuracy": float(metrics.accuracy_score(truth, predicted)),
            "f1": float(metrics.f1_score(truth, predicted, average="macro")),
        }
    return {
        "kind": "numbers",
        "rows": len(truth),
        "r2": float(metrics.r2_score(truth, predicted)),
        "mean_absolute_error": float(metrics.mean_absolute_error(truth, predicted)),
    }


def _made(estimator: str, settings: dict[str, Any], seed: int) -> Any:
    module, name = _CLASSES[estimator]
    made = getattr(library(module, "scikit-learn"), name)
    known = made().get_params()
    for setting in settings:
        if setting not in known:
            raise ValueError(f"{estimator} has no setting {setting!r}; there are: {', '.join(sorted(known))}")
    model = made(**({"random_state": seed} if "random_state" in known else {}), **settings)
    if "forest" in estimator or "boosting" in estimator:
        return model
    pipeline = library("sklearn.pipeline", "scikit-learn")
    scaler = library("sklearn.preprocessing", "scikit-learn").StandardScaler()
    return pipeline.make_pipeline(scaler, model)


def _matrix(frame: Any, names: list[str]) -> Any:
    """The features as numbers. Raises ValueError, naming the column that has none."""
    require_columns(frame, names)
    for name in names:
        if not (frame[name].dtype.is_numeric() or str(frame[name].dtype) == "Boolean"):
            raise ValueError(
                f"column {name!r} is {frame[name].dtype}, and features are numbers; leave it out, or encode it"
            )
    return frame.select(names).to_numpy().astype(float)


def _read(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    if not data.startswith(_MAGIC):
        raise ValueError("the file is no model that sklearn.fit made")
    library("sklearn", "scikit-learn")
    known: dict[str, Any] = pickle.loads(data[len(_MAGIC) :])
    return known
