"""The probe as a process: what a run tells that the files do not say (S2.2)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.model_components import (
    iris_classifier,
    lightgbm_component,
    onnx_component,
    pickle_component,
    python_component,
    skops_component,
)
from tests.support.model_frames import frame, tensor

FREE = {"inputs": [tensor("x", "FP32", [-1, 3])], "outputs": [tensor("result", "FP32", [-1, 3])]}


def probe(component: Path, config: dict[str, Any] | str, *more: str) -> dict[str, Any]:
    """What it writes; it writes in every case."""
    output, file = component.parent / "found.json", component.parent / "config.json"
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    argv = ["--component", str(component), "--config", str(file), "--output", str(output), *more]
    ended = subprocess.run(
        [sys.executable, "-m", "modelyard.serving.probe", *argv],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def facts(found: dict[str, Any]) -> dict[str, Any]:
    assert "error" not in found, found["error"]
    assert all(why for _, why in found["facts"].values())
    return {path: value for path, (value, _) in found["facts"].items()}


def without_protocol(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in ("inputs", "outputs")}


def test_of_skops_and_pickles_all_is_found(tmp_path: Path) -> None:
    component = tmp_path / "component"
    config, _ = skops_component(component)
    wanted = {
        "inputs": ["features"],
        "inputs[features].datatype": "FP64",
        "inputs[features].shape": [-1, 4],
        "outputs": ["label", "probabilities"],
        "outputs[label].datatype": "INT64",
        "outputs[label].shape": [-1],
        "outputs[probabilities].datatype": "FP64",
        "outputs[probabilities].shape": [-1, 3],
        "outputs[probabilities].labels": ["0", "1", "2"],
    }
    found = probe(component, without_protocol(config))
    assert facts(found) == wanted
    assert found["load_s"] > 0 and found["memory_bytes"] > 1 << 20
    (component / "iris.skops").unlink()
    config = pickle_component(component)
    refused = probe(component, without_protocol(config))
    assert (
        refused["error"]["field"] == "component.format" and refused["error"]["code"] == "FAILED_PRECONDITION"
    )
    assert facts(probe(component, without_protocol(config), "--may-unpickle")) == wanted


def test_of_named_columns_transformers_and_clusters_all_is_found(tmp_path: Path) -> None:
    import skops.io
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    table = np.random.default_rng(1).normal(size=(20, 2))
    scaler = StandardScaler().fit(table)
    scaler.feature_names_in_ = np.array(["height", "width"], object)
    component = tmp_path / "component"
    component.mkdir()
    config = {"name": "m", "format": "skops", "file": "model.skops"}
    skops.io.dump(scaler, component / "model.skops")
    found = facts(probe(component, config))
    assert found["inputs[features].columns"] == ["height", "width"]
    assert found["outputs"] == ["transformed"] and found["outputs[transformed].shape"] == [-1, 2]
    skops.io.dump(KMeans(2, n_init=1, random_state=0).fit(table), component / "model.skops")
    found = facts(probe(component, config))
    assert found["outputs[prediction].datatype"] == "INT32"


def test_forests_load_and_types_that_nobody_knows_do_not(tmp_path: Path) -> None:
    import skops.io
    from sklearn.ensemble import RandomForestClassifier

    component = tmp_path / "component"
    component.mkdir()
    config = {"name": "m", "format": "skops", "file": "model.skops"}
    table = np.random.default_rng(1).normal(size=(30, 3))
    forest = RandomForestClassifier(3, random_state=0).fit(table, table[:, 0] > 0)
    skops.io.dump(forest, component / "model.skops")
    found = facts(probe(component, config))
    assert found["outputs[label].datatype"] == "BOOL" and found["inputs[features].shape"] == [-1, 3]
    estimator = iris_classifier()
    estimator.tail = os.path.join
    skops.io.dump(estimator, component / "model.skops")
    refused = probe(component, config)["error"]
    assert "posixpath.join" in refused["message"]
    assert (refused["field"], refused["reason"]) == ("component.file", "TYPES_NOT_TRUSTED")
    facts(probe(component, config, "--trusted-type", "posixpath.join"))


def test_of_lightgbm_and_onnx_all_is_found_and_the_golden_output_loads(tmp_path: Path) -> None:
    component = tmp_path / "component"
    config, _ = lightgbm_component(component)
    assert facts(probe(component, without_protocol(config)))["outputs[prediction].shape"] == [-1]
    (component / "trees.txt").unlink()
    config = onnx_component(component)
    found = probe(component, without_protocol(config))
    assert facts(found)["inputs[x].shape"] == [-1, 4] and facts(found)["outputs[best].datatype"] == "INT64"
    example = tmp_path / "example.json"
    example.write_text(json.dumps(found["golden"]["example"]))
    golden = {"inputs": str(example), "digest": found["golden"]["digest"]}
    with frame(component, config, tmp_path / "state", golden=golden) as running:
        peer = running.peer()
        assert peer.loaded()["golden_digest"] == found["golden"]["digest"]
        peer.close()


@pytest.mark.parametrize(
    ("expression", "path", "value"),
    [
        ("x / x.sum()", "serving.max_batch", 0),
        ("x.sum(axis=0)", "serving.max_batch", 0),
        ("x[:1]", "serving.max_batch", 0),
        ("x.reshape(1, 3)", "serving.max_batch", 0),
        ("x * 2", "serving.max_batch", None),
        ("x * 2", "outputs[result].shape", [-1, 3]),
        ("x.sum(axis=0)", "outputs[result].shape", [3]),
    ],
)
def test_rows_that_are_not_independent_are_no_batch(
    tmp_path: Path, expression: str, path: str, value: Any
) -> None:
    code = f"class Model:\n    def predict(self, x):\n        return {expression}\n"
    config = python_component(tmp_path / "component", code, **{**FREE, "outputs": []})
    assert facts(probe(tmp_path / "component", config)).get(path) == value


def test_what_answers_differently_each_time_has_no_golden_output(tmp_path: Path) -> None:
    code = """
    import numpy as np
    class Model:
        def predict(self, x):
            return x + np.random.default_rng().random(x.shape, np.float32)
    """
    config = python_component(tmp_path / "component", code, **FREE)
    found = probe(tmp_path / "component", config)
    assert found["golden"] is None and "differently" in found["warnings"][0]
    assert facts(found)["outputs[result].shape"] == [-1, 3]


def test_its_own_example_is_used_where_it_has_one(tmp_path: Path) -> None:
    component = tmp_path / "component"
    code = """
    class Model:
        def predict(self, x, word: str):
            return {"a": x.astype(float), "b": {"paris": 1}[word]}
    """
    config = python_component(component, code)
    tensors = [
        {"name": "x", "datatype": "INT32", "shape": [1, 3], "data": [[7, 8, 9]]},
        {"name": "word", "datatype": "BYTES", "shape": [1], "data": ["paris"]},
    ]
    inputs = [{"name": "x"}, tensor("word", "BYTES", [1], codec="text")]
    config |= {"inputs": inputs, "outputs": [{"name": "a"}, {"name": "b"}]}
    refused = probe(component, config)["error"]
    assert refused["field"] == "inputs[x].shape" and "example" in refused["message"]
    (component / "examples").mkdir()
    (component / "examples" / "first.json").write_text(json.dumps({"inputs": tensors}))
    found = facts(probe(component, config))
    assert found["inputs[x].datatype"] == "INT32" and found["outputs[a].datatype"] == "FP64"
    assert found["outputs[b].datatype"] == "INT64"
    for broken in (
        "{",
        "[]",
        '{"inputs": [{"name": "x"}]}',
        json.dumps({"inputs": [{**tensors[0], "shape": [5]}]}),
    ):
        (component / "examples" / "first.json").write_text(broken)
        assert probe(component, config)["error"]["field"] == "examples/first.json"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("return nothing", "NameError"),
        ("return object()", ""),
        ("import sys; sys.exit(1)", "SystemExit"),
    ],
)
def test_a_class_that_fails_of_itself_is_refused(tmp_path: Path, body: str, word: str) -> None:
    code = f"class Model:\n    def predict(self, x):\n        {body}\n"
    config = python_component(tmp_path / "component", code, **FREE)
    assert word in probe(tmp_path / "component", config)["error"]["message"]


def test_a_class_that_only_dislikes_what_was_made_up_is_served_unproved(tmp_path: Path) -> None:
    code = (
        "class Model:\n    def predict(self, name: str) -> str:\n        return {'paris': 'france'}[name]\n"
    )
    config = python_component(
        tmp_path / "component",
        code,
        inputs=[tensor("name", "BYTES", [1], codec="text")],
        outputs=[tensor("result", "BYTES", [1], codec="text")],
    )
    found = probe(tmp_path / "component", config)
    assert found["golden"] is None and "examples/" in found["warnings"][0] and "error" not in found


@pytest.mark.parametrize("codec", ["json", "text", "image", "file"])
def test_for_each_codec_an_example_is_made(tmp_path: Path, codec: str) -> None:
    code = "class Model:\n    def predict(self, x):\n        return str(type(x))\n"
    config = python_component(
        tmp_path / "component",
        code,
        inputs=[tensor("x", "BYTES", [1], codec=codec)],
        outputs=[tensor("result", "BYTES", [1], codec="text")],
    )
    found = probe(tmp_path / "component", config)
    assert found["golden"] is not None, found


def test_a_stream_without_end_is_probed_by_its_first_part(tmp_path: Path) -> None:
    code = """
    class Model:
        def predict(self):
            place = 0
            while True:
                yield place
                place += 1
    """
    config = python_component(
        tmp_path / "component", code, inputs=[], outputs=[tensor("result", "INT64", [1])]
    )
    found = probe(tmp_path / "component", config)
    assert facts(found)["outputs[result].datatype"] == "INT64"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "python", "inputs": [3]}', '{"format": "python", "runtime": []}']
)
def test_a_configuration_that_is_none_is_said(tmp_path: Path, text: str) -> None:
    component = tmp_path / "component"
    component.mkdir()
    assert probe(component, text)["error"]["code"] in ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
