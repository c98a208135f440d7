"""What a component takes and gives is found out where it can do no harm, in either form (S2.2, N4)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.enclosed_frames import FORMS, IMAGE, MEMORY_BYTES, PYTHON, code_component, need

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
    (tmp_path / "task" / "config.json").write_text(json.dumps(config))
    enclosure = {"kind": kind, "image": IMAGE, "python": PYTHON, "memory_bytes": MEMORY_BYTES}
    argv = ["--component", "component", "--config", "config.json", "--output", "found.json"]
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


def test_probe_without_an_engine_says_so_in_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    error = probed(tmp_path, "container", GOOD)["error"]
    assert (error["code"], error["field"]) == ("FAILED_PRECONDITION", "runtime.kind")
