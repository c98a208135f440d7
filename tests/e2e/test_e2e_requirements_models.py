"""S0.9 and S2.1 to S2.7, one test each, on two agents: through the command line, S0.9 and S2.5 by grpcurl as well.

This is where to look whether a requirement is met; the other proofs of this directory go into each one's depth.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.grpcurl import DEPLOYMENTS, INFERENCE, MODELS, Grpcurl
from tests.support.yard import Yard, new_yard

SCALES = """
import numpy as np


class Scales:
    def load(self, directory: str) -> None:
        self.factor = 10

    def predict(self, x: np.ndarray) -> np.ndarray:
        return x * self.factor
"""
CONFIG = """
inputs: [{name: x, datatype: FP64, shape: [-1, 3]}]
outputs: [{name: result, datatype: FP64, shape: [-1, 3], labels: [a, b, c]}]
pre: [{op: scale, on: x, factor: 0.5}]
post: [{op: softmax, on: result}]
visualise: [{op: bar, name: chart, of: result, as: application/vnd.vegalite.v5+json}]
runtime: {requirements: [numpy]}
"""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard(is_up=False) as made:
        up = made.up("--models")
        assert up.code == 0, f"{up.stderr}\n{made.logs()}"
        yield made
        assert made.cli("down").code == 0
        assert not made.left_over(), made.left_over()


def cli(yard: Yard, *words: str) -> str:
    done = yard.cli(*words)
    assert done.code == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


def told(yard: Yard, *words: str) -> Any:
    return json.loads(cli(yard, *words, "-o", "json"))


ADDS = "class Adds:\n    def predict(self, x: int) -> int:\n        return x + {plus}\n"


def component(room: Path, plus: int) -> Path:
    file = room / "adds.py"
    file.write_text(ADDS.format(plus=plus))
    return file


def test_many_models_stay_in_order_and_are_loaded_called_and_unloaded_with_no_login(
    yard: Yard, tmp_path: Path
) -> None:  # S0.9
    for plus in (1, 2):
        cli(
            yard, "model", "push", str(component(tmp_path, plus)), "--name", "adds", "--label", f"plus={plus}"
        )
    cli(yard, "model", "alias", "set", "adds", "champion", "1")
    for _ in range(2):
        # What is loaded already is answered at once.
        cli(yard, "model", "load", "adds:champion")
    assert told(yard, "model", "call", "adds:champion", "--input", "x=5") == {"result": [6]}
    shown = cli(yard, "model", "get", "adds:champion")
    assert "owner      default" in shown and "loaded on  node-" in shown
    assert "champion" in cli(yard, "model", "ls") and "champion" in cli(yard, "model", "history", "adds")
    cli(yard, "model", "unload", "adds")
    curl = Grpcurl(yard)
    [model] = curl.call(f"{MODELS}/ListModels", {"name_prefix": "adds"})["models"]
    assert (model["account"], model["latest_version"]) == ("default", "2")
    assert model["aliases"] == [{"name": "champion", "version": "1"}]
    frame = curl.call(f"{DEPLOYMENTS}/LoadModel", {"model": "adds", "version": "2"})["frame"]
    assert frame["state"] == "FRAME_STATE_READY" and frame["node"].startswith("node-")
    assert curl.call(f"{DEPLOYMENTS}/UnloadModel", {"model": "adds"})["frames"]


def test_component_with_its_parameters_becomes_a_model(yard: Yard, tmp_path: Path) -> None:  # S2.1
    """Content-addressed: the same again is no new version; its files are known by their sha256."""
    (tmp_path / "config.yaml").write_text("runtime: {memory: 256Mi}\nserving: {deadline: 3s}\n")
    words = (
        "model",
        "push",
        str(component(tmp_path, 3)),
        "--name",
        "first",
        "--config",
        str(tmp_path / "config.yaml"),
    )
    cli(yard, *words)
    cli(yard, *words)
    version = told(yard, "model", "get", "first")
    assert version["version"] == "1" and len(version["component"]["files"][0]["digest"]) == 64
    config = cli(yard, "model", "config", "get", "first")
    assert "declared" in config and "3s" in config


def test_protocol_is_determined_from_component_and_steps(yard: Yard, tmp_path: Path) -> None:  # S2.2
    cli(yard, "model", "push", str(component(tmp_path, 4)), "--name", "determined")
    provenance = {
        one["field"]: one["provenance"]
        for one in Grpcurl(yard).call(f"{MODELS}/GetModelConfig", {"model": "determined"})["config"][
            "provenance"
        ]
    }
    assert provenance["inputs[x].datatype"] == "PROVENANCE_INSPECTED"
    metadata = Grpcurl(yard).call(f"{INFERENCE}/ModelMetadata", {"name": "determined"})
    assert [(one["name"], one["datatype"]) for one in metadata["inputs"]] == [("x", "INT64")]


def test_configuration_is_generated_and_proved_by_a_run(yard: Yard, tmp_path: Path) -> None:  # S2.3
    cli(yard, "model", "push", str(component(tmp_path, 5)), "--name", "proved")
    config = Grpcurl(yard).call(f"{MODELS}/GetModelConfig", {"model": "proved"})["config"]
    assert config["document"].startswith("kind: Model\n") and config["golden_digest"]
    assert config["state"] == "MODEL_VERSION_STATE_READY" and float(config["load_s"]) > 0


def test_runtime_is_associated_with_a_container_and_that_is_stored(
    yard: Yard, tmp_path: Path
) -> None:  # S2.4
    """The container's own run is proved where an engine is: test_e2e_model_containers."""
    cli(yard, "model", "push", str(component(tmp_path, 6)), "--name", "associated")
    found = Grpcurl(yard).call(f"{MODELS}/GetModelConfig", {"model": "associated"})["config"]["association"]
    assert found["kind"] == "environment" and found["why"]
    with closing(
        sqlite3.connect(f"file:{yard.state / 'models' / 'models.db'}?mode=ro", uri=True)
    ) as database:
        sql = (
            "SELECT kind, environment_key FROM association JOIN config_association ON key = association"
            " WHERE model = 'associated' AND version = 1 AND revision = 1"
        )
        assert database.execute(sql).fetchall() == [("environment", found["environment_key"])]


