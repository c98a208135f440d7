"""One small trained model of every format, written by the libraries themselves, with a call and its right answer.

Only the environment of `make frameworks` has all of these libraries: each is loaded where it is used.
"""

from __future__ import annotations

import json
import textwrap
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

GENERATOR = np.random.default_rng(3)
TABLE = GENERATOR.normal(size=(60, 4))
CLASSES = np.arange(60) % 3
ROWS = TABLE[:3]
ROWS_32 = ROWS.astype(np.float32)


@dataclass(frozen=True)
class Trained:
    """What is pushed, and what a call of it has to answer."""

    source: Path
    gives: Mapping[str, Any]
    takes: Mapping[str, Any]
    needs: frozenset[str]
    """Packages of its environment."""
    probed: bool = False
    """What it takes is not in its files: a run has told it."""
    is_pickle: bool = False
    config: str = ""
    wrong: Mapping[str, Any] = field(default_factory=dict)


def needs(*names: str) -> frozenset[str]:
    return frozenset(names)


def linear() -> Any:
    import torch

    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()


def answer_of(module: Any) -> Any:
    import torch

    with torch.no_grad():
        return module(torch.from_numpy(ROWS_32)).numpy()


def torchscript(folder: Path) -> Trained:
    import torch

    module = linear()
    torch.jit.script(module).save(str(folder / "net.pt"))
    return Trained(
        folder / "net.pt", {"output": answer_of(module)}, {"input": ROWS_32}, needs("torch"), probed=True
    )


def exported(folder: Path) -> Trained:
    import torch

    module, rows = linear(), torch.export.Dim("rows", min=1, max=1024)
    program = torch.export.export(module, (torch.zeros(2, 4),), dynamic_shapes=({0: rows},))
    torch.export.save(program, folder / "net.pt2")
    (name,) = [one.arg.name for one in program.graph_signature.output_specs]
    return Trained(
        folder / "net.pt2", {name: answer_of(module)}, {"input": ROWS_32}, needs("torch"), is_pickle=True
    )


NET = """
    import numpy as np
    from safetensors.numpy import load_file


    class Net:
        def load(self, folder):
            self.weights = load_file(folder / "net.safetensors")

        def predict(self, x: np.ndarray) -> np.ndarray:
            return x @ self.weights["w"] + self.weights["b"]
"""


def safetensors(folder: Path) -> Trained:
    """Weights, code, and an example that says what the code's annotations leave open."""
    from safetensors.numpy import save_file

    weights = {"w": np.arange(12, dtype=np.float32).reshape(4, 3), "b": np.ones(3, np.float32)}
    save_file(weights, folder / "net.safetensors")
    (folder / "net.py").write_text(textwrap.dedent(NET))
    example = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [[1, 2, 3, 4]]}
    (folder / "examples").mkdir()
    (folder / "examples" / "one.json").write_text(json.dumps({"inputs": [example]}))
    wanted = ROWS_32 @ weights["w"] + weights["b"]
    return Trained(folder, {"result": wanted}, {"x": ROWS_32}, needs("numpy", "safetensors"), probed=True)


def booster() -> Any:
    import xgboost

    options = {"objective": "multi:softprob", "num_class": 3, "max_depth": 2, "nthread": 1}
    return xgboost.train(options, xgboost.DMatrix(TABLE, CLASSES), num_boost_round=3)


def booster_answer() -> Any:
    import xgboost

    return booster().predict(xgboost.DMatrix(ROWS_32))


def xgboost_json(folder: Path) -> Trained:
    booster().save_model(folder / "boosted.json")
    return Trained(
        folder / "boosted.json", {"prediction": booster_answer()}, {"features": ROWS_32}, needs("xgboost")
    )


def trees() -> Any:
    import lightgbm

    options = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}
    return lightgbm.train(options, lightgbm.Dataset(TABLE, CLASSES), num_boost_round=3)


def lightgbm_text(folder: Path) -> Trained:
    trees().save_model(folder / "trees.txt")
    return Trained(
        folder / "trees.txt", {"prediction": trees().predict(ROWS)}, {"features": ROWS}, needs("lightgbm")
    )


def classifier() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(TABLE, CLASSES)


def joblib_estimator(folder: Path) -> Trained:
    import joblib

    estimator = classifier()
    joblib.dump(estimator, folder / "iris.joblib")
    gives = {"label": estimator.predict(ROWS), "probabilities": estimator.predict_proba(ROWS)}
    return Trained(
        folder / "iris.joblib", gives, {"features": ROWS}, needs("joblib", "numpy", "scikit-learn"), probed=True,
        is_pickle=True,
    )  # fmt: skip


def python_class(folder: Path) -> Trained:
    code = "class Greeter:\n    def predict(self, name: str) -> str:\n        return f'hello {name}'\n"
    (folder / "greeter.py").write_text(code)
    return Trained(folder / "greeter.py", {"result": "hello Ada"}, {"name": ["Ada"]}, needs())


# MLflow's own directories


