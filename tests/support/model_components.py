"""Components made by tests: small models of real libraries, and classes of Python."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.model_frames import config_of, tensor

FEATURES = tensor("features", "FP64", [-1, 4])
ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3], [5.9, 2.8, 4.3, 1.3]])


def onnx_component(folder: Path, columns: int = 4) -> dict[str, Any]:
    """y = x · w + 1, and the largest column; its configuration."""
    from onnx import TensorProto, helper, numpy_helper, save

    weights = np.arange(columns * 3, dtype=np.float32).reshape(columns, 3) / 10
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("Add", ["m", "one"], ["y"]),
            helper.make_node("ArgMax", ["y"], ["best"], axis=1, keepdims=0),
        ],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", columns])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("best", TensorProto.INT64, ["n"]),
        ],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.ones(3, np.float32), "one")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    save(model, str(folder / "linear.onnx"))
    return config_of(
        "onnx",
        "linear.onnx",
        inputs=[tensor("x", "FP32", [-1, columns])],
        outputs=[tensor("y", "FP32", [-1, 3]), tensor("best", "INT64", [-1])],
        serving={"max_batch": 32},
    )


def iris_classifier() -> Any:
    """A logistic regression on three rows' neighbourhoods."""
    from sklearn.linear_model import LogisticRegression

    table = np.repeat(ROWS, 5, axis=0) + np.linspace(0, 0.3, 15)[:, None]
    return LogisticRegression().fit(table, np.repeat([0, 1, 2], 5))


def skops_component(folder: Path) -> tuple[dict[str, Any], Any]:
    """Its configuration, and the estimator itself."""
    import skops.io

    estimator = iris_classifier()
    folder.mkdir(parents=True, exist_ok=True)
    skops.io.dump(estimator, folder / "iris.skops")
    return _classifier("skops", "iris.skops"), estimator


def pickle_component(folder: Path) -> dict[str, Any]:
    """The same by joblib."""
    import joblib

    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(iris_classifier(), folder / "iris.joblib")
    return _classifier("pickle", "iris.joblib")


def lightgbm_component(folder: Path) -> tuple[dict[str, Any], Any]:
    """Its configuration, and the booster itself."""
    import lightgbm

    table = np.random.default_rng(5).normal(size=(120, 4))
    booster = lightgbm.train(
        {"objective": "regression", "verbose": -1, "num_leaves": 5, "num_threads": 1},
        lightgbm.Dataset(table, table[:, 0] * 2 + table[:, 1]),
        num_boost_round=5,
    )
    folder.mkdir(parents=True, exist_ok=True)
    booster.save_model(str(folder / "trees.txt"))
    config = config_of(
        "lightgbm", "trees.txt", inputs=[FEATURES], outputs=[tensor("prediction", "FP64", [-1])]
    )
    return config, booster


def python_component(folder: Path, code: str, **config: Any) -> dict[str, Any]:
    """A class in model.py."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(textwrap.dedent(code))
    return config_of("python", "model.py", **{"serving": {"is_idempotent": False}, **config})


def _classifier(format_: str, file: str) -> dict[str, Any]:
    return config_of(
        format_,
        file,
        inputs=[FEATURES],
        outputs=[tensor("label", "INT64", [-1]), tensor("probabilities", "FP64", [-1, 3])],
        serving={"max_batch": 32},
    )