def test_call_of_an_account_is_answered_by_a_frame_that_is_loaded_for_it(
    yard: Yard, tmp_path: Path
) -> None:  # S2.5
    cli(yard, "model", "push", str(component(tmp_path, 7)), "--name", "called")
    assert told(yard, "model", "call", "called", "--input", "x=1") == {"result": [8]}
    request = {
        "model_name": "called",
        "inputs": [{"name": "x", "datatype": "INT64", "shape": ["1"], "contents": {"int64_contents": ["2"]}}],
    }
    answer = Grpcurl(yard).call(f"{INFERENCE}/ModelInfer", request)
    assert answer["outputs"][0]["contents"]["int64_contents"] == ["9"]


def test_data_is_processed_before_and_after_and_what_is_drawn_returns(
    yard: Yard, tmp_path: Path
) -> None:  # S2.6, S2.7
    file = tmp_path / "scales.py"
    file.write_text(SCALES)
    (tmp_path / "config.yaml").write_text(CONFIG)
    cli(yard, "model", "push", str(file), "--name", "scales", "--config", str(tmp_path / "config.yaml"))
    request = {
        "model_name": "scales",
        "inputs": [
            {"name": "x", "datatype": "FP64", "shape": ["1", "3"], "contents": {"fp64_contents": [0, 0.2, 0]}}
        ],
        "outputs": [{"name": "result"}, {"name": "viz:chart"}],
    }
    answer = Grpcurl(yard).call(f"{INFERENCE}/ModelInfer", request)
    by_name = {one["name"]: one for one in answer["outputs"]}

    values = by_name["result"]["contents"]["fp64_contents"]
    assert sum(values) == pytest.approx(1) and values[1] == pytest.approx(0.576117, abs=1e-5)
    [drawn] = by_name["viz:chart"]["contents"]["bytes_contents"]
    assert "vega-lite" in json.loads(base64.b64decode(drawn))["$schema"]
