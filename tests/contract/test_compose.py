"""The compose file and the image: what they name must be there, and each container has no more than it needs."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.app import run

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
SERVICES: dict[str, Any] = COMPOSE["services"]


def is_taken(words: list[str]) -> None:
    """Whether there is such a command, with such options: its help is asked for, which runs nothing."""
    assert run([*words, "--help"]) == 0, words


@pytest.mark.parametrize("name", SERVICES)
def test_each_container_has_no_rights_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    # What a node needs to shut models in is what any user of a machine has.
    more = ["seccomp=unconfined", "systempaths=unconfined"] if name == "node" else []
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true", *more]
    assert "privileged" not in service and "user" not in service
    assert service["image"].endswith(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    )
    for volume in service["volumes"]:
        assert volume.split(":")[0] in COMPOSE["volumes"]
    for other in service.get("depends_on", {}):
        assert other in SERVICES


def test_compose_itself_takes_the_file(tmp_path: Path) -> None:
    text, command = (ROOT / "deploy" / "compose.yaml").read_text(), ["docker", "compose"]
    if (
        shutil.which("docker") is None
        or subprocess.run([*command, "version"], capture_output=True).returncode
    ):
        # The first generation, which Debian has, knows no name of a project.
        text, command = re.sub(r"^name:.*\n", "", text, flags=re.M), ["docker-compose"]
    if shutil.which(command[0]) is None:
        pytest.skip("neither docker compose nor docker-compose is installed")
    (tmp_path / "compose.yaml").write_text(text)
    done = subprocess.run(
        [*command, "-f", "compose.yaml", "config", "-q"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_option_that_there_is_not_is_found() -> None:
    assert run(["up", "--bogus", "--help"]) == 2


def test_what_the_containers_run_is_what_the_command_line_takes() -> None:
    is_taken(SERVICES["yard"]["command"])
    is_taken(SERVICES["yard"]["healthcheck"]["test"][2:])
    lines = [line for name in ("token", "node") for line in SERVICES[name]["command"][0].splitlines()]
    commands = [found for line in lines for found in re.findall(r"(?:\|\||&& exec) yard ([^>]+)", line)]
    assert len(commands) == 2
    for command in commands:
        is_taken(shlex.split(command))
    is_taken(["agent", "join", "yard_join_x.y@yard:7070", "--name", "node-1"])


def test_image_has_extras_and_programs_that_there_are() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [extras] = re.findall(r"\.whl\)\[([^\]]+)\]", DOCKERFILE)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert 'ENTRYPOINT ["yard"]' in DOCKERFILE and "yard" in project["scripts"]
    [words] = re.findall(r"^CMD \[(.+)\]$", DOCKERFILE, re.M)
    is_taken([word.strip().strip('"') for word in words.split(",")])
    assert re.search(r"^USER modelyard$", DOCKERFILE, re.M), "it does not run as root"
