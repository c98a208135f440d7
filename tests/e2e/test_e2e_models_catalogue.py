"""From trained files to versions that are READY, on a real yard, as a user does it (S2.1–S2.3, S0.9)."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.client.components import FILES_MOST
from tests.support.yard import Yard, new_yard

GREETER = """class Greeter:
    def predict(self, name: str, times: int = 1) -> list:
        return [f"hello {name}"] * times
"""
UNSAID = """class Doubler:
    def predict(self, x):
        return x * 2
"""
BROKEN = """class Broken:
    def load(self, folder):
        raise RuntimeError("no weights here")

    def predict(self, name: str) -> str:
        return name
"""


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard(is_up=False, agents=1) as made:
        result = made.up("--models")
        assert result.code == 0, f"{result.stderr}\n{made.logs()}"
        yield made


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="yard-components-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def push(yard: Yard, *words: str) -> dict[str, Any]:
    """The version as `yard model push -o json` shows it."""
    result = yard.cli("model", "push", *words, "-o", "json", timeout_s=240)
    assert result.stdout, f"{result.stderr}\n{yard.logs()}"
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.timeout(280)
def test_python_class_is_ready_and_explains_itself(yard: Yard, folder: Path) -> None:  # S2.1, S2.2
    file = written(folder, "greeter.py", GREETER)
    version = push(yard, file, "--alias", "champion", "--label", "team=vision", "--summary", "It greets.")
    assert (version["state"], version["version"]) == ("MODEL_VERSION_STATE_READY", "1")
    shown = yard.cli("model", "get", "greeter")
    assert shown.code == 0
    for words in (
        "greeter:1  (champion)",
        "name: BYTES 1, as text too",
        "yard model call greeter:1",
        "team=vision",
    ):
        assert words in shown.stdout, shown.stdout
    again = push(yard, file, "--label", "team=vision")
    assert again["version"] == "1", "the same once more is no new version"
    config = yard.json("model", "config", "get", "greeter")
    known = {one["field"]: one["provenance"] for one in config["provenance"]}
    assert known["inputs[name].datatype"] == "PROVENANCE_INSPECTED"
    assert config["goldenDigest"]


@pytest.mark.timeout(280)
def test_skops_lightgbm_and_onnx_are_ready(yard: Yard, folder: Path) -> None:  # S2.1, S2.2
    import lightgbm
    import numpy as np
    import onnx
    import onnx.helper as helper
    import skops.io
    from sklearn.linear_model import LogisticRegression

    rows, classes = np.random.default_rng(7).normal(size=(60, 4)), np.arange(60) % 3
    skops.io.dump(LogisticRegression().fit(rows, classes), folder / "linear.skops")
    options = {"objective": "multiclass", "num_class": 3, "verbose": -1}
    lightgbm.train(options, lightgbm.Dataset(rows, classes), 2).save_model(folder / "trees.txt")
    weights = onnx.numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    ends = [helper.make_tensor_value_info(name, 1, ["N", size]) for name, size in (("x", 4), ("y", 3))]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "product.onnx")
    for name, kind in (("linear.skops", "SKOPS"), ("trees.txt", "LIGHTGBM"), ("product.onnx", "ONNX")):
        version = push(yard, str(folder / name))
        assert version["state"] == "MODEL_VERSION_STATE_READY", version
        assert version["component"]["format"] == f"COMPONENT_FORMAT_{kind}"
    listed = yard.cli("model", "ls").stdout
    assert all(name in listed for name in ("linear", "trees", "product"))


@pytest.mark.timeout(280)
def test_what_only_its_owner_knows_is_asked_with_the_command_that_answers(
    yard: Yard, folder: Path
) -> None:  # S2.2
    file = written(folder, "doubler.py", UNSAID)
    result = yard.cli("model", "push", file, timeout_s=240)
    assert result.code == 7, result.stderr
    assert "not known: inputs[x].datatype" in result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("next")]
    words = line.split(None, 1)[1]
    assert words.startswith("yard model config set doubler:1 "), words
    answered = yard.cli(
        "model", "config", "set", "doubler:1", "inputs[x].datatype=FP32", "inputs[x].shape=[-1, 4]",
        "outputs=[{name: result, datatype: FP32, shape: [-1, 4]}]", timeout_s=240,
    )  # fmt: skip
    assert answered.code == 0, answered.stderr
    version = yard.json("model", "get", "doubler")
    assert (version["state"], version["configRevision"]) == ("MODEL_VERSION_STATE_READY", "2")
    changed = yard.cli("model", "config", "diff", "doubler", "1").stdout
    assert "+    datatype: FP32" in changed


@pytest.mark.timeout(280)
def test_configuration_is_edited_aliases_move_and_versions_go(yard: Yard, folder: Path) -> None:  # S2.3, S0.9
    first = push(yard, written(folder, "editor.py", GREETER))
    assert first["state"] == "MODEL_VERSION_STATE_READY"
    edited = yard.cli("model", "config", "set", "editor", "serving.deadline=3s", timeout_s=240)
    assert edited.code == 0 and "revision 2" in edited.stderr, edited.stderr
    config = yard.json("model", "config", "get", "editor")
    declared = [one["field"] for one in config["provenance"] if one["provenance"] == "PROVENANCE_DECLARED"]
    assert declared == ["serving.deadline"]
    wrong = yard.cli("model", "config", "set", "editor", "serving.speed=3")
    assert wrong.code == 7 and "speed" in wrong.stderr
    second = push(yard, written(folder, "editor.py", GREETER.replace("hello", "good day")))
    assert second["version"] == "2"
    for number in ("1", "2"):
        assert yard.cli("model", "alias", "set", "editor", "champion", number).code == 0
    stale = yard.cli("model", "alias", "set", "editor", "champion", "1", "--from", "1")
    assert stale.code == 6 and "points at version 2" in stale.stderr
    history = yard.json("model", "history", "editor")["changes"]
    assert [(one.get("fromVersion", "0"), one["toVersion"]) for one in history] == [("1", "2"), ("0", "1")]
    used = yard.cli("model", "rm", "editor:2", "--yes")
    assert used.code == 6 and "champion" in used.stderr
    assert yard.cli("model", "rm", "editor:1", "--yes").code == 0
    assert yard.cli("model", "get", "editor:1").code == 3


@pytest.mark.timeout(280)
def test_component_that_cannot_be_loaded_fails_in_words(yard: Yard, folder: Path) -> None:  # safety
    result = yard.cli("model", "push", written(folder, "broken.py", BROKEN), timeout_s=240)
    assert result.code == 1
    assert "no weights here" in result.stdout, result.stdout
    nothing = yard.cli("model", "push", written(folder, "notes.md", "# notes"), timeout_s=240)
    assert nothing.code == 1 and "nothing here is a model" in nothing.stdout, nothing.stdout


def test_directory_with_too_many_files_is_refused_before_anything_is_sent(yard: Yard, folder: Path) -> None:
    for number in range(FILES_MOST + 1):
        (folder / f"f{number}.bin").touch()
    result = yard.cli("model", "push", str(folder), "--name", "too-many")
    assert result.code == 7 and f"more than {FILES_MOST} files" in result.stderr, result.stderr
    assert yard.cli("model", "get", "too-many").code == 3


COUNTER = """class Counter:
    def load(self, folder):
        self.found = sum(1 for path in folder.rglob("*.txt") if path.read_text() == path.stem)

    def predict(self, x: int) -> int:
        return self.found + x
