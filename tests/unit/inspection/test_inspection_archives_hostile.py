"""Archives and headers that lie: each a typed error, or what is in them told, in bounded time; nothing of them runs
(issue 6, point 7; N4)."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from modelyard.inspection import ComponentUnknown, inspect_component
from modelyard.inspection.__main__ import FOUND_BYTES_MOST, main

Members = list[tuple[str, bytes]]


class _Command:
    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self._command,)


def packed(members: Members, way: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", way) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def program(sizes: Any = ({"as_int": 4},), dtype: Any = 7, inputs: int = 1) -> tuple[str, bytes]:
    """The graph of an exported program with so many inputs."""
    names = [f"x{number}" for number in range(inputs)]
    document = {
        "graph_module": {
            "graph": {"tensor_values": {name: {"dtype": dtype, "sizes": list(sizes)} for name in names}},
            "signature": {
                "input_specs": [{"user_input": {"arg": {"as_tensor": {"name": name}}}} for name in names],
                "output_specs": [],
            },
        }
    }
    return "m/models/model.json", json.dumps(document).encode()


def script(code: bytes) -> bytes:
    return packed([("m/code/__torch__.py", code), ("m/data.pkl", b"")])


# torch.export


@pytest.mark.parametrize("place", ["example", "constant", "legacy"])
def test_what_an_exported_program_would_call_is_told_and_nothing_runs(tmp_path: Path, place: str) -> None:
    evil = pickle.dumps(_Command(f"touch {tmp_path}/taken"))
    member = {
        "example": ("m/data/sample_inputs/model.pt", packed([("model/data.pkl", evil)])),
        "constant": ("m/data/constants/opaque_obj_0", evil),
        "legacy": ("m/data/weights/model.pt", packed([("archive/data.pkl", evil)])),
    }[place]
    (tmp_path / "m.pt2").write_bytes(packed([program(), member]))
    found = inspect_component(tmp_path)
    assert any("would call" in one and "system" in one for one in found.refusals), found.refusals
    assert not (tmp_path / "taken").exists()


def test_exported_program_says_that_it_is_opened_by_trust_alone(tmp_path: Path) -> None:
    example = packed([("model/data.pkl", b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n.")])
    members = [program(), ("m/data/sample_inputs/model.pt", example), ("m/data/weights/weight_0", b"PK\0\0")]
    (tmp_path / "m.pt2").write_bytes(packed([*members, ("m/data/aotinductor/model/a.so", b"\x7fELF")]))
    found = inspect_component(tmp_path)
    assert not found.refusals
    assert "import torch" in found.warnings[0] and "compiled code" in found.warnings[0]
    assert "where the server trusts it" in found.warnings[0]


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ([program(sizes=[{"as_int": 10**400}])], "no sizes"),
        ([program(sizes=[{"as_int": -5}])], "no sizes"),
        ([program(sizes=[{"as_int": 4}] * 100_000)], "16 axes"),
        ([program(sizes=[{"as_int": "x"}])], "no sound component"),
        ([program(sizes=[{"as_int": []}])], "no program"),
        ([program(sizes=[5])], "no program"),
        ([program(dtype=[])], "no program"),
        ([program(inputs=5_000)], "more than 256 inputs"),
        ([("m/models/model.json", b"[" * 1_000_000)], "no program"),
        ([("m/models/model.json", b"[]")], "no program"),
        ([("m/data", b"")], "no exported program"),
        ([program(), *((f"m/{number}", b"") for number in range(20_001))], "members"),
    ],
)
def test_exported_program_that_lies_is_refused(tmp_path: Path, members: Members, word: str) -> None:
    (tmp_path / "m.pt2").write_bytes(packed(members))
    with pytest.raises(ComponentUnknown, match=word):
        inspect_component(tmp_path)


@pytest.mark.parametrize("at", [8, 10, 16, 42])
def test_entry_of_an_archive_with_a_wrong_field_is_refused(tmp_path: Path, at: int) -> None:
    """Sealed, packed by nobody's way, a wrong checksum, a place beyond the end."""
    whole = bytearray(packed([program()]))
    entry = whole.index(b"PK\x01\x02")
    whole[entry + at : entry + at + 4] = struct.pack("<I", 0x7FFFFFFF)
    (tmp_path / "m.pt2").write_bytes(bytes(whole))
    with pytest.raises(ComponentUnknown):
        inspect_component(tmp_path)


