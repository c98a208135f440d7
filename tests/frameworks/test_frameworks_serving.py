"""Components of PyTorch and XGBoost in frames: probed without a word about them, then called (S2.2, S2.4)."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.inspection import inspect_component
from modelyard.serving.tensors import narrowed
from tests.support.model_frames import arrays_of, config_of, loaded_frame, tensor, tensors_of

ROWS = np.random.default_rng(3).random((3, 4), np.float32)


def probe(component: Path, config: dict[str, Any], *more: str) -> dict[str, Any]:
    output, file = component.parent / "found.json", component.parent / "config.json"
    file.write_text(json.dumps(config))
    argv = ["--component", str(component), "--config", str(file), "--output", str(output), *more]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-m", "modelyard.serving.probe", *argv], env=environ, check=True)
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def completed(config: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The configuration with what the probe has found."""
    facts = {path: value for path, (value, _) in found["facts"].items()}
    for side in ("inputs", "outputs"):
        config[side] = [
            tensor(name, facts[f"{side}[{name}].datatype"], facts[f"{side}[{name}].shape"])
            for name in facts[side]
        ]
    return config


def served(component: Path, config: dict[str, Any], values: dict[str, Any], *more: str) -> dict[str, Any]:
    """Probes it, loads it with its golden output, and calls it once."""
    found = probe(component, config, *more)
    assert "error" not in found and found["golden"], found
    golden = {**found["golden"]["example"], "digest": found["golden"]["digest"]}
    whole = completed(config, found)
    state, trusted = component.parent / "state", "--may-unpickle" in more
    with loaded_frame(component, whole, state, golden=golden, may_unpickle=trusted) as (_, peer):
        return peer.answer(values)


@pytest.fixture
def component(tmp_path: Path) -> Path:
    folder = tmp_path / "component"
    folder.mkdir()
    return folder


def linear() -> Any:
    import torch

    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()


def expected(module: Any, rows: Any = ROWS) -> Any:
    import torch

    with torch.no_grad():
        return module(torch.from_numpy(rows)).numpy()


@pytest.mark.filterwarnings("ignore")
def test_torchscript_says_nothing_of_its_shapes_and_is_served_all_the_same(component: Path) -> None:
    import torch

    module = linear()
    torch.jit.script(module).save(str(component / "model.pt"))
    config = config_of("torchscript", "model.pt")
    found = served(component, config, {"input": ROWS})
    np.testing.assert_allclose(found["output"], expected(module), rtol=1e-5)
    assert config["inputs"] == [tensor("input", "FP32", [-1, 4])]
    assert config["outputs"] == [tensor("output", "FP32", [-1, 3])]


@pytest.mark.filterwarnings("ignore")
def test_pictures_of_any_size_are_found_to_be_so(component: Path) -> None:
    import torch

    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    ).eval()
    torch.jit.script(module).save(str(component / "model.pt"))
    config = config_of("torchscript", "model.pt")
    pictures = np.random.default_rng(1).random((2, 3, 20, 24), np.float32)
    found = served(component, config, {"input": pictures})
    np.testing.assert_allclose(found["output"], expected(module, pictures), rtol=1e-4)
    assert config["inputs"][0]["shape"] == [-1, 3, -1, -1]


@pytest.mark.filterwarnings("ignore")
def test_indices_of_an_embedding_are_found_to_be_integers(component: Path) -> None:
    import torch

    module = torch.nn.Sequential(torch.nn.Embedding(50, 6), torch.nn.Linear(6, 2)).eval()
    torch.jit.script(module).save(str(component / "model.pt"))
    words = np.array([[1, 2, 3], [4, 5, 49]])
    config = config_of("torchscript", "model.pt")
    found = served(component, config, {"input": words})
    np.testing.assert_allclose(found["output"], expected(module, words), rtol=1e-4)
    assert config["inputs"] == [tensor("input", "INT64", [-1, -1])]


def test_an_exported_program_answers_as_its_module(component: Path) -> None:
    import torch

    module, rows = linear(), torch.export.Dim("rows", min=1, max=1024)
    program = torch.export.export(module, (torch.zeros(2, 4),), dynamic_shapes=({0: rows},))
    torch.export.save(program, component / "model.pt2")
    config = config_of("torch-export", "model.pt2")
    config["inputs"] = [tensor("input", "FP32", [-1, 4])]
    assert probe(component, config)["error"]["reason"] == "PICKLE_NOT_TRUSTED"
    found = served(component, config, {"input": ROWS}, "--may-unpickle")
    np.testing.assert_allclose(found["output"], expected(module), rtol=1e-5)


