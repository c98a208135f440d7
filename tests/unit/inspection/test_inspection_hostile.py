"""Files that are no models, are cut off, or mean harm: told by name, in bounded time, and nothing of them runs."""

from __future__ import annotations

import json
import os
import socket
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.inspection import ComponentUnknown, inspect_component

NAMES = [
    "m.onnx",
    "m.skops",
    "m.pkl",
    "m.joblib",
    "m.json",
    "m.txt",
    "m.pt",
    "m.pt2",
    "m.safetensors",
    "m.py",
    "MLmodel",
]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=400))
def test_any_bytes_are_a_component_or_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    heads = {"m.txt": b"tree\nversion=v4\n", "m.json": b'{"learner":', "m.py": b"def predict(): ...\n"}
    (tmp_path / name).write_bytes(heads.get(name, b"") + content)
    try:
        inspect_component(tmp_path)
    except ComponentUnknown as error:
        assert str(error)


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("m.skops", b"PK\x03\x04 no archive", "no skops"),
        ("m.onnx", b"", "no graph"),
        ("m.safetensors", struct.pack("<Q", 1 << 60) + b"{}", "cut off"),
        ("m.safetensors", struct.pack("<Q", 2) + b"[]", "no object"),
        ("m.json", b'{"learner": {"learner_model_param": {"num_feature": "x"}}}', "no model of XGBoost"),
        ("m.json", b'{"learner": ' + b"[" * 100_000, "no model of XGBoost"),
        ("m.py", b"class A:\n  def predict(self", "no Python"),
        ("m.py", b"def predict(): ...", "one class with predict"),
        ("m.py", b"class A:\n  def predict(self): ...\nclass B:\n  def predict(self): ...\n", "A, B"),
        ("m.xyz", b"what", "nothing here is a model"),
        ("MLmodel", b"a: [", "cannot be read"),
        ("m.gz.pkl", b"\x1f\x8b cut", "cut off"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, content: bytes, word: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ComponentUnknown, match=word):
        inspect_component(tmp_path)


def test_archive_that_swells_is_read_within_its_bound(tmp_path: Path) -> None:  # issue 6, point 7
    with (
        zipfile.ZipFile(tmp_path / "m.skops", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("schema.json", "w") as swelling,
    ):
        for _ in range(65):
            swelling.write(b" " * (1 << 20))
    with pytest.raises(ComponentUnknown, match="more than"):
        inspect_component(tmp_path / "m.skops")


def test_array_inside_skops_is_no_pickle(tmp_path: Path) -> None:  # issue 6, point 7
    node = {
        "__class__": "X",
        "__module__": "sklearn.x",
        "content": {"content": {"n_features_in_": {"file": "a.npy"}}},
    }
    with zipfile.ZipFile(tmp_path / "m.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps(node))
        archive.writestr("a.npy", b"\x80\x04cposix\nsystem\n(S'true'\ntR.")
    with pytest.raises(ComponentUnknown):
        inspect_component(tmp_path / "m.skops")


def test_several_models_ask_which(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ComponentUnknown, match=r"a\.onnx, b\.onnx"):
        inspect_component(tmp_path)
    with pytest.raises(ComponentUnknown, match="there is no file"):
        inspect_component(tmp_path, "../c.onnx")


def test_pipes_sockets_and_deep_directories_hold_up_nobody(tmp_path: Path) -> None:  # N4
    os.mkfifo(tmp_path / "m.onnx")
    os.mkfifo(tmp_path / "m.json")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "m.pkl"))
        deep = tmp_path
        for _ in range(60):
            deep = deep / "d"
            deep.mkdir()
        (tmp_path / "loop").symlink_to(tmp_path)
        with pytest.raises(ComponentUnknown, match="nothing here"):
            inspect_component(tmp_path)


def test_nothing_is_read_beyond_the_directory(tmp_path: Path) -> None:
    outside = tmp_path / "secret.onnx"
    outside.write_bytes(b"x")
    inside = tmp_path / "component"
    inside.mkdir()
    (inside / "m.onnx").symlink_to(outside)
    with pytest.raises(ComponentUnknown, match="nothing here"):
        inspect_component(inside)
