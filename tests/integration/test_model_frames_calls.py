"""Frames as real processes: components of real libraries are loaded and called over the wire (S2.4, S2.5)."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.model_components import (
    ROWS,
    iris_classifier,
    lightgbm_component,
    onnx_component,
    pickle_component,
    python_component,
    skops_component,
)
from tests.support.model_frames import (
    FramePeer,
    arrays_of,
    config_of,
    frame,
    loaded_frame,
    tensor,
    tensors_of,
)
from tests.support.ports import free_port


def failure(peer: FramePeer, code: str, field: str | None = None) -> str:
    """The message of the failure that comes next."""
    header = peer.next().header
    assert (header["kind"], header["code"]) == ("failure", code), header
    assert field is None or header["field"] == field, header
    return str(header["message"])


def test_onnx_is_answered_over_tcp_and_says_how_long_it_took(tmp_path: Path) -> None:
    config = onnx_component(tmp_path / "component")
    address = f"tcp://127.0.0.1:{free_port()}"
    with frame(tmp_path / "component", config, tmp_path / "state", address=address) as running:
        peer = running.peer()
        loaded = peer.loaded()
        assert loaded["load_s"] > 0 and loaded["memory_bytes"] > 1 << 20 and loaded["golden_digest"] == ""
        rows = np.ones((2, 4), np.float32)
        peer.call(7, {"x": rows})
        message = peer.next()
        assert message.header["id"] == 7 and set(message.header["times_ns"]) == {
            "wait",
            "input",
            "compute",
            "output",
        }
        found = arrays_of(message)
        np.testing.assert_allclose(found["y"], [[2.8, 3.2, 3.6]] * 2, rtol=1e-6)
        assert found["best"].tolist() == [2, 2]
        assert list(peer.answer({"x": rows}, outputs=["best"])) == ["best"]
        peer.close()


def test_skops_answers_as_the_estimator_itself(tmp_path: Path) -> None:
    config, estimator = skops_component(tmp_path / "component")
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (_, peer):
        found = peer.answer({"features": ROWS})
        np.testing.assert_array_equal(found["label"], estimator.predict(ROWS))
        np.testing.assert_allclose(found["probabilities"], estimator.predict_proba(ROWS))


def test_lightgbm_answers_as_the_booster_itself(tmp_path: Path) -> None:
    config, booster = lightgbm_component(tmp_path / "component")
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (_, peer):
        np.testing.assert_allclose(
            peer.answer({"features": ROWS})["prediction"], booster.predict(ROWS, num_threads=1)
        )
        peer.call(1, {"features": np.zeros((1, 4), np.float32)})
        failure(peer, "INVALID_ARGUMENT", "inputs[features].datatype")


def test_a_pickle_is_opened_only_where_the_server_trusts_it(tmp_path: Path) -> None:
    config = pickle_component(tmp_path / "component")
    with frame(tmp_path / "component", config, tmp_path / "refused") as running:
        peer = running.peer()
        header = peer.next().header
        assert header["kind"] == "unloadable" and header["code"] == "FAILED_PRECONDITION"
        assert "trust" in header["message"] and header["field"] == "component.format"
        peer.call(1, {"features": ROWS})
        assert "cannot be loaded" in failure(peer, "FAILED_PRECONDITION")
        peer.close()
    with loaded_frame(tmp_path / "component", config, tmp_path / "trusted", may_unpickle=True) as (_, peer):
        assert peer.answer({"features": ROWS})["label"].tolist() == [0, 1, 2]


def test_a_pickle_of_a_caller_of_the_system_never_runs(tmp_path: Path) -> None:
    marker, component = tmp_path / "marker", tmp_path / "component"
    component.mkdir()
    command = f"touch {marker}".encode()
    (component / "evil.pkl").write_bytes(b"cos\nsystem\n(S'" + command + b"'\ntR.")
    with frame(
        component, {"name": "m", "format": "pickle", "file": "evil.pkl"}, tmp_path / "state"
    ) as running:
        peer = running.peer()
        assert peer.next().kind == "unloadable"
        peer.close()
    assert not marker.exists()


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"format": "onnx", "file": "absent.onnx"}, "component.file"),
        ({"format": "onnx", "file": "../outside.onnx"}, "component.file"),
        ({"format": "torchscript", "file": "model.py"}, "runtime.requirements"),
        ({"format": "stone", "file": "model.py"}, "component.format"),
        ({"format": "python", "file": "model.py"}, "component.file"),
    ],
)  # fmt: skip
def test_a_component_that_cannot_be_loaded_says_which_field(
    tmp_path: Path, config: dict[str, Any], field: str
) -> None:
    component = tmp_path / "component"
    component.mkdir()
    (component / "model.py").write_text("class Nothing:\n    pass\n")
    (tmp_path / "outside.onnx").write_bytes(b"")
    with frame(component, {"name": "m", **config}, tmp_path / "state") as running:
        peer = running.peer()
        header = peer.next().header
        assert (header["kind"], header["field"]) == ("unloadable", field), header
        peer.close()


def test_what_does_not_fit_is_refused_with_its_field_and_the_next_call_is_answered(tmp_path: Path) -> None:
    config = onnx_component(tmp_path / "component")
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (_, peer):
        good = np.ones((1, 4), np.float32)
        for values, more, field in (
            ({"x": np.ones((1, 5), np.float32)}, {}, "inputs[x].shape"),
            ({"x": np.ones((1, 4))}, {}, "inputs[x].datatype"),
            ({"z": good}, {}, "inputs"),
            ({}, {}, "inputs[x]"),
            ({"x": good}, {"outputs": ["nothing"]}, "outputs"),
            ({"x": good}, {"parameters": []}, None),
            ({"x": good}, {"left_ms": -1}, "left_ms"),
            ({"x": good}, {"outputs": [3]}, "outputs"),
        ):
            peer.call("bad", values, **more)
            message = peer.next()
            if field is None:
                assert message.kind == "result"
                continue
            assert message.header["kind"] == "failure" and message.header["field"] == field, message.header
            assert message.header["code"] == "INVALID_ARGUMENT"
        assert peer.answer({"x": good})["best"].tolist() == [2]


def test_a_batch_is_computed_as_one_and_answered_one_by_one(tmp_path: Path) -> None:
    component = tmp_path / "component"
    config = python_component(
        component,
        """
        import numpy as np
        class Model:
            def predict(self, x: np.ndarray) -> np.ndarray:
                return {"y": x * 2, "rows": np.full(len(x), len(x))}
        """,
        inputs=[tensor("x", "FP32", [-1, 2])],
        outputs=[tensor("y", "FP32", [-1, 2]), tensor("rows", "INT64", [-1])],
    )
    with loaded_frame(component, config, tmp_path / "state") as (_, peer):
        calls, buffers = [], []
        for number, more in enumerate(({}, {"outputs": ["y"]}, {"bad": 3}, {"parameters": {"p": 1}})):
            width = more.pop("bad", 2)
            inputs, own = tensors_of({"x": np.full((number + 1, width), number, np.float32)})
            calls.append({"id": number, "left_ms": 0, "inputs": inputs, **more})
            buffers += own
        peer.send({"kind": "batch", "calls": calls}, buffers)
        found = {(message := peer.next()).header["id"]: message for _ in calls}
        assert arrays_of(found[0])["rows"].tolist() == [3]
        assert arrays_of(found[1])["y"].tolist() == [[2, 2]] * 2 and list(arrays_of(found[1])) == ["y"]
        assert found[2].header["kind"] == "failure" and found[2].header["field"] == "inputs[x].shape"
        # Whoever has parameters of his own is computed alone.
        assert arrays_of(found[3])["rows"].tolist() == [4] * 4


def test_one_row_that_fails_does_not_fail_the_batch_of_others(tmp_path: Path) -> None:
    component = tmp_path / "component"
    config = python_component(
        component,
        """
        import numpy as np
        class Model:
            def predict(self, x: np.ndarray) -> np.ndarray:
                if (x < 0).any():
                    raise ValueError("numbers are 0 or more")
                return x
        """,
        inputs=[tensor("x", "FP32", [-1])],
        outputs=[tensor("y", "FP32", [-1])],
        serving={"is_idempotent": True},
    )
    with loaded_frame(component, config, tmp_path / "state") as (_, peer):
        calls, buffers = [], []
        for number in (1.0, -1.0, 2.0):
            inputs, own = tensors_of({"x": np.array([number], np.float32)})
            calls.append({"id": str(number), "inputs": inputs})
            buffers += own
        peer.send({"kind": "batch", "calls": calls}, buffers)
        kinds = {(one := peer.next().header)["id"]: one["kind"] for _ in calls}
        assert kinds == {"1.0": "result", "-1.0": "failure", "2.0": "result"}


STEPPED = """
import time
from modelyard.serving import current
class Model:
    def predict(self, name: str) -> dict:
        begun = time.monotonic()
        while name == "long" and not current.is_cancelled() and time.monotonic() < begun + 60:
            time.sleep(0.005)
        return {"name": name, "left_s": min(current.left_s(), 1e6)}