def mlflow_python_model(folder: Path) -> Trained:
    """A pickle of a class; its table has columns of several types, and its example is what it was logged with."""
    import pandas
    from mlflow.models import infer_signature
    from mlflow.pyfunc import PythonModel, save_model

    class Adds(PythonModel):  # type: ignore[misc, unused-ignore]
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return (model_input["a"] + model_input["n"]).to_numpy() + model_input["t"].str.len().to_numpy()

    table = pandas.DataFrame({"a": [1.5, 2.0], "n": [1, 2], "t": ["x", "yy"]})
    found = Adds().predict(None, table)
    save_model(
        folder / "m", python_model=Adds(), signature=infer_signature(table, found), input_example=table,
        pip_requirements=["mlflow>=3", "cloudpickle", "pandas"],
    )  # fmt: skip
    rows = json.dumps([{"a": 1.5, "n": 4, "t": "abc"}])
    return Trained(
        folder / "m", {"output": [8.5]}, {"input": [rows]},
        needs("mlflow-skinny", "cloudpickle", "pandas"), is_pickle=True, wrong={"input": ['[{"a": 1.5, "n": 4}]']},
    )  # fmt: skip


CODE = """
    import mlflow
    import numpy as np


    class Doubles(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return np.asarray(model_input) * 2


    mlflow.models.set_model(Doubles())
"""


def mlflow_code(folder: Path) -> Trained:
    """Logged from a file of code: there is no pickle in it."""
    from mlflow.models import infer_signature
    from mlflow.pyfunc import save_model

    (folder / "doubles.py").write_text(textwrap.dedent(CODE))
    save_model(
        folder / "m", python_model=str(folder / "doubles.py"), signature=infer_signature(TABLE, TABLE),
        pip_requirements=["mlflow>=3", "cloudpickle", "pandas"],
    )  # fmt: skip
    return Trained(
        folder / "m", {"output": ROWS * 2}, {"input": ROWS}, needs("mlflow-skinny", "cloudpickle", "pandas")
    )


def mlflow_estimator(folder: Path) -> Trained:
    """scikit-learn's, which MLflow keeps as skops; it wraps a pipeline that takes columns of several types by name."""
    import mlflow.sklearn
    import pandas
    from mlflow.models import infer_signature
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    table = pandas.DataFrame({"a": TABLE[:, 0], "b": TABLE[:, 1], "c": np.where(TABLE[:, 2] > 0, "x", "z")})
    columns = make_column_transformer((StandardScaler(), ["a", "b"]), (OneHotEncoder(), ["c"]))
    pipeline = make_pipeline(columns, LogisticRegression()).fit(table, CLASSES)
    mlflow.sklearn.save_model(
        pipeline, folder / "m", signature=infer_signature(table, pipeline.predict(table)),
        input_example=table[:2], serialization_format="skops", pip_requirements=["mlflow", "scikit-learn", "pandas"],
    )  # fmt: skip
    return Trained(
        folder / "m", {"output": pipeline.predict(table[:3])}, {"input": [table[:3].to_json(orient="records")]},
        needs("scikit-learn", "skops", "numpy", "pandas"), wrong={"input": ['[{"a": 1, "b": "much", "c": "x"}]']},
    )  # fmt: skip


def mlflow_xgboost(folder: Path) -> Trained:
    """A classifier, whose answer is a label; its booster alone would give probabilities."""
    import mlflow.xgboost
    import xgboost
    from mlflow.models import infer_signature

    estimator = xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(TABLE, CLASSES)
    # As MLflow finds them out: both are there where somebody has the one for processors only.
    packages = ["mlflow", "xgboost-cpu>=3", "xgboost>=3", "scikit-learn", "rich"]
    mlflow.xgboost.save_model(
        estimator, folder / "m", signature=infer_signature(TABLE, CLASSES), pip_requirements=packages
    )
    return Trained(
        folder / "m", {"output": estimator.predict(ROWS)}, {"input": ROWS}, needs("xgboost", "scikit-learn")
    )


def mlflow_lightgbm(folder: Path) -> Trained:
    """A booster without a signature: what it takes stands in its text."""
    import mlflow.lightgbm

    mlflow.lightgbm.save_model(trees(), folder / "m", pip_requirements=["mlflow", "lightgbm"])
    return Trained(folder / "m", {"prediction": trees().predict(ROWS)}, {"features": ROWS}, needs("lightgbm"))


MAKERS: dict[str, Callable[[Path], Trained]] = {
    "torchscript": torchscript,
    "torch-export": exported,
    "safetensors": safetensors,
    "xgboost-json": xgboost_json,
    "lightgbm": lightgbm_text,
    "joblib": joblib_estimator,
    "python": python_class,
    "mlflow-python-model": mlflow_python_model,
    "mlflow-code": mlflow_code,
    "mlflow-sklearn": mlflow_estimator,
    "mlflow-xgboost": mlflow_xgboost,
    "mlflow-lightgbm": mlflow_lightgbm,
}


def trained(name: str, folder: Path) -> Trained:
    """The model of this name, in an empty folder that is made for it."""
    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        # What libraries advise those who use them is not of this project.
        warnings.simplefilter("ignore")
        return MAKERS[name](folder)
