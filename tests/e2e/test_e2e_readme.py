"""The README, typed in line by line; the demonstration; and an installation from a wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.yard import ROOT, Yard, new_yard
from tests.support.yard_process import environment

BIN = Path(sys.executable).parent


def console_lines() -> list[str]:
    """What the README's console blocks tell a reader to type."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines)
    return [line.removeprefix("$ ") for line in lines]


def canvas() -> str:
    """The document that the README calls canvas.json."""
    [block] = re.findall(r"```json\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return block


def typed(yard: Yard, lines: list[str], cwd: Path) -> list[tuple[int, str]]:
    """Exit code and output of each line, typed one after the other into one shell."""
    out = cwd / "out"
    script = "\n".join(
        f"{{ {line}\n}} >{out}.{number} 2>&1; echo $? >{out}.{number}.code"
        for number, line in enumerate(lines)
    )
    env = {**environment(yard.state), "YARD_PORT": str(yard.port), "PATH": f"{BIN}:{os.environ['PATH']}"}
    subprocess.run(
        ["bash", "-c", script], env=env, cwd=cwd, stdin=subprocess.DEVNULL, timeout=100, check=True
    )
    return [
        (int(Path(f"{out}.{number}.code").read_text()), Path(f"{out}.{number}").read_text())
        for number in range(len(lines))
    ]


def test_every_console_line_of_the_readme_works_in_order(tmp_path: Path) -> None:
    lines = console_lines()
    with new_yard(is_up=False) as yard:
        (yard.state / "yard.toml").write_text(f"port_base = {yard.port}\n")
        (tmp_path / "canvas.json").write_text(canvas())
        results = typed(yard, lines, tmp_path)
        failed = [(line, *result) for line, result in zip(lines, results, strict=True) if result[0]]
        assert not failed, failed
        output = {line: text for line, (_, text) in zip(lines, results, strict=True)}
        assert output["yard call echo --param value=3"] == "3\n"
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