"""
NAMED = {
    "inputs": [tensor("name", "BYTES", [1], codec="text")],
    "outputs": [tensor("result", "BYTES", [1], codec="json")],
}


def test_a_call_that_waits_is_cancelled_at_once_and_one_that_runs_is_told(tmp_path: Path) -> None:
    config = python_component(tmp_path / "component", STEPPED, **NAMED)
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (_, peer):
        peer.call("runs", {"name": ["long"]})
        peer.call("waits", {"name": ["short"]})
        peer.send({"kind": "cancel", "id": "waits"})
        header = peer.next().header
        assert (header["id"], header["code"]) == ("waits", "CANCELLED")
        peer.send({"kind": "cancel", "id": "runs"})
        header = peer.next().header
        assert (header["id"], header["code"]) == ("runs", "CANCELLED")
        peer.send({"kind": "cancel", "id": "unknown"})
        peer.send({"kind": "cancel", "id": []})
        assert b'"short"' in peer.answer({"name": ["short"]})["result"][0]


def test_a_call_whose_deadline_has_passed_does_not_begin(tmp_path: Path) -> None:
    config = python_component(tmp_path / "component", STEPPED, **NAMED)
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (_, peer):
        peer.call("runs", {"name": ["long"]}, left_ms=150)
        peer.call("waits", {"name": ["short"]}, left_ms=1)
        ids = [peer.next().header for _ in range(2)]
        assert ids[0]["id"] == "runs"
        assert (ids[1]["id"], ids[1]["code"]) == ("waits", "DEADLINE_EXCEEDED")


@pytest.mark.parametrize("way", ["def", "async def"])
def test_a_generator_is_streamed_part_by_part(tmp_path: Path, way: str) -> None:
    code = f"""
    class Model:
        {way} predict(self, times: int = 3):
            for place in range(times):
                yield [place] * 2
    """
    config = python_component(
        tmp_path / "component",
        code,
        inputs=[tensor("times", "INT64", [1], is_optional=True)],
        outputs=[tensor("result", "BYTES", [1], codec="json")],
    )
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (_, peer):
        peer.call(1, {})
        parts = [peer.next() for _ in range(4)]
        assert [one.kind for one in parts] == ["part", "part", "part", "result"]
        assert [json.loads(arrays_of(one)["result"][0]) for one in parts[:3]] == [[0, 0], [1, 1], [2, 2]]
        assert parts[3].header["is_last"] is True and not parts[3].header["outputs"]


@pytest.mark.parametrize("way", ["def", "async def"])
def test_a_stream_that_is_cancelled_ends_and_its_code_cleans_up(tmp_path: Path, way: str) -> None:
    marker = tmp_path / "closed"
    code = f"""
    from pathlib import Path
    class Model:
        {way} predict(self):
            try:
                place = 0
                while True:
                    yield place
                    place += 1
            finally:
                Path({str(marker)!r}).touch()
    """
    config = python_component(
        tmp_path / "component", code, inputs=[], outputs=[tensor("result", "INT64", [1])]
    )
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (_, peer):
        peer.call(1, {})
        assert peer.next().kind == "part"
        peer.send({"kind": "cancel", "id": 1})
        while (message := peer.next()).kind == "part":
            pass
        assert message.header["code"] == "CANCELLED"
        assert marker.exists()


def test_a_coroutine_is_cancelled_where_it_waits(tmp_path: Path) -> None:
    code = """
    import asyncio
    class Model:
        async def load(self, directory):
            self.word = (directory / "word.txt").read_text()
        async def predict(self, seconds: float) -> str:
            await asyncio.sleep(seconds)
            return self.word
    """
    config = python_component(
        tmp_path / "component",
        code,
        inputs=[tensor("seconds", "FP64", [1])],
        outputs=[tensor("result", "BYTES", [1], codec="text")],
    )
    (tmp_path / "component" / "word.txt").write_text("grün")
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (_, peer):
        assert peer.answer({"seconds": [0.0]})["result"].tolist() == ["grün".encode()]
        peer.call("long", {"seconds": [600.0]})
        peer.send({"kind": "cancel", "id": "long"})
        assert peer.next().header["code"] == "CANCELLED"


def test_values_come_as_annotations_say_and_results_go_as_declared(tmp_path: Path) -> None:
    code = """
    from pathlib import Path
    import numpy as np
    class Model:
        def predict(self, text: str, data: dict, raw: bytes, file: Path, number: int, flag: bool, x: np.ndarray):
            kinds = [type(one).__name__ for one in (text, data, raw, number, flag, x)]
            return {"kinds": kinds, "file": file.read_bytes(), "sum": float(x.sum()) + number}
    """
    config = python_component(
        tmp_path / "component",
        code,
        inputs=[
            tensor("text", "BYTES", [1], codec="text"),
            tensor("data", "BYTES", [1], codec="json"),
            tensor("raw", "BYTES", [1], codec="file"),
            tensor("file", "BYTES", [1], codec="file"),
            tensor("number", "INT64", [1]),
            tensor("flag", "BOOL", [1]),
            tensor("x", "FP32", [-1]),
        ],
        outputs=[
            tensor("kinds", "BYTES", [1], codec="json"),
            tensor("file", "BYTES", [1], codec="file"),
            tensor("sum", "FP64", [1]),
        ],
    )
    values = {
        "text": ["a"], "data": [b"{}"], "raw": [b"\0\1"], "file": [b"\2\0"], "number": np.array([2]),
        "flag": np.array([True]), "x": np.ones(3, np.float32),
    }  # fmt: skip
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (_, peer):
        found = peer.answer(values)
        assert json.loads(found["kinds"][0]) == ["str", "dict", "bytes", "int", "bool", "ndarray"]
        assert found["file"].tolist() == [b"\2\0"] and found["sum"].tolist() == [5.0]
        peer.call("bad", {**values, "data": [b"[1]"]})
        failure(peer, "INVALID_ARGUMENT", "inputs[data]")


@pytest.mark.parametrize(
    ("line", "code", "word"),
    [
        ("raise ValueError('too small')", "INVALID_ARGUMENT", "too small"),
        ("raise KeyError('k')", "INTERNAL", "line 4 of model.py"),
        ("import sys; sys.exit(3)", "INTERNAL", "SystemExit"),
        ("raise KeyboardInterrupt", "INTERNAL", "KeyboardInterrupt"),
        ("raise MemoryError", "RESOURCE_EXHAUSTED", "memory"),
        ("return object()", "FAILED_PRECONDITION", ""),
        ("return b'x' * 5000", "RESOURCE_EXHAUSTED", "4096 bytes"),
        ("return self.predict()", "INTERNAL", "Recursion"),
    ],
)  # fmt: skip
def test_whatever_a_class_raises_is_its_callers_and_the_frame_goes_on(
    tmp_path: Path, line: str, code: str, word: str
) -> None:
    head = "class Model:\n    def predict(self, ok: bool = False) -> bytes:\n        if not ok:\n"
    config = python_component(
        tmp_path / "component",
        f"{head}            {line}\n        return b'ok'\n",
        inputs=[tensor("ok", "BOOL", [1], is_optional=True)],
        outputs=[tensor("result", "BYTES", [1], codec="file")],
    )
    with loaded_frame(tmp_path / "component", config, tmp_path / "state", answer_bytes_most=4096) as (
        _,
        peer,
    ):
        peer.call(1, {})
        assert word in failure(peer, code)
        assert peer.answer({"ok": np.array([True])})["result"].tolist() == [b"ok"]


def test_steps_stand_before_and_after_and_drawings_beside(tmp_path: Path) -> None:
    config = onnx_component(tmp_path / "component")
    config |= {
        "pre": [{"op": "scale", "code": "", "options": [["factor", 2.0]]}],
        "post": [{"op": "softmax", "code": "", "options": [["on", "y"]]}],
        "visualise": [
            {"op": "table", "code": "", "options": [["name", "rows"]]},
            {"op": "boxes", "code": "", "options": []},
        ],
    }
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (_, peer):
        values = {"x": np.ones((1, 4), np.float32)}
        found = peer.answer(values)
        assert list(found) == ["y", "best"]
        np.testing.assert_allclose(found["y"].sum(), 1, rtol=1e-6)
        peer.call(1, values, outputs=["y", "viz:rows"])
        message = peer.next()
        drawing = message.header["outputs"][1]
        content = arrays_of(message)["viz:rows"][0]
        assert drawing["shape"] == [1] and drawing["parameters"]["content_type"].startswith("text/html")
        assert drawing["parameters"]["sha256"] == hashlib.sha256(content).hexdigest()
        # What cannot be drawn, or is not there, leaves the numbers as they are.
        peer.call(2, values, outputs=["y", "viz:boxes", "viz:none"])
        message = peer.next()
        assert message.kind == "result" and list(arrays_of(message)) == ["y"]
        assert "boxes:" in message.header["parameters"]["viz_error"]
        assert "none:" in message.header["parameters"]["viz_error"]
        peer.call(3, values, parameters={"visualise": "rows"})
        assert list(arrays_of(peer.next())) == ["y", "best", "viz:rows"]


def test_several_threads_compute_at_once(tmp_path: Path) -> None:
    code = """
    import threading
    class Model:
        def __init__(self):
            self.both = threading.Barrier(2)
        def predict(self) -> int:
            return self.both.wait(timeout=20)
    """
    config = python_component(
        tmp_path / "component",
        code,
        inputs=[],
        outputs=[tensor("result", "INT64", [1])],
        runtime={"threads": 2},
    )
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (_, peer):
        peer.call(1, {})
        peer.call(2, {})
        assert sorted(int(arrays_of(peer.next())["result"][0]) for _ in range(2)) == [0, 1]


def test_large_tensors_come_and_go(tmp_path: Path) -> None:
    config = python_component(
        tmp_path / "component",
        "class Model:\n    def predict(self, x):\n        return x\n",
        inputs=[tensor("x", "FP32", [-1, -1])],
        outputs=[tensor("result", "FP32", [-1, -1])],
    )
    rows = np.random.default_rng(1).random((1024, 5000), np.float32)
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (_, peer):
        begun = time.monotonic()
        np.testing.assert_array_equal(peer.answer({"x": rows})["result"], rows)
        print(f"{rows.nbytes >> 20} MiB there and back in {time.monotonic() - begun:.3f} s")


def test_pictures_and_tables_come_as_what_their_library_calls_so(tmp_path: Path) -> None:
    code = """
    import polars as pl
    from PIL import Image
    class Model:
        def predict(self, picture: Image.Image, rows: pl.DataFrame, numbers: "Table"):
            turned = picture.rotate(90, expand=True)
            return {"picture": turned, "sums": {"a": rows["a"].sum(), "columns": numbers.column_names}}
    """
    config = python_component(
        tmp_path / "component",
        code,
        inputs=[
            tensor("picture", "BYTES", [1], codec="image"),
            tensor("rows", "BYTES", [1], codec="table"),
            tensor("numbers", "FP64", [-1, 2], codec="table", columns=["x", "y"]),
        ],
        outputs=[tensor("picture", "BYTES", [1], codec="image"), tensor("sums", "BYTES", [1], codec="json")],
    )
    written = io.BytesIO()
    Image.new("RGB", (30, 20)).save(written, "PNG")
    values = {
        "picture": [written.getvalue()],
        "rows": ([b"a,b\n1,2\n3,4\n"], {"content_type": "text/csv"}),
        "numbers": np.zeros((3, 2)),
    }
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (_, peer):
        found = peer.answer(values)
        assert Image.open(io.BytesIO(found["picture"][0])).size == (20, 30)
        assert json.loads(found["sums"][0]) == {"a": 4, "columns": ["x", "y"]}


def test_weights_of_safetensors_are_loaded_by_the_code_beside_them(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    component = tmp_path / "component"
    code = """
    from safetensors.numpy import load_file
    class Model:
        def load(self, directory):
            self.weights = load_file(directory / "weights.safetensors")
        def predict(self, x):
            return x @ self.weights["w"]
    """
    config = python_component(
        component, code, inputs=[tensor("x", "FP32", [-1, 2])], outputs=[tensor("result", "FP32", [-1, 1])]
    )
    save_file({"w": np.array([[2.0], [3.0]], np.float32)}, component / "weights.safetensors")
    config |= {"format": "safetensors", "file": "weights.safetensors"}
    with loaded_frame(component, config, tmp_path / "state") as (_, peer):
        assert peer.answer({"x": np.ones((1, 2), np.float32)})["result"].tolist() == [[5.0]]


def test_mlflow_is_the_format_that_it_wraps_or_asks_for_trust_and_its_library(tmp_path: Path) -> None:
    component = tmp_path / "component"
    config = onnx_component(component)
    config |= {"format": "mlflow", "file": "MLmodel"}
    document = (
        "flavors:\n  onnx:\n    data: x\n  python_function:\n    data: {}\n    loader_module: {}\nrun_id: x\n"
    )
    (component / "MLmodel").write_text(document.format("linear.onnx", "mlflow.onnx"))
    with loaded_frame(component, config, tmp_path / "wraps") as (_, peer):
        assert peer.answer({"x": np.ones((1, 4), np.float32)})["best"].tolist() == [2]
    (component / "model.pkl").write_bytes(b"")
    for data, module, launch, word in (
        ("../outside.onnx", "mlflow.onnx", {}, "outside"),
        ("model.pkl", "mlflow.sklearn", {}, "trust"),
        ("model.pkl", "mlflow.pyfunc.model", {"may_unpickle": True}, "mlflow-skinny"),
    ):
        (component / "MLmodel").write_text(document.format(data, module))
        with frame(component, config, tmp_path / word, **launch) as running:
            peer = running.peer()
            header = peer.next().header
            assert header["kind"] == "unloadable" and word in header["message"], header
            peer.close()


MLMODEL = """\
artifact_path: model
flavors:
  python_function:
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.sklearn
    model_path: {file}
    predict_fn: predict
    python_version: 3.11.9
  sklearn:
    code: null
    pickled_model: {file}
    serialization_format: {format}
    sklearn_version: 1.7.0
    skops_trusted_types:
    - posixpath.join
