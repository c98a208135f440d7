"""Containers of seats that nobody keeps any more are found by their label and removed; others are left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.enclosure.base_image import own_image
from modelyard.enclosure.container import LABEL
from modelyard.enclosure.engine import Engine
from modelyard.enclosure.means import find_means
from services.agent.host import containers
from services.agent.host.cookies import cookie
from tests.support.enclosed_frames import IMAGE, need


@pytest.fixture
def engine() -> Engine:
    need("container")
    return Engine.find(os.environ)


@pytest.fixture
def begun(engine: Engine, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Containers by the seat that they are of: two of this agent's, one of another's."""
    seats = {key: cookie(tmp_path, key) for key in ("t-1/1", "t-2/1")} | {"other": f"other:{tmp_path.name}"}
    found = {}
    for key, seat in seats.items():
        config = {
            "Image": own_image(IMAGE),
            "Cmd": ["python3", "-c", "import time; time.sleep(600)"],
            "Labels": {LABEL: seat},
            "HostConfig": {"NetworkMode": "none"},
        }
        found[key] = engine.create("", config)
        engine.start(found[key])
    yield found
    for container in found.values():
        engine.remove(container)


def test_containers_of_seats_that_are_gone_are_removed(
    engine: Engine, begun: dict[str, str], tmp_path: Path
) -> None:
    assert containers.end_strays(tmp_path, lambda: ["t-2/1"]) == 1
    left = engine.labelled(LABEL)
    assert begun["t-1/1"] not in left and {begun["t-2/1"], begun["other"]} <= left.keys()
    assert containers.end_all(cookie(tmp_path, "t-2/1")) == 1
    assert begun["other"] in engine.labelled(LABEL)


def test_machine_without_an_engine_has_no_containers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    assert containers.end_strays(tmp_path, list) == 0


def test_means_say_what_there_is_and_why_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # S2.4
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    found = find_means()
    assert (found.engine, found.labels()["containers"]) == ("", "no")
    assert found.engine_missing and found.sandbox in ("full", "namespaces", "limits")
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    assert "this machine" in find_means().engine_missing
