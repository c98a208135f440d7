"""Who is not root shuts frames in as well, by a namespace of users, with the user that he is (S2, N4)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.enclosure.sandbox import NAMESPACES
from tests.support.enclosed_frames import code_component, enclosed, said

NOBODY = 65_534
ASKED = """
import os, socket
class Model:
    def predict(self, x: str) -> str:
        try:
            return str(eval(x))
        except OSError as error:
            return type(error).__name__
"""


def is_open(path: Path) -> bool:
    """Whether everybody comes as far as there."""
    return all(one.stat().st_mode & 0o1 for one in (path.resolve(), *path.resolve().parents))


@pytest.fixture
def folder() -> Iterator[Path]:
    """Of an ordinary user."""
    places = (Path(sys.executable), Path(sys.prefix), Path(__file__))
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    if shut := [str(place) for place in places if not is_open(place)]:
        pytest.skip(f"others than this user cannot reach {shut[0]}")
    made = Path(tempfile.mkdtemp(prefix="frames-"))
    os.chown(made, NOBODY, NOBODY)
    code = "from modelyard.enclosure.sandbox import grade; print(grade())"
    grade = subprocess.run(
        [sys.executable, "-c", code], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True,
        cwd=made, env={"PYTHONPATH": str(Path(__file__).parents[2])},
    ).stdout.strip()  # fmt: skip
    yield made if grade == NAMESPACES else pytest.skip("the kernel gives ordinary users no namespaces")
    shutil.rmtree(made, ignore_errors=True)


def test_frame_of_an_ordinary_user_has_nothing_of_the_machine(folder: Path) -> None:
    component, config = code_component(folder / "component", ASKED)
    for path in (component, component / "model.py"):
        os.chown(path, NOBODY, NOBODY)
    with enclosed(component, config, folder / "seat", user=NOBODY) as frame:
        peer = frame.connected()
        assert said(peer, "os.getuid()") == str(NOBODY)
        assert said(peer, f"open({__file__!r}).read()") == "FileNotFoundError"
        assert said(peer, "open('/component/new', 'w')") == "OSError"
        assert said(peer, "socket.create_connection(('192.0.2.1', 80), 2)") == "OSError"
        assert int(said(peer, "len([n for n in os.listdir('/proc') if n.isdigit()])")) == 2