mlflow_version: 3.4.0
model_uuid: 5d1b0a7c6c8b4f0e9c1f1f3e5d7a9b0c
signature:
  inputs: '[{{"type": "tensor", "tensor-spec": {{"dtype": "float64", "shape": [-1, 4]}}}}]'
  outputs: '[{{"type": "tensor", "tensor-spec": {{"dtype": "int64", "shape": [-1]}}}}]'
  params: null
utc_time_created: '2026-11-01 10:00:00.000000'
"""
"""As its format has it."""


def test_mlflow_of_scikit_learn_is_loaded_without_mlflow_by_the_servers_word_alone(tmp_path: Path) -> None:
    """S2.1: a directory of MLflow's is looked at, then serves."""
    import pickle

    import skops.io

    from modelyard.inspection import inspect_component

    component, estimator = tmp_path / "component", iris_classifier()
    component.mkdir()
    (component / "requirements.txt").write_text("mlflow==3.4.0\nscikit-learn==1.7.0\n")
    (component / "MLmodel").write_text(MLMODEL.format(file="model.pkl", format="cloudpickle"))
    (component / "model.pkl").write_bytes(pickle.dumps(estimator))
    found = inspect_component(component)
    assert found.facts["runtime.requirements"].value == ("scikit-learn==1.7.0",) and not found.refusals
    config = config_of(
        "mlflow",
        "MLmodel",
        inputs=[tensor("input", "FP64", [-1, 4])],
        outputs=[tensor("output", "INT64", [-1])],
    )
    rows = np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]])
    with loaded_frame(component, config, tmp_path / "pickle", may_unpickle=True) as (_, peer):
        assert peer.answer({"input": rows})["output"].tolist() == estimator.predict(rows).tolist()
    (component / "model.pkl").unlink()
    (component / "MLmodel").write_text(MLMODEL.format(file="model.skops", format="skops"))
    skops.io.dump(estimator, component / "model.skops")
    with loaded_frame(component, config, tmp_path / "skops") as (_, peer):
        assert peer.answer({"input": rows})["output"].tolist() == estimator.predict(rows).tolist()
    estimator.tail = os.path.join
    skops.io.dump(estimator, component / "model.skops")
    with frame(component, config, tmp_path / "own-word") as running:
        peer = running.peer()
        header = peer.next().header
        assert (header["kind"], header["reason"]) == ("unloadable", "TYPES_NOT_TRUSTED"), header
        peer.close()