"""


@pytest.mark.timeout(280)
def test_component_of_three_thousand_files_is_served(yard: Yard, folder: Path) -> None:  # S2.1
    """As tokenizers, MLflow and shards leave them."""
    written(folder, "counter.py", COUNTER)
    (folder / "tokens").mkdir()
    for number in range(3_000):
        written(folder / "tokens", f"{number}.txt", str(number))
    version = push(yard, str(folder), "--name", "many")
    assert version["state"] == "MODEL_VERSION_STATE_READY", version
    assert sorted(file["path"] for file in version["component"]["files"]) == ["counter.py", "tokens/"]
    called = yard.cli("model", "call", "many", "--input", "x=5", "-o", "json", timeout_s=150)
    assert json.loads(called.stdout) == {"result": [3005]}, called.stderr
    again = push(yard, str(folder), "--name", "many")
    assert again["version"] == "1", "the same files are the same component"


def test_push_of_what_is_not_there_says_where_to_look(yard: Yard, folder: Path) -> None:
    (folder / "iris.onnx").write_bytes(b"x")
    done = yard.cli("model", "push", str(folder / "irsi.onnx"))
    assert done.code == 7, done.stderr
    assert f"next: yard model push {folder / 'iris.onnx'}" in done.stderr
    assert f"next: ls {folder}" not in done.stderr


def test_audit_and_api_know_the_models_service_and_do_without_the_trainer(yard: Yard, folder: Path) -> None:
    push(yard, written(folder, "audited.py", GREETER))
    [made] = yard.json(
        "audit", "ls", "--rpc", "CreateModelVersion", "--service", "models", "--page-size", "1"
    )["entries"]
    assert made["service"] == "models"
    everywhere = yard.json("audit", "ls", "--rpc", "CreateModelVersion")["entries"]
    assert {entry["service"] for entry in everywhere} == {"models"}
    methods = yard.cli("api").stdout
    assert "ModelService/GetModel\n" in methods and "JobService/CreateJob" not in methods
    assert yard.json("api", "ModelService/GetModel", '{"name": "audited"}')["model"]["name"] == "audited"
    refused = yard.cli("audit", "ls", "--service", "agents")
    assert refused.code == 7 and "scheduler, store, graph, trainer, models" in refused.stderr