class _Command:
    """What unpickling calls."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self._command,)


def test_an_exported_program_that_calls_the_system_never_runs_untrusted(component: Path) -> None:  # N4
    import torch

    torch.export.save(torch.export.export(linear(), (torch.zeros(2, 4),)), component / "whole.pt2")
    taken = component.parent / "taken"
    example = io.BytesIO()
    torch.save(_Command(f"touch {taken}"), example)
    with (
        zipfile.ZipFile(component / "whole.pt2") as whole,
        zipfile.ZipFile(component / "model.pt2", "w") as evil,
    ):
        for one in whole.infolist():
            is_example = "/sample_inputs/" in one.filename
            evil.writestr(one.filename, example.getvalue() if is_example else whole.read(one))
    (component / "whole.pt2").unlink()
    config = config_of("torch-export", "model.pt2")
    config["inputs"] = [tensor("input", "FP32", [2, 4])]
    assert probe(component, config)["error"]["reason"] == "PICKLE_NOT_TRUSTED"
    assert not taken.exists()
    assert any("system" in one for one in inspect_component(component).refusals)


@pytest.mark.filterwarnings("ignore")
def test_a_script_with_a_pickle_that_calls_the_system_is_refused(component: Path) -> None:  # N4
    """TorchScript needs no trust: PyTorch reads it with its own interpreter, which knows no such call."""
    import torch

    torch.jit.script(linear()).save(str(component / "whole.pt"))
    taken = component.parent / "taken"
    with (
        zipfile.ZipFile(component / "whole.pt") as whole,
        zipfile.ZipFile(component / "model.pt", "w") as evil,
    ):
        for one in whole.infolist():
            is_data = one.filename.endswith("data.pkl")
            content = pickle.dumps(_Command(f"touch {taken}"), 2) if is_data else whole.read(one)
            evil.writestr(one.filename, content)
    (component / "whole.pt").unlink()
    config = config_of("torchscript", "model.pt", inputs=[tensor("input", "FP32", [-1, 4])])
    error = probe(component, config)["error"]
    assert error["code"] == "FAILED_PRECONDITION" and error["message"], error
    assert not taken.exists()


def test_a_pickled_module_is_opened_where_the_server_trusts_it(component: Path) -> None:
    import torch

    module = linear()
    torch.save(module, component / "model.pt")
    config = config_of("pickle", "model.pt")
    assert probe(component, config)["error"]["field"] == "component.format"
    found = served(component, config, {"input": ROWS}, "--may-unpickle")
    np.testing.assert_allclose(found["output"], expected(module), rtol=1e-5)


def test_bf16_goes_in_and_comes_out(component: Path) -> None:
    import torch

    module = linear().to(torch.bfloat16)
    program = torch.export.export(module, (torch.zeros(3, 4, dtype=torch.bfloat16),))
    torch.export.save(program, component / "model.pt2")
    config = config_of("torch-export", "model.pt2")
    config["inputs"] = [tensor("input", "BF16", [3, 4])]
    config["outputs"] = [tensor("output", "BF16", [3, 3])]
    rows = ((np.arange(12).reshape(3, 4) - 6) / 4).astype(np.float32)
    inputs, _ = tensors_of({"input": rows})
    buffer = narrowed(rows).tobytes()
    with loaded_frame(component, config, component.parent / "state", may_unpickle=True) as (_, peer):
        peer.send({"kind": "call", "id": 1, "inputs": [{**inputs[0], "datatype": "BF16"}]}, [buffer])
        message = peer.next()
        assert message.header["outputs"][0]["datatype"] == "BF16"
        wanted = expected(module.float(), rows)
        np.testing.assert_allclose(arrays_of(message)["output"], wanted, rtol=0.03, atol=0.02)


@pytest.mark.parametrize("file", ["model.json", "model.ubj"])
def test_xgboost_answers_as_the_booster_itself(component: Path, file: str) -> None:
    import xgboost

    table = np.random.default_rng(5).normal(size=(90, 4)).astype(np.float32)
    booster = xgboost.train(
        {"objective": "multi:softprob", "num_class": 3, "max_depth": 2, "nthread": 1},
        xgboost.DMatrix(table, np.arange(90) % 3),
        num_boost_round=3,
    )
    booster.save_model(component / file)
    config = config_of("xgboost", file)
    found = served(component, config, {"features": ROWS})
    np.testing.assert_allclose(found["prediction"], booster.predict(xgboost.DMatrix(ROWS)), rtol=1e-5)
    assert config["inputs"] == [tensor("features", "FP32", [-1, 4])]
    (component / file).write_bytes(b'{"learner": {}}')
    assert probe(component, config_of("xgboost", file))["error"]["field"] == "component.file"
