"""The same component in an environment and in a container, by one word: called, limited, ended, nothing left (S2.4)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.enclosed_frames import (
    FORMS,
    code_component,
    containers_of,
    enclosed,
    need,
    processes_of,
    said,
    until,
)

ASKED = """
import json, os, socket, sys

def tried(what):
    try:
        return repr(what())[:200]
    except Exception as error:
        return type(error).__name__

class Model:
    def predict(self, x: str) -> str:
        return str(eval(x))
"""


@pytest.fixture(params=FORMS)
def kind(request: pytest.FixtureRequest) -> str:
    need(request.param)
    return str(request.param)


def test_component_answers_in_either_form(tmp_path: Path, kind: str) -> None:  # S2.4, N2
    component, config = code_component(tmp_path / "component", ASKED)
    with enclosed(component, config, tmp_path / "seat", kind) as frame:
        peer = frame.connected()
        assert said(peer, "6 * 7") == "42"
        assert said(peer, "'x' * 300000") == "x" * 300_000
        peer.send({"kind": "end"})
        assert frame.ended() == 0
    assert not (tmp_path / "frame.socket").exists()


def test_frame_has_nothing_of_the_machine(tmp_path: Path, kind: str) -> None:  # S2, N4
    secret = tmp_path / "agents-state"
    secret.write_text("token")
    component, config = code_component(tmp_path / "component", ASKED)
    with enclosed(component, config, tmp_path / "seat", kind, environ={"YARD_TOKEN": "s"}) as frame:
        peer = frame.connected()
        assert int(said(peer, "os.getuid()")) not in (0, os.getuid())
        assert said(peer, "tried(lambda: open('/etc/shadow').read())") == "FileNotFoundError"
        assert said(peer, f"tried(lambda: open({str(secret)!r}).read())") == "FileNotFoundError"
        assert said(peer, "os.environ.get('YARD_TOKEN')") == "None"
        assert said(peer, "os.environ.get('MODELYARD_FRAME_SECRET')") == "None"
        assert said(peer, "tried(lambda: socket.create_connection(('192.0.2.1', 80), 2))") == "OSError"
        assert said(peer, "[n for _, n in socket.if_nameindex()]") == "['lo']"
        for place in (component, "/component", "/room", "/usr", "/opt", "/", "/etc"):
            assert "Error" in said(peer, f"tried(lambda: open('{place}/new', 'w'))")
        assert said(peer, "open('/tmp/own', 'w').write('own')") == "3"
        assert said(peer, "len(os.sched_getaffinity(0)) > 0") == "True"
        status = said(peer, "open('/proc/self/status').read()")
        assert "NoNewPrivs:\t1" in status and "CapEff:\t0000000000000000" in status
        # Beside no new privileges the bounding set of an environment's frame is of no use to it.
        for line in ("CapPrm", "CapInh", "CapAmb", *(["CapBnd"] if kind == "container" else [])):
            assert f"{line}:\t0000000000000000" in status, line
        assert "Seccomp:\t2" in status
        # Of other processes there are none to be seen.
        assert int(said(peer, "len([n for n in os.listdir('/proc') if n.isdigit()])")) <= 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_end_of_the_process_beside_it_leaves_nothing(
    tmp_path: Path, kind: str, number: signal.Signals
) -> None:
    component, config = code_component(tmp_path / "component", ASKED)
    seat = f"test:{tmp_path.name}-{kind}-{number.name}/1"
    with enclosed(component, config, tmp_path / "seat", kind, environ={"YARD_SEAT": seat}) as frame:
        assert said(frame.connected(), "1") == "1"
        assert len(processes_of(seat)) >= 2
        frame.process.send_signal(number)
        frame.ended()
        assert until(lambda: not processes_of(seat))
        if kind == "container":
            assert until(lambda: not containers_of(seat))


def test_frame_that_ends_takes_its_exit_code_along(tmp_path: Path, kind: str) -> None:
    component, config = code_component(tmp_path / "component", ASKED)
    with enclosed(component, config, tmp_path / "seat", kind) as frame:
        peer = frame.connected()
        with pytest.raises(EOFError):
            said(peer, "os._exit(7)")
        assert frame.ended() == 7


def test_image_for_another_python_is_refused_with_the_field(tmp_path: Path) -> None:
    component, config = code_component(tmp_path / "component", ASKED)
    with enclosed(component, config, tmp_path / "seat", "container", python="3.1") as frame:
        found = frame.trouble()
    assert (found.code, found.field) == ("FAILED_PRECONDITION", "runtime.image")


def test_image_that_is_nowhere_is_refused_with_what_to_do(tmp_path: Path) -> None:  # S2.4
    component, config = code_component(tmp_path / "component", ASKED)
    with enclosed(component, config, tmp_path / "seat", "container", image="localhost:1/none:1") as frame:
        found = frame.trouble(60)
    assert (found.code, found.field) == ("FAILED_PRECONDITION", "runtime.image")
    assert "docker pull" in found.message and "runtime.kind: environment" in found.message


def test_machine_without_an_engine_says_so_and_offers_the_environment(tmp_path: Path) -> None:  # S2.4
    component, config = code_component(tmp_path / "component", ASKED)
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    need("container")
    with enclosed(component, config, tmp_path / "seat", "container", environ=nowhere) as frame:
        found = frame.trouble()
    assert (found.code, found.field) == ("FAILED_PRECONDITION", "runtime.kind")
    assert "runtime.kind: environment" in found.message