def test_graph_that_swells_is_read_within_its_bound(tmp_path: Path) -> None:
    (tmp_path / "m.pt2").write_bytes(
        packed([("m/models/model.json", bytes(257 << 20))], zipfile.ZIP_DEFLATED)
    )
    with pytest.raises(ComponentUnknown, match="more than"):
        inspect_component(tmp_path)


# TorchScript


@pytest.mark.parametrize(
    "code",
    [
        b"(" * 1_000_000,
        b"x = 1" + b"+1" * 200_000,
        b"class A:\n  def forward(self, x: " + b"-" * 100_000 + b"1): ...\n",
        b"\xff\xfe\x00",
    ],
)
def test_code_that_nobody_writes_names_no_forward(tmp_path: Path, code: bytes) -> None:
    (tmp_path / "m.pt").write_bytes(script(code))
    found = inspect_component(tmp_path)
    assert "runs when it is loaded" in found.warnings[0] and "names no forward" in found.warnings[1]


def test_arguments_without_end_are_refused_at_once(tmp_path: Path) -> None:
    many = b",".join(b"a%d: Tensor" % number for number in range(100_000))
    (tmp_path / "m.pt").write_bytes(script(b"class A:\n  def forward(self, " + many + b"): ...\n"))
    with pytest.raises(ComponentUnknown, match="more than 256 inputs"):
        inspect_component(tmp_path)


def test_script_whose_data_is_a_command_is_no_pickle_of_python(tmp_path: Path) -> None:
    """PyTorch's own reader of scripts knows no such thing; the frame's is the last word."""
    evil = pickle.dumps(_Command(f"touch {tmp_path}/taken"))
    code = b"class A:\n  def forward(self, x: Tensor): ...\n"
    (tmp_path / "m.pt").write_bytes(packed([("m/code/__torch__.py", code), ("m/data.pkl", evil)]))
    assert inspect_component(tmp_path).format.value == "torchscript"
    assert not (tmp_path / "taken").exists()


# safetensors


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def weight(begin: Any, end: Any, shape: Any = (1,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


FOUR = b"abcd"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (safetensors({}, length=1 << 63), "cut off"),
        (safetensors({}, length=(1 << 64) - 1), "cut off"),
        (safetensors({"a": weight(0, 4), "b": weight(0, 4)}, FOUR), "over another"),
        (safetensors({"a": weight(0, 8, [2]), "b": weight(4, 12, [2])}, FOUR * 3), "over another"),
        (safetensors({"a": weight(0, 4), "b": weight(8, 12)}, FOUR * 3), "hole"),
        (safetensors({"a": weight(4, 8)}, FOUR * 2), "hole"),
        (safetensors({"a": weight(0, 4)}, FOUR * 2), "bytes of nothing"),
        (safetensors({"a": weight(0, 8, [2])}, FOUR), "cut off"),
        (safetensors({"a": weight(4, 0)}, FOUR), "as many bytes"),
        (safetensors({"a": weight(-4, 0)}, FOUR), "described wrongly"),
        (safetensors({"a": weight(0, "4")}, FOUR), "described wrongly"),
        (safetensors({"a": weight(0, 10**30)}, FOUR), "described wrongly"),
        (safetensors({"a": weight(0, 4, [1 << 62, 1 << 62])}, FOUR), "as many bytes"),
        (safetensors({"a": weight(0, 4, [1] * 100_000)}, FOUR), "described wrongly"),
        (safetensors({"a": weight(0, 4, "x")}, FOUR), "described wrongly"),
        (safetensors({"a": weight(0, 4, dtype=[])}, FOUR), "described wrongly"),
        (safetensors({"a": None}), "described wrongly"),
        (safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": []}}, FOUR), "described wrongly"),
        (safetensors(b'{"a":' * 200_000 + b"1" + b"}" * 200_000), "no safetensors"),
    ],
)
def test_header_of_weights_that_lies_is_refused(tmp_path: Path, content: bytes, word: str) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(ComponentUnknown, match=word):
        inspect_component(tmp_path)


def test_sound_header_is_let_through(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"made": "by hand"}, "b": weight(4, 8), "a": weight(0, 4), "none": weight(8, 8, [0]),
        "new": weight(8, 12, [3], "F128_NEW"),
    }  # fmt: skip
    (tmp_path / "m.safetensors").write_bytes(safetensors(header, FOUR * 3))
    assert "holds 4 weights" in inspect_component(tmp_path).refusals[0]


# Trees


