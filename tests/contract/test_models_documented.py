"""docs/models.md says what `yard model inspect` says, and its examples are right."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from modelyard.models import Codec, Format, Inspection, determine, read_config
from modelyard.models.rules import REQUIREMENTS
from tests.support.model_components import python_component
from tests.support.model_frames import arrays_of, loaded_frame, tensor

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "models.md").read_text()
YARD = Path(sys.executable).with_name("yard")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def inspect(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "COLUMNS": "200", "YARD_STATE": str(folder / "no-yard")}
    command = [str(YARD), "model", "inspect", *options]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)


def test_documented_component_is_described_as_documented(tmp_path: Path) -> None:  # S2.2, S2.3
    [code, *_], [whole, part, *_] = blocks("python"), blocks("yaml")
    (tmp_path / "greeter.py").write_text(code)
    shown = inspect(tmp_path, "greeter.py")
    assert (shown.returncode, shown.stdout) == (0, whole)
    assert read_config(whole)["inputs"].value == ("name", "times")
    (tmp_path / "known.yaml").write_text(part)
    changed = inspect(tmp_path, "greeter.py", "--config", "known.yaml")
    assert changed.returncode == 0
    assert "kind: container" in changed.stdout and "name: hello" in changed.stdout


def test_documented_class_streams_as_documented(tmp_path: Path) -> None:  # S2.4
    component = tmp_path / "component"
    config = python_component(
        component,
        blocks("python")[1],
        inputs=[tensor("text", "BYTES", [1], codec="text"), tensor("most", "INT64", [1], is_optional=True)],
        outputs=[tensor("result", "BYTES", [1], codec="text")],
    )
    (component / "words.txt").write_text("a b")
    with loaded_frame(component, config, tmp_path / "state") as (_, peer):
        peer.call(1, {"text": ["ein gutes wort"]})
        parts = [peer.next() for _ in range(4)]
    assert [one.kind for one in parts] == ["part", "part", "part", "result"]
    assert arrays_of(parts[2])["result"].tolist() == [b"WORT"]


def test_documented_steps_and_drawings_are_right_and_do_what_is_said() -> None:  # S2.2
    _, _, steps, drawings = blocks("yaml")
    assert len(read_config(drawings)["visualise"].value) == 3
    inspection = Inspection(format=Format.ONNX, file="m.onnx")
    inspection.tensor("inputs", "image", "FP32", (-1, 3, 224, 224), "graph")
    inspection.tensor("outputs", "scores", "FP32", (-1, 1000), "graph")
    labels = (
        "outputs: [{name: scores}, {name: chances, datatype: FP32, shape: [-1, 5]}, {name: chances_index}]"
    )
    found = determine(read_config(steps + labels), inspection, name="m", size_bytes=1)
    assert found.refusals == () and found.config is not None
    assert found.config.inputs[0].shape == (-1, -1, -1, 3)
    assert found.config.inputs[0].codec is Codec.IMAGE


def test_what_is_wrong_ends_with_a_code_and_a_next_step(tmp_path: Path) -> None:
    (tmp_path / "w.py").write_text("class A:\n    def predict(self, x): ...\n")
    asked = inspect(tmp_path, "w.py")
    assert asked.returncode == 7
    assert "inputs[x].datatype" in asked.stderr and "--config" in asked.stderr
    as_data = inspect(tmp_path, "w.py", "-o", "json")
    assert as_data.returncode == 7 and "inputs[x].shape" in as_data.stdout
    (tmp_path / "bad.yaml").write_text("runtime: {cpu: none}\n")
    wrong = inspect(tmp_path, "w.py", "--config", "bad.yaml")
    assert wrong.returncode == 7 and "bad.yaml:1:" in wrong.stderr
    assert inspect(tmp_path, "nothing.onnx").returncode == 2
    assert inspect(tmp_path, str(tmp_path / "bad.yaml")).returncode == 7


def test_table_of_formats_names_the_packages_that_each_brings(  # S2.1
) -> None:
    rows = [
        line.split("|") for line in TEXT.partition("| is refused, because |")[2].splitlines() if "|" in line
    ]
    told = {row[1].strip(" `"): row[2] for row in rows if len(row) == 5 and row[1].strip().startswith("`")}
    for format_, packages in REQUIREMENTS.items():
        named = re.findall(r"`([^`]+)`", told[format_.value].partition("; of what")[0])
        assert tuple(named) == packages, format_
