"""What components of every format say of themselves; files made by the libraries themselves where they are here."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy
import pytest
import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor

from modelyard.inspection import inspect_component
from modelyard.models import Codec, Determined, Format, determine


def described(path: Path, file: str = "") -> Determined:
    return determine({}, inspect_component(path, file), name="m", size_bytes=path.stat().st_size)


def tensors(found: Determined, side: str) -> list[tuple[str, str, tuple[int, ...]]]:
    assert found.config is not None, (found.refusals, found.questions)
    return [(one.name, one.datatype.value, one.shape) for one in getattr(found.config, side)]


def iris() -> Any:
    return load_iris(return_X_y=True)


def test_skops_says_features_and_classes(tmp_path: Path) -> None:  # S2.2
    skops.io.dump(LogisticRegression(max_iter=500).fit(*iris()), tmp_path / "m.skops")
    found = described(tmp_path / "m.skops")
    assert tensors(found, "inputs") == [("features", "FP64", (-1, 4))]
    assert tensors(found, "outputs") == [("label", "INT64", (-1,)), ("probabilities", "FP64", (-1, 3))]
    assert not found.warnings


def test_skops_of_a_pipeline_looks_at_its_first_and_last_step(tmp_path: Path) -> None:
    data, target = iris()
    names = numpy.array(["setosa", "versicolor", "virginica"])[target]
    skops.io.dump(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(data, names),
        tmp_path / "p.skops",
    )
    found = described(tmp_path / "p.skops")
    assert tensors(found, "inputs") == [("features", "FP64", (-1, 4))]
    assert tensors(found, "outputs")[0] == ("label", "BYTES", (-1,))
    assert found.config is not None and found.config.outputs[1].labels == (
        "setosa",
        "versicolor",
        "virginica",
    )


def test_skops_promises_no_probabilities_where_there_are_none(tmp_path: Path) -> None:
    skops.io.dump(LinearSVC().fit(*iris()), tmp_path / "s.skops")
    assert tensors(described(tmp_path / "s.skops"), "outputs") == [("label", "INT64", (-1,))]
    skops.io.dump(DecisionTreeRegressor().fit(*iris()), tmp_path / "r.skops")
    assert tensors(described(tmp_path / "r.skops"), "outputs") == [("prediction", "FP64", (-1,))]


@pytest.mark.parametrize("compress", [0, 3, ("bz2", 3), ("xz", 3), ("gzip", 3)])
def test_joblib_is_never_opened_and_left_to_the_probe(tmp_path: Path, compress: Any) -> None:  # S2.2
    joblib.dump(LogisticRegression(max_iter=500).fit(*iris()), tmp_path / "m.joblib", compress=compress)
    found = described(tmp_path / "m.joblib")
    assert not found.refusals
    assert [one.field for one in found.questions] == ["inputs", "outputs"]
    assert all(one.is_probed for one in found.questions)
    assert "sklearn" in found.warnings[-1]


class Evil:
    def __reduce__(self) -> Any:
        import os

        return os.system, ("touch " + str(Path(__file__).with_name("was-here")),)


class Hidden:
    def __reduce__(self) -> Any:
        return eval, ("1",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(("kind", "name"), [(Evil, "system"), (Hidden, "eval")])
def test_pickle_that_calls_is_refused_and_does_not_get_to(
    tmp_path: Path, kind: type, name: str, protocol: int
) -> None:  # issue 6, point 7
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"model": kind()}, protocol))
    found = described(tmp_path / "m.pkl")
    assert any(name in refusal for refusal in found.refusals), found
    assert not Path(__file__).with_name("was-here").exists()


@pytest.mark.parametrize(
    "code",
    [
        # The module's name is put away and fetched again, with other things put away in between.
        b"\x80\x04]\x94\x8c\x05posix\x94]\x94h\x01\x8c\x06system\x94\x93\x8c\x01x\x85R.",
        # It is the answer of a call: nobody knows it beforehand.
        b"\x80\x04\x8c\x08builtins\x8c\x03str\x93\x8c\x05posix\x85R\x8c\x06system\x93\x8c\x01x\x85R.",
    ],
)
def test_pickle_that_hides_what_it_calls_is_refused(tmp_path: Path, code: bytes) -> None:  # issue 6, point 7
    (tmp_path / "m.pkl").write_bytes(code)
    refusals = described(tmp_path / "m.pkl").refusals
    assert any("posix.system" in one or "only known once" in one for one in refusals), refusals


def test_pickle_in_many_frames_is_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps([LogisticRegression() for _ in range(3_000)]))
    found = described(tmp_path / "m.pkl")
    assert not found.refusals and "sklearn" in found.warnings[-1]


def test_xgboost_json_says_features_and_objective(tmp_path: Path) -> None:
    learner = {
        "feature_names": ["a", "b"], "objective": {"name": "multi:softprob"}, "gradient_booster": {"model": [1, 2]},
        "learner_model_param": {"num_feature": "2", "num_class": "3", "num_target": "1", "base_score": "5E-1"},
    }  # fmt: skip
    (tmp_path / "m.json").write_text(json.dumps({"learner": learner, "version": [3, 0, 0]}))
    found = described(tmp_path / "m.json")
    assert tensors(found, "inputs") == [("features", "FP32", (-1, 2))]
    assert tensors(found, "outputs") == [("prediction", "FP32", (-1, 3))]
    assert found.config is not None and found.config.inputs[0].codec is Codec.TABLE


def test_lightgbm_text_says_features_and_objective(tmp_path: Path) -> None:
    header = (
        "tree\nversion=v4\nnum_class=1\nmax_feature_idx=3\nobjective=binary sigmoid:1\nfeature_names=a b c d\n\n"
        "Tree=0\n"
    )
    (tmp_path / "m.txt").write_text(header)
    found = described(tmp_path / "m.txt")
    assert tensors(found, "inputs") == [("features", "FP64", (-1, 4))]
    assert tensors(found, "outputs") == [("prediction", "FP64", (-1,))]


def safetensors(path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))


def test_safetensors_without_code_is_refused_and_with_code_asks_for_shapes(tmp_path: Path) -> None:
    safetensors(tmp_path / "w.safetensors")
    assert "nothing that computes" in described(tmp_path).refusals[0]
    (tmp_path / "net.py").write_text("class Net:\n    def predict(self, x: 'np.ndarray') -> float: ...\n")
    found = described(tmp_path)
    assert not found.refusals
    assert [one.field for one in found.questions] == ["inputs[x].datatype", "inputs[x].shape"]


def test_class_says_by_its_annotations_what_it_takes(tmp_path: Path) -> None:
    code = (
        "from collections.abc import Iterator\n"
        "class Chat:\n"
        "    def predict(self, prompt: str, *, picture: 'PIL.Image.Image', most: int = 3) -> Iterator[str]: ...\n"
        "raise SystemExit('it was run')\n"
    )
    (tmp_path / "chat.py").write_text(code)
    found = described(tmp_path / "chat.py")
    assert found.config is not None
    assert [(one.name, one.codec, one.is_optional) for one in found.config.inputs] == [
        ("prompt", Codec.TEXT, False), ("picture", Codec.IMAGE, False), ("most", Codec.TENSOR, True),
    ]  # fmt: skip
    assert found.config.outputs[0].codec is Codec.TEXT
    assert not found.config.serving.is_idempotent


def test_torchscript_names_its_arguments_and_leaves_shapes_to_the_probe(tmp_path: Path) -> None:
    code = (
        "class Net(Module):\n  def forward(self: __torch__.Net,\n    x: Tensor,\n    y: Tensor) -> Tensor:\n"
        "    return x\n"
    )
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/code/__torch__.py", code)
        archive.writestr("m/data.pkl", b"")
    inspection = inspect_component(tmp_path / "m.pt")
    assert inspection.format is Format.TORCHSCRIPT
    assert inspection.facts["inputs"].value == ("x", "y")
    assert all(one.is_probed for one in described(tmp_path / "m.pt").questions)


MLMODEL = """flavors:
  python_function:
    env:
      virtualenv: python_env.yaml
    loader_module: mlflow.sklearn
    model_path: model.skops
    predict_fn: predict
    python_version: 3.11.9
  sklearn:
    code: null
    serialization_format: skops
