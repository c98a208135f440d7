"""By one word a model is a container on a real yard: tried, called, unloaded, with nothing left (S2.4, N2)."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard.enclosure.base_image import write_archive
from modelyard.enclosure.container import LABEL
from modelyard.enclosure.engine import Engine
from services.agent.host.cookies import cookie
from tests.support.enclosed_frames import need, until
from tests.support.registry import forget, gate, push, running_registry
from tests.support.wait import wait_until_sync
from tests.support.yard import Yard, new_yard

WHO = """
import os

class Who:
    def predict(self, x: int) -> int:
        return os.getuid() + x
"""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    need("container")
    with new_yard(is_up=False, agents=1) as made:
        up = made.up("--models")
        assert up.code == 0, f"{up.stderr}\n{made.logs()}"
        (made.state / "who.py").write_text(WHO)
        (made.state / "container.yaml").write_text("runtime: {kind: container}\n")
        yield made
        made.cli("down")


def containers_of(yard: Yard) -> list[str]:
    """Those of its one agent."""
    (home,) = yard.agent_homes()
    mark = cookie(home, "")
    return [one for one, seat in Engine.find(os.environ).labelled(LABEL).items() if seat.startswith(mark)]


def test_container_by_one_word_answers_and_leaves_nothing(yard: Yard) -> None:  # S2.4, N2
    pushed = yard.cli("model", "push", "who.py", "--config", "container.yaml", timeout_s=200)
    assert pushed.code == 0, f"{pushed.stderr}\n{yard.logs()}"
    assert "python:3" in pushed.stdout and "container" in pushed.stdout
    kept = yard.json("model", "config", "get", "who")["association"]
    assert kept["imageDigest"].startswith("sha256:"), kept
    assert kept["imageDigest"][:19] in yard.cli("model", "get", "who").stdout
    called = yard.cli("model", "call", "who", "--input", "x=5", "-o", "json", timeout_s=150)
    assert called.code == 0, f"{called.stderr}\n{yard.logs()}"
    assert "10006" in json.dumps(json.loads(called.stdout))
    assert len(containers_of(yard)) == 1
    assert yard.cli("model", "unload", "who").code == 0
    assert until(lambda: not containers_of(yard), 30)


def test_frame_whose_image_is_on_its_way_says_so(yard: Yard, tmp_path: Path) -> None:  # S2.4
    engine = Engine.find(os.environ)
    with (
        running_registry(tmp_path / "registry") as registry,
        gate(registry) as (address, opened),
        ThreadPoolExecutor(1) as pool,
    ):
        image = f"{address}/python:1"
        with tempfile.TemporaryFile() as archive:
            write_archive(archive)
            engine.import_image(f"{registry}/python:1", archive, ('CMD ["python3"]', "ENV WHOSE=tests"))
        digest = push(engine, f"{registry}/python:1").rpartition("@")[2]
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        runtime = f"runtime: {{kind: container, image: '{image}', python: '{version}'}}\n"
        (yard.state / "away.yaml").write_text(runtime)
        (yard.state / "away.py").write_text(WHO)
        try:
            opened.set()
            pushed = yard.cli("model", "push", "away.py", "--config", "away.yaml", timeout_s=200)
            assert pushed.code == 0, f"{pushed.stderr}\n{yard.logs()}"
            forget(engine, image)
            opened.clear()
            loading = pool.submit(yard.cli, "model", "load", "away", timeout_s=150)
            told = f"pulling the image {image}"
            wait_until_sync(
                lambda: any(
                    one.get("message") == told for one in yard.json("model", "frames").get("frames", [])
                ),
                "the frame says what it waits for",
                timeout_s=60,
            )
            why = yard.cli("model", "why", "away")
            assert f"is being loaded on node-1: {told}" in why.stdout + why.stderr, why
            opened.set()
            assert loading.result().code == 0, f"{loading.result().stderr}\n{yard.logs()}"
            assert told not in yard.cli("model", "frames").stdout
        finally:
            opened.set()
            yard.cli("model", "unload", "away")
            forget(engine, f"{address}/python@{digest}")
