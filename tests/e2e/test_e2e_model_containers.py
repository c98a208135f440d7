"""By one word a model is a container on a real yard: tried, called, unloaded, with nothing left (S2.4, N2)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from modelyard.enclosure.container import LABEL
from modelyard.enclosure.engine import Engine
from services.agent.host.cookies import cookie
from tests.support.enclosed_frames import need, until
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
