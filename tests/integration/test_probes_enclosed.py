"""What a component takes and gives is found out where it can do no harm, in either form (S2.2, N4)."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from tests.support.enclosed_frames import FORMS, IMAGE, MEMORY_BYTES, PYTHON, code_component, need
from tests.support.model_frames import config_of, tensor

GOOD = """
class Model:
    def predict(self, x: str) -> str:
        return x.upper()
"""


@pytest.fixture(params=FORMS)
def kind(request: pytest.FixtureRequest) -> str:
    need(request.param)
    return str(request.param)


def probed(tmp_path: Path, kind: str, source: str) -> dict[str, Any]:
    _, config = code_component(tmp_path / "task" / "component", source)
    return tried(tmp_path, kind, config)


def tried(tmp_path: Path, kind: str, config: dict[str, Any], *more: str) -> dict[str, Any]:
    (tmp_path / "task" / "config.json").write_text(json.dumps(config))
    enclosure = {"kind": kind, "image": IMAGE, "python": PYTHON, "memory_bytes": MEMORY_BYTES}
    argv = ["--component", "component", "--config", "config.json", "--output", "found.json", *more]
    done = subprocess.run(
        [sys.executable, "-m", "modelyard.enclosure.probing", *argv, "--enclosure", json.dumps(enclosure)],
        cwd=tmp_path / "task",
        env={**os.environ, "VIRTUAL_ENV": sys.prefix, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr.decode()
    return dict(json.loads((tmp_path / "task" / "found.json").read_bytes()))


def test_probe_finds_in_either_form(tmp_path: Path, kind: str) -> None:  # S2.2
    found = probed(tmp_path, kind, GOOD)
    assert "facts" in found, found
    assert found["load_s"] >= 0


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("import os; os._exit(3)", "INTERNAL"),
        ("import os; os.kill(os.getpid(), 9)", "INTERNAL"),
        ("all = bytearray(50 << 30)", "RESOURCE_EXHAUSTED"),
        ("open('/etc/shadow').read()", "INTERNAL"),
    ],
)
def test_probe_of_a_hostile_component_is_a_typed_error(
    tmp_path: Path, kind: str, line: str, code: str
) -> None:  # N4
    error = probed(tmp_path, kind, f"{line}\n{GOOD}")["error"]
    assert error["message"] and error["code"] == code, error


def looked(
    task: Path, *more: str, program: Sequence[str] = ("-m", "modelyard.enclosure.probing"), **enclosure: Any
) -> dict[str, Any]:
    """What a look at ``task/component`` writes."""
    wanted = {"kind": "environment", "memory_bytes": MEMORY_BYTES, "pids": 64, "time_s": 60, **enclosure}
    argv = ["--look", "--component", "component", "--output", "found.json", *more]
    done = subprocess.run(
        [sys.executable, *program, *argv, "--enclosure", json.dumps(wanted)],
        cwd=task,
        env={**os.environ, "VIRTUAL_ENV": sys.prefix, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr.decode()
    return dict(json.loads((task / "found.json").read_bytes()))


class Call:
    """What unpickling calls."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


def nested(depth: int) -> bytes:
    """A list in a list in a list …"""
    return b"\x80\x04" + b"]" * depth + b"a" * (depth - 1) + b"."


PICKLES: dict[str, Callable[[Path], bytes]] = {
    "command": lambda taken: pickle.dumps(Call(os.system, f"touch {taken}")),
    "hidden command": lambda taken: pickle.dumps(
        Call(eval, f"getattr(__import__('o' + 's'), 'sys' + 'tem')('touch {taken}')")
    ),
    "ten gigabytes": lambda taken: pickle.dumps(Call(bytearray, 10 << 30)),
    "without a bottom": lambda taken: nested(300_000),
    "its own end": lambda taken: pickle.dumps(Call(os._exit, 0)),
    "nested in joblib": lambda taken: joblib_bytes(Call(exec, f"open({str(taken)!r}, 'w')")),
}


