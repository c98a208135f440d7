"""Wheel and source distribution: each installs into an empty environment and has everything that a yard needs."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.support.yard import free_port_base

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OF_THE_HOUSE = ("tests", "bench", "deploy", "docs", ".ci")


def uv(*words: str, cwd: Path = ROOT) -> None:
    done = subprocess.run([find_uv_bin(), *words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel, made from the source distribution, and that itself; from what is under version control."""
    room = tmp_path_factory.mktemp("packages")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (room / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (room / "source" / name).write_bytes((ROOT / name).read_bytes())
    uv("build", "--quiet", "--out-dir", str(room / "dist"), str(room / "source"))
    [wheel], [source] = (room / "dist").glob("*.whl"), (room / "dist").glob("*.tar.gz")
    return wheel, source


def files_of_the_checkout() -> set[str]:
    """Everything below the packages that is no code of the build."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "modelyard", "services", "cli"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return {name for name in listed if not name.endswith(".md") and (ROOT / name).is_file()}


def test_wheel_has_every_file_of_the_packages_and_nothing_of_the_house(packages: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(packages[0]) as wheel:
        names = set(wheel.namelist())
        [metadata] = [name for name in names if name.endswith("METADATA")]
        text = wheel.read(metadata).decode()
    assert files_of_the_checkout() <= names
    assert not [name for name in names if name.startswith(OF_THE_HOUSE)]
    assert "License-Expression: Apache-2.0" in text and any(name.endswith("LICENSE") for name in names)
    for extra in PROJECT["optional-dependencies"]:
        assert f"Provides-Extra: {extra}" in text


@pytest.mark.parametrize("kind", [0, 1], ids=["wheel", "source"])
def test_it_installs_into_an_empty_environment_and_runs_a_yard(
    kind: int, packages: tuple[Path, Path], tmp_path: Path
) -> None:
    """Not only that it imports: a yard comes up from it and answers a call."""
    with tarfile.open(packages[1]) as source:
        assert any(name.endswith("/LICENSE") for name in source.getnames())
    home = tmp_path / "env"
    uv("venv", "--quiet", "--python", sys.executable, str(home))
    uv("pip", "install", "--quiet", "--python", str(home / "bin" / "python"), str(packages[kind]))
    for program in PROJECT["scripts"]:
        assert (home / "bin" / program).exists()
    base = free_port_base()
    environ = {
        "PATH": f"{home}/bin:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "YARD_STATE": str(tmp_path / "s"),
    }

    def yard(*words: str) -> str:
        done = subprocess.run(
            [home / "bin" / "yard", *words], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == 0, f"yard {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout

    assert PROJECT["version"] in yard("version")
    try:
        yard("up", "--detach", "--trainer", "--models", "--port-base", str(base))
        assert yard("call", "echo", "--param", "value=3").strip() == "3"
        yard("graph", "ls")
        yard("train", "frameworks")
        yard("model", "--help")
    finally:
        yard("down")