@pytest.mark.parametrize(
    ("features", "classes"), [("9" * 30, "1"), ("3", "9" * 30), ("-5", "1"), ("3", "0"), ("3", "-1")]
)
def test_text_of_lightgbm_with_absurd_counts_is_refused(tmp_path: Path, features: str, classes: str) -> None:
    (tmp_path / "m.txt").write_text(
        f"tree\nversion=v4\nnum_class={classes}\nmax_feature_idx={features}\nobjective=multiclass\n\nTree=0\n"
    )
    with pytest.raises(ComponentUnknown):
        inspect_component(tmp_path)


@pytest.mark.parametrize(
    "parameters",
    [
        {"num_feature": "9" * 30},
        {"num_feature": "-4"},
        {"num_class": "9" * 30},
        {"num_class": "-3"},
        {"num_feature": "9" * 5_000},
        {"num_feature": 4},
    ],
)
def test_model_of_xgboost_with_absurd_counts_is_refused(tmp_path: Path, parameters: dict[str, Any]) -> None:
    known = {"num_feature": "4", "num_class": "3", "num_target": "1", **parameters}
    learner = {"learner_model_param": known, "objective": {"name": "multi:softprob"}}
    (tmp_path / "m.json").write_text(json.dumps({"learner": learner, "version": [3, 0, 0]}))
    with pytest.raises(ComponentUnknown):
        inspect_component(tmp_path)


def test_names_without_end_are_a_typed_error(tmp_path: Path) -> None:
    names = ["feature " + "x" * 40 + str(number) for number in range(100_000)]
    known = {"num_feature": "4", "num_class": "0", "num_target": "1"}
    learner = {"learner_model_param": known, "feature_names": names}
    (tmp_path / "component").mkdir()
    (tmp_path / "component" / "m.json").write_text(json.dumps({"learner": learner, "version": [3, 0, 0]}))
    output = tmp_path / "found.json"
    assert main(["--component", str(tmp_path / "component"), "--output", str(output)]) == 0
    assert output.stat().st_size < FOUND_BYTES_MOST
    assert json.loads(output.read_text())["error"]["code"] == "COMPONENT_TOO_LARGE"


# MLflow, names


@pytest.mark.parametrize(
    "signature",
    [
        [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [10**30]}}],
        [{"type": "tensor", "tensor-spec": "x"}],
        [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": 7}}],
        [{"type": "tensor", "name": "x", "tensor-spec": {"dtype": "float32"}}] * 2,
        [{"type": "tensor", "name": f"x{number}", "tensor-spec": {}} for number in range(5_000)],
        [{"type": "tensor", "name": "x" * 5_000, "tensor-spec": {}}],
    ],
)
def test_signature_of_mlflow_that_no_call_could_mean_is_refused(tmp_path: Path, signature: Any) -> None:
    document = {"flavors": {"python_function": {}}, "signature": {"inputs": json.dumps(signature)}}
    (tmp_path / "MLmodel").write_text(json.dumps(document))
    with pytest.raises(ComponentUnknown):
        inspect_component(tmp_path)


def test_requirements_that_lead_elsewhere_are_not_taken_from_a_file(tmp_path: Path) -> None:
    """The environment is made by the agent: only packages by name, and versions, are followed there."""
    lines = [
        *(
            "-r /etc/passwd",
            "--index-url http://192.0.2.1/simple",
            "-e .",
            "./evil",
            "/evil.whl",
            "evil.whl/../x",
        ),
        *(
            "evil @ file:///evil",
            "evil@http://192.0.2.1/e.tgz",
            "git+https://x/y",
            "http://x/y.whl",
            "a b",
            "C:\\evil",
        ),
        *("numpy", "scikit-learn==1.7.2", "Torch[extra] >= 2, <3 ; python_version > '3.8'", "x~=1.0+cpu"),
    ]
    (tmp_path / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: own\n    python_version: '../../3.1'\n"
    )
    (tmp_path / "requirements.txt").write_text("\n".join(["# made by hand", *lines]))
    found = inspect_component(tmp_path)
    wanted = found.facts["runtime.requirements"].value
    assert wanted == ("mlflow-skinny>=2.20", *lines[-4:], "pandas")
    assert "12 lines of requirements.txt" in found.warnings[0] and "'-r /etc/passwd'" in found.warnings[0]
    assert "runtime.python" not in found.facts


def test_name_that_is_no_text_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.onnx")).write_bytes(b"x")
    with pytest.raises(ComponentUnknown, match="UTF-8"):
        inspect_component(tmp_path)
