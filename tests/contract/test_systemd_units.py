"""The systemd units: what systemd itself says of them, and what must stand in them."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").glob("*.service"))
NAMES = [unit.stem for unit in UNITS]


class Unit(configparser.RawConfigParser):
    """Keys keep their case, and the last of several counts."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def read(unit: Path) -> Unit:
    parsed = Unit(strict=False)
    parsed.read(unit)
    return parsed


def test_there_is_a_unit_for_each_service() -> None:
    names = ["agent", "graph", "models", "scheduler", "store", "trainer"]
    assert [f"modelyard-{name}" for name in names] == NAMES


@pytest.mark.parametrize("unit", UNITS, ids=NAMES)
def test_unit_starts_a_program_that_there_is_as_nobody_special(unit: Path) -> None:
    service = read(unit)["Service"]
    program = Path(service["ExecStart"].split()[0]).name
    assert f"\n{program} = " in (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert service["User"] == "modelyard"
    assert service["NoNewPrivileges"] == "yes"
    assert service["RestartPreventExitStatus"] == "2"
    assert service["StateDirectoryMode"] == "0700"


def test_death_of_the_agent_does_not_end_what_it_runs() -> None:
    [agent] = [unit for unit in UNITS if unit.stem == "modelyard-agent"]
    service = read(agent)["Service"]
    assert service["KillMode"] == "process"
    assert "memory" in service["Delegate"]
    # The sockets of launcher and workers are in /tmp.
    assert "PrivateTmp" not in service


@pytest.mark.parametrize("unit", UNITS, ids=NAMES)
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / unit.name
    copy.write_text(re.sub(r"/opt/modelyard/bin/\S+", sys.executable, unit.read_text()))
    done = subprocess.run(
        [program, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    complaints = [
        line for line in done.stderr.splitlines() if unit.name in line and "user" not in line.lower()
    ]
    assert complaints == []
