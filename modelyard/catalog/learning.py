"""Operators that learn from tables, by scikit-learn: fit, predict, score.

A model is a file that only these operators read, in a worker: it is a pickle, so take models from nobody else.
"""

import pickle
from pathlib import Path
from typing import Any, Literal

from modelyard.catalog.dataframes import (
    TableFormat,
    is_number,
    read_table,
    require_columns,
    require_rows,
    write_table,
)
from modelyard.catalog.libraries import library
from modelyard.context import Context
from modelyard.operator.declaration import operator
from modelyard.operator.failure import OperatorFailed
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
_TAKES_GAPS = ("gradient-boosting-classifier", "gradient-boosting-regressor")
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
        raise OperatorFailed(
            "k-means learns no target" if target else f"{estimator} needs a target",
            "leave target out" if target else "name the column to learn",
        )
    frame = read_table(table)
    names = features if features is not None else [name for name in frame.columns if name != target]
    if not names or target in names:
        raise OperatorFailed(
            "there are no features beside the target" if not names else "the target is among the features",
            "name columns to learn from, other than the target",
        )
    require_columns(frame, [*names, *([target] if target else [])])
    require_rows(frame)
    model = _made(estimator, settings or {}, seed)
    features_of_rows = _matrix(frame, names, estimator in _TAKES_GAPS)
    truth = _truth(frame, target, estimator) if target else None
    try:
        model.fit(features_of_rows, truth)
    except ValueError as error:
        raise OperatorFailed(
            f"{estimator} cannot learn this: {_sentence(error)}", "look at settings, target and rows"
        ) from error
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
        raise OperatorFailed(f"the table has a column {column!r} already", "choose another name for column")
    predicted = _predicted(known, frame)
    return write_table(ctx, frame.with_columns(library("polars").Series(column, predicted)), "table", to)


@operator(name="sklearn.score", version="1", libraries=LIBRARIES)
def score(model: Input[Path], table: Input[Path]) -> dict[str, float | int | str]:
    """Tells how well a model predicts the target column of a table: accuracy and F1 of classes, R2 and mean absolute
    error of numbers."""
    known = _read(model)
    if not known["target"]:
        raise OperatorFailed(
            "the model has no target, so there is nothing to compare with", "score models other than k-means"
        )
    frame = read_table(table)
    require_columns(frame, [known["target"]])
    metrics, base = library("sklearn.metrics", "scikit-learn"), library("sklearn.base", "scikit-learn")
    is_classifier = base.is_classifier(known["model"])
    predicted = _predicted(known, frame)
    _check_target(frame[known["target"]], "the model", is_classifier)
    truth = frame[known["target"]].to_list()
    if is_classifier:
        if isinstance(truth[0], str) != isinstance(predicted[0], str):
            raise OperatorFailed(
                f"column {known['target']!r} is {frame[known['target']].dtype}, and the model was taught other classes",
                "compare with a table of the same kind as the one that it was fitted to",
            )
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
            raise OperatorFailed(
                f"{estimator} has no setting {setting!r}", f"name one of: {', '.join(sorted(known))}"
            )
    model = made(**({"random_state": seed} if "random_state" in known else {}), **settings)
    if "forest" in estimator or "boosting" in estimator:
        return model
    pipeline = library("sklearn.pipeline", "scikit-learn")
    scaler = library("sklearn.preprocessing", "scikit-learn").StandardScaler()
    return pipeline.make_pipeline(scaler, model)


def _matrix(frame: Any, names: list[str], takes_gaps: bool) -> Any:
    """The features as numbers. Raises OperatorFailed, naming the column that has none, or lacks some."""
    require_columns(frame, names)
    for name in names:
        if not is_number(frame[name]):
            raise OperatorFailed(
                f"column {name!r} is {frame[name].dtype}, and features are numbers",
                "leave it out, or encode it",
            )
        gaps = frame[name].null_count()
        if gaps and not takes_gaps:
            raise OperatorFailed(
                f"column {name!r} has {gaps} empty cells",
                "fill them or drop their rows: table.query with coalesce",
            )
    return frame.select(names).to_numpy().astype(float)


def _truth(frame: Any, target: str, estimator: str) -> list[Any]:
    """The column to learn. Raises OperatorFailed."""
    _check_target(
        frame[target], estimator, estimator.endswith("classifier") or estimator.startswith("logistic")
    )
    values: list[Any] = frame[target].to_list()
    if estimator.startswith("logistic") and len(set(values)) < 2:
        raise OperatorFailed(
            f"column {target!r} has one class only: {values[0]!r}", "give it rows of two classes at least"
        )
    return values


def _check_target(column: Any, learner: str, is_classifier: bool) -> None:
    gaps = column.null_count()
    if gaps:
        raise OperatorFailed(
            f"the target {column.name!r} has {gaps} empty cells", "drop their rows: table.query … is not null"
        )
    if not is_classifier and not is_number(column):
        raise OperatorFailed(
            f"the target {column.name!r} is {column.dtype}, and {learner} learns numbers",
            "name a column of numbers, or take a classifier",
        )
    if is_classifier and column.dtype.is_float() and not (column == column.round()).all():
        raise OperatorFailed(
            f"the target {column.name!r} is {column.dtype}, and {learner} learns classes",
            "name a column of classes, or take a regressor",
        )


def _predicted(known: dict[str, Any], frame: Any) -> list[Any]:
    require_rows(frame)
    takes_gaps = "HistGradientBoosting" in type(known["model"]).__name__
    found: list[Any] = known["model"].predict(_matrix(frame, known["features"], takes_gaps)).tolist()
    return found


def _sentence(error: Exception) -> str:
    """Of what scikit-learn says, without its advice on other classes."""
    return str(error).strip().partition("\n")[0]


def _read(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    if not data.startswith(_MAGIC):
        raise OperatorFailed("the file is no model", "connect the result of a node sklearn.fit to model")
    library("sklearn", "scikit-learn")
    known: dict[str, Any] = pickle.loads(data[len(_MAGIC) :])
    return known