signature:
  inputs: '{inputs}'
  outputs: '{outputs}'
"""


def test_mlflow_directory_says_signature_and_the_packages_of_what_it_wraps(tmp_path: Path) -> None:
    spec = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4]}}]
    columns = [{"type": "double", "name": "a"}, {"type": "string", "name": "b"}]
    document = MLMODEL.format(inputs=json.dumps(columns), outputs=json.dumps(spec))
    (tmp_path / "MLmodel").write_text(document)
    skops.io.dump(LogisticRegression(max_iter=500).fit(*iris()), tmp_path / "model.skops")
    (tmp_path / "requirements.txt").write_text(
        "# made by mlflow\nmlflow==3.1\nscikit-learn==1.7\ntorch==2.9\n"
    )
    found = described(tmp_path)
    assert tensors(found, "outputs") == [("output", "FP32", (-1, 4))]
    assert found.config is not None
    assert (found.config.inputs[0].codec, found.config.inputs[0].columns) == (Codec.TABLE, ("a", "b"))
    assert found.config.runtime.python == "3.11"
    assert {*found.config.runtime.requirements} == {"scikit-learn==1.7", "skops>=0.11", "numpy", "pandas"}
    (tmp_path / "MLmodel").write_text(document.replace("mlflow.sklearn", "loader"))
    found = described(tmp_path)
    assert found.config is not None
    assert found.config.runtime.requirements == (
        "mlflow-skinny==3.1",
        "scikit-learn==1.7",
        "torch==2.9",
        "pandas",
    )
