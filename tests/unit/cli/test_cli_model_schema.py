"""`yard model schema` and `yard model inspect` with steps: what an editor and an author get (S2.2, S2.3)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
CLASSIFIER = """
import numpy as np

class Classifier:
    def predict(self, x: np.ndarray) -> np.ndarray:
        return x
"""
CONFIG = """
component:
  inputs: [{name: x, datatype: FP32, shape: [-1, 3, 32, 32]}]
  outputs: [{name: result, datatype: FP32, shape: [-1, 2]}]
pre: [{op: resize, size: [32, 32], layout: chw}, {op: scale, factor: 0.004}]
post: [{op: softmax}, {op: top_k, k: 1, labels: [cat, dog]}]
"""


def yard(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "model", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)


def test_schema_is_the_published_one() -> None:
    assert yard("schema").stdout == (ROOT / "docs" / "schemas" / "model.schema.json").read_text()


def test_callers_side_is_derived_through_the_steps_and_mistakes_have_their_place(tmp_path: Path) -> None:
    component, config = tmp_path / "classifier.py", tmp_path / "known.yaml"
    component.write_text(CLASSIFIER)
    config.write_text(CONFIG)
    done = yard("inspect", str(component), "--config", str(config))
    assert done.returncode == 0, done.stderr
    assert "shape: [-1, 3, -1, -1]" in done.stdout and "before pre: resize, scale" in done.stdout
    assert "name: result_label" in done.stdout
    assert "pillow>=11" in done.stdout
    whole = tmp_path / "model.yaml"
    whole.write_text(done.stdout)
    again = yard("inspect", str(component), "--config", str(whole))
    assert (again.returncode, again.stdout.count("declared") > 10) == (0, True), again.stderr

    config.write_text("pre: [{op: resise}]\n")
    done = yard("inspect", str(component), "--config", str(config))
    assert done.returncode == 7
    assert f"{config}:1:12 pre[0].op: there is no step 'resise'" in done.stderr
    assert "did you mean 'resize'?" in done.stderr
