"""The README, typed in line by line; the demonstration; and an installation from a wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import blocks, console_lines, type_in
from tests.support.model_components import onnx_component
from tests.support.yard import ROOT, new_yard
from tests.support.yard_process import environment

BIN = Path(sys.executable).parent


PAGE = "README.md"


def write_files(place: Path) -> None:
    """What the page says that the reader has: its canvas, a trained model, rows to ask it about."""
    [canvas] = blocks(PAGE, "json")
    (place / "canvas.json").write_text(canvas.text)
    onnx_component(place)
    (place / "linear.onnx").rename(place / "iris.onnx")
    (place / "rows.csv").write_text("5.1,3.5,1.4,0.2\n6.7,3.0,5.2,2.3\n")


@pytest.mark.timeout(300)
def test_every_console_line_of_the_readme_works_in_order(tmp_path: Path) -> None:
    write_files(tmp_path)
    with new_yard(is_up=False) as yard:
        (yard.state / "yard.toml").write_text(f"port_base = {yard.port}\n")
        results = type_in(console_lines(PAGE), yard.state, tmp_path, {"YARD_PORT": str(yard.port)})
        failed = [typed for typed in results if typed.code]
        assert not failed, failed
        output = {typed.line: typed.stdout + typed.stderr for typed in results}
        assert output["yard call echo --param value=3"] == "3\n"
        assert "best" in output["yard model call iris --input x=@rows.csv"]
        assert "hello from a task" in output["yard run -- python3 -c \"print('hello from a task')\""]
        assert "node-1" in output["yard nodes occupancy"]
        # S1.2 S1.6
        assert '"rows":1' in output["yard graph run demo"]
        said = {line.split()[-1]: text for line, text in output.items() if line.startswith("grpcurl")}
        assert '"t-' in said["modelyard.v1.TaskService/SubmitTasks"]
        assert "modelyard.v1.TaskService" in said["list"]
        assert "node-1" in said["modelyard.v1.NodeService/GetOccupancy"]
        assert "when.txt" in said["modelyard.v1.ArtifactService/ListArtifacts"]
        assert yard.cli("down").code == 0
        assert not yard.left_over()


def test_limits_section_and_table_name_things_that_exist() -> None:
    for path in re.findall(r"\]\(([a-z][\w/.-]*)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / path).exists(), path


@pytest.mark.timeout(300)
def test_demo_goes_from_data_to_a_served_model_that_a_stock_client_calls(
    tmp_path: Path,
) -> None:  # S0, S1, S2, S3
    pytest.importorskip("xgboost")
    with new_yard(is_up=False) as yard:
        done = subprocess.run(
            [sys.executable, "-m", "cli", "demo"],
            env={**environment(yard.state), "PATH": f"{BIN}:{os.environ['PATH']}"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        told = done.stderr + done.stdout
        assert done.returncode == 0, told
        assert "450 calls" in told
        kept = tmp_path / "yard-demo"
        assert {path.name for path in kept.iterdir()} == {"comparison.png", "confusion.png", "report.html"}
        assert (kept / "confusion.png").read_bytes().startswith(b"\x89PNG")
        page = (kept / "report.html").read_text()
        [share] = re.findall(r'class="big">([0-9.]+)% told right', page)
        assert float(share) > 93
        assert all(name in page for name in ("train-lightgbm", "train-xgboost", "computed", "skipped"))
        assert not [words for words in yard.processes().values() if "services." in words]