def joblib_bytes(evil: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump({"weights": np.arange(4), "model": np.array([evil], dtype=object)}, file)
    return file.getvalue()


@pytest.mark.parametrize("name", PICKLES)
def test_hostile_pickle_that_was_let_in_all_the_same_is_a_typed_error(
    tmp_path: Path, name: str
) -> None:  # N4
    component, taken = tmp_path / "task" / "component", tmp_path / "taken"
    component.mkdir(parents=True)
    (component / "model.pkl").write_bytes(PICKLES[name](taken))
    whole = config_of("pickle", "model.pkl")
    error = tried(tmp_path, "environment", whole, "--may-unpickle")["error"]
    assert error["message"] and error["code"], error
    assert not taken.exists()
    assert [path.name for path in component.iterdir()] == ["model.pkl"]


def test_pickle_that_nobody_trusts_is_not_opened(tmp_path: Path) -> None:  # N4
    component, taken = tmp_path / "task" / "component", tmp_path / "taken"
    component.mkdir(parents=True)
    (component / "model.pkl").write_bytes(PICKLES["its own end"](taken))
    error = tried(tmp_path, "environment", config_of("pickle", "model.pkl"))["error"]
    assert error["reason"] == "PICKLE_NOT_TRUSTED"


TREES = """tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=3
objective=binary sigmoid:1
feature_names=a b c d
feature_infos=[-2:2] [-2:2] [-2:2] [-2:2]
tree_sizes=300

Tree=0
num_leaves=2
num_cat=0
split_feature=0
split_gain=60
threshold=1e-35
decision_type=2
left_child=-1
right_child=-2
leaf_value=-0.38 0.02
leaf_weight=8 6
leaf_count=33 27
internal_value=-0.2
internal_weight=14
internal_count=60
is_linear=0
shrinkage=1

end of trees
"""


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("num_class=1", "num_class=2000000000"),
        ("num_leaves=2", "num_leaves=-5"),
        ("tree_sizes=300", "tree_sizes=99999999999 1"),
    ],
)
def test_text_of_trees_that_its_library_dies_of_is_a_typed_error(
    tmp_path: Path, line: str, instead: str
) -> None:  # N4
    component = tmp_path / "task" / "component"
    component.mkdir(parents=True)
    assert line in TREES
    (component / "m.txt").write_text(TREES.replace(line, instead, 1))
    features = tensor("features", "FP64", [-1, 4])
    config = config_of("lightgbm", "m.txt", inputs=[features], outputs=[tensor("prediction", "FP64", [-1])])
    error = tried(tmp_path, "environment", config)["error"]
    assert error["message"] and error["code"] in ("INTERNAL", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"), (
        error
    )


@pytest.fixture
def component(tmp_path: Path) -> Path:
    found = tmp_path / "task" / "component"
    found.mkdir(parents=True)
    return found


def test_look_at_files_is_shut_in_and_finds_the_same(component: Path) -> None:  # S2.2
    (component / "model.py").write_text(GOOD)
    found = looked(component.parent)["inspection"]
    assert (found["format"], found["file"], found["warnings"]) == ("python", "model.py", [])
    assert "code" in looked(component.parent, "--file=--output")["error"]


def swelling_skops(path: Path) -> None:
    """80 MiB of nothing in 80 KiB."""
    with (
        zipfile.ZipFile(path / "m.skops", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("schema.json", "w") as file,
    ):
        for _ in range(80):
            file.write(bytes(1 << 20))


def deep_json(path: Path) -> None:
    (path / "m.json").write_bytes(b'{"learner": ' + b"[" * 2_000_000)


def names_without_end(path: Path) -> None:
    """A small file that becomes millions of objects."""
    names = b"".join(b"cmodule%d\nname\n0" % number for number in range(200_000))
    (path / "m.pkl").write_bytes(gzip.compress(b"\x80\x04" + names, 1))


def swelling_pickle(path: Path) -> None:
    """More than half a gigabyte, in members of one MiB each."""
    (path / "m.pkl").write_bytes(gzip.compress(b"N0" * (1 << 19)) * 520)


def opcodes_without_end(path: Path) -> None:
    """Some 19 million of them, which take far longer than a second."""
    (path / "m.pkl").write_bytes(gzip.compress(b"N0" * (1 << 19)) * 18)


def graph_in_graphs(path: Path) -> None:
    """A graph within an attribute within a node within a graph, as deep as nobody means it."""
    inner = b""
    for _ in range(3_000):
        for field in (6, 5, 1):  # AttributeProto.g, NodeProto.attribute, GraphProto.node
            inner = bytes([field << 3 | 2]) + _varint(len(inner)) + inner
    (path / "m.onnx").write_bytes(b"\x3a" + _varint(len(inner)) + inner)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def aliases_of_aliases(path: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    (path / "MLmodel").write_text("\n".join(lines))


@pytest.mark.parametrize(
    "make",
    [swelling_skops, deep_json, names_without_end, swelling_pickle, graph_in_graphs, aliases_of_aliases],
)
def test_look_at_a_hostile_file_is_a_typed_error_in_time(
    component: Path, make: Callable[[Path], None]
) -> None:  # N4
    make(component)
    before = sorted(component.iterdir())
    error = looked(component.parent)["error"]
    assert error["message"] and error["code"], error
    assert sorted(component.iterdir()) == before


def test_look_where_no_namespaces_are_to_be_had_says_so(component: Path) -> None:  # N4
    """The kernel as it refuses ordinary users: whoever is filtered gets no namespace."""
    (component / "model.py").write_text(GOOD)
    filtered = (
        "import sys; from modelyard.enclosure import calls, linux, probing; linux.no_new_privileges();"
        "assert not calls.installed(has_sockets=True); sys.exit(probing.main(sys.argv[1:]))"
    )
    found = looked(component.parent, program=("-c", filtered))["inspection"]
    assert found["format"] == "python"
    assert "without any socket" in found["warnings"][0] and "no namespaces" in found["warnings"][0]


def test_look_that_takes_too_long_is_ended(component: Path) -> None:  # N4
    opcodes_without_end(component)
    error = looked(component.parent, time_s=0.5)["error"]
    assert error["code"] == "DEADLINE_EXCEEDED" and "0.5 s" in error["message"]


def test_probe_without_an_engine_says_so_in_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    error = probed(tmp_path, "container", GOOD)["error"]
    assert (error["code"], error["field"]) == ("FAILED_PRECONDITION", "runtime.kind")
