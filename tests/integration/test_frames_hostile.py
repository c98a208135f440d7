"""Components that mean harm: the machine and other frames are unaffected, and who waits gets a typed error in time
(S2, N4)."""

from __future__ import annotations

import os
import pickle
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.enclosed_frames import (
    FORMS,
    Enclosed,
    code_component,
    containers_of,
    enclosed,
    need,
    processes_of,
    said,
    until,
)
from tests.support.model_frames import config_of, tensor

GOOD = """
class Model:
    def predict(self, x: str) -> str:
        return x.upper()
"""

LOADING = """
import os, subprocess, sys, time

class Model:
    def __init__(self):
{}

    def predict(self, x: str) -> str:
        return x
"""
CALLED = """
import ctypes, os, signal, socket, sys, time

class Model:
    def predict(self, x: str) -> str:
{}
        return "done"
"""


def loading(*lines: str) -> str:
    return LOADING.format("\n".join(f"        {line}" for line in lines))


def called(*lines: str) -> str:
    return CALLED.format("\n".join(f"        {line}" for line in lines))


@pytest.fixture(params=FORMS)
def kind(request: pytest.FixtureRequest) -> str:
    need(request.param)
    return str(request.param)


def start(tmp_path: Path, kind: str, source: str, name: str = "bad", **enclosure: Any) -> Any:
    component, config = code_component(tmp_path / f"{name}-component", source)
    return enclosed(component, config, tmp_path / name, kind, **enclosure)


def seat_of(frame: Enclosed) -> str:
    for word in Path(f"/proc/{frame.process.pid}/environ").read_bytes().split(b"\0"):
        if word.startswith(b"YARD_SEAT="):
            return word.removeprefix(b"YARD_SEAT=").decode()
    raise AssertionError("the process has no seat")


def end_quickly(frame: Enclosed) -> None:
    """It is asked to end, and within a bounded time nothing of it is left."""
    seat = seat_of(frame)
    began = time.monotonic()
    frame.process.send_signal(signal.SIGTERM)
    frame.ended(20)
    assert until(lambda: not processes_of(seat))
    if containers_are_here():
        assert until(lambda: not containers_of(seat))
    assert time.monotonic() - began < 20


def containers_are_here() -> bool:
    from tests.support.enclosed_frames import missing_engine

    return not missing_engine()


class _Call:
    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self._command,)


def test_pickle_that_runs_commands_reaches_nothing(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "taken"
    component = tmp_path / "component"
    component.mkdir()
    command = f"id > {target}; id > /component/taken; cat /etc/shadow; touch /room/taken; kill -9 -1"
    (component / "model.pkl").write_bytes(pickle.dumps(_Call(command)))
    config = config_of(
        "pickle", "model.pkl", inputs=[tensor("x", "FP32", [-1, 1])], outputs=[tensor("y", "FP32", [-1])]
    )
    with enclosed(component, config, tmp_path / "seat", kind, may_unpickle=True) as frame:
        try:
            header = frame.peer().next().header
            assert header["kind"] == "unloadable" and header["code"]
        except EOFError:
            # It has killed itself.
            frame.ended()
    assert not target.exists()
    assert [path.name for path in component.iterdir()] == ["model.pkl"]


def test_fork_bomb_while_loading_leaves_others_alone(tmp_path: Path, kind: str) -> None:
    bomb = loading("while True:", "    try: os.fork()", "    except OSError: pass")
    with start(tmp_path, kind, GOOD, "good") as good, start(tmp_path, kind, bomb, pids=64) as bad:
        peer = good.connected(60)
        seat = seat_of(bad)
        assert until(lambda: len(processes_of(seat)) > 20, 30)
        for _ in range(5):
            assert said(peer, "abc") == "ABC"
            assert len(processes_of(seat)) <= 64 + 3
        end_quickly(bad)
        assert said(peer, "abc") == "ABC"


def test_allocation_of_50_gb_is_a_typed_error(tmp_path: Path, kind: str) -> None:
    with start(tmp_path, kind, loading("self.all = bytearray(50 << 30)")) as frame:
        header = frame.peer(60).next().header
        assert (header["kind"], header["code"]) == ("unloadable", "RESOURCE_EXHAUSTED"), header


def test_memory_that_is_used_bit_by_bit_ends_the_frame_with_the_field(tmp_path: Path, kind: str) -> None:
    hog = loading(
        "os.environ['x'] = 'y'",
        "for _ in range(64):",
        "    if os.fork() == 0:",
        "        self.own = bytearray(os.urandom(1)) * (64 << 20)",
        "        time.sleep(600)",
        "self.all = [bytearray(b'x') * (16 << 20) for _ in range(400)]",
    )
    with start(tmp_path, kind, hog) as frame:
        found = frame.trouble(60)
    assert (found.code, found.field) == ("RESOURCE_EXHAUSTED", "runtime.memory")


def test_loading_without_end_is_ended_on_demand(tmp_path: Path, kind: str) -> None:
    deaf = "import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 3, 10, 15)]"
    with start(tmp_path, kind, loading(deaf, "while True: pass")) as frame:
        frame.peer(60)
        end_quickly(frame)


def test_answer_that_is_too_large_is_a_typed_error_and_the_next_call_goes_on(
    tmp_path: Path, kind: str
) -> None:
    flood = called("if x == 'flood': return 'x' * (9 << 20)")
    with start(tmp_path, kind, flood, launch={"answer_bytes_most": 1 << 20}) as frame:
        peer = frame.connected(60)
        with pytest.raises(AssertionError, match="RESOURCE_EXHAUSTED"):
            said(peer, "flood")
        assert said(peer, "x") == "done"


def test_output_without_end_is_bounded_on_disk(tmp_path: Path, kind: str) -> None:
    noisy = called(
        "block = b'x' * (1 << 20)",
        "try:",
        "    for _ in range(400): os.write(1, block)",
        "except OSError: pass",
    )
    with start(tmp_path, kind, noisy, file_bytes=64 << 20, output_bytes=64 << 20) as frame:
        assert said(frame.connected(60), "x") == "done"
        assert (tmp_path / "bad.log").stat().st_size <= (64 << 20) + 4096


def test_disk_cannot_be_filled(tmp_path: Path, kind: str) -> None:
    filling = called(
        "try:",
        "    with open('/tmp/full', 'wb') as file:",
        "        for _ in range(400): file.write(b'x' * (1 << 20))",
        "except OSError as error: return os.strerror(error.errno)",
    )
    with start(tmp_path, kind, filling, memory_bytes=1 << 30) as frame:
        assert "space" in said(frame.connected(60), "x")


def test_links_out_of_the_component_lead_nowhere(tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("token")
    secret.chmod(0o600)
    reads = called(
        "found = []",
        "for name in ('link', 'climb', 'folder/secret'):",
        "    try: found.append(open('/component/' + name).read())",
        "    except OSError as error: found.append(type(error).__name__)",
        "return ' '.join(found)",
    )
    component, config = code_component(tmp_path / "component", reads)
    (component / "link").symlink_to(secret)
    (component / "climb").symlink_to("../secret")
    (component / "folder").symlink_to(tmp_path)
    with enclosed(component, config, tmp_path / "seat", kind) as frame:
        assert set(said(frame.connected(60), "x").split()) == {"FileNotFoundError"}
    # Nor has anything behind them become readable.
    assert secret.stat().st_mode & 0o777 == 0o600


def test_component_that_is_itself_a_link_is_refused(tmp_path: Path) -> None:
    component, config = code_component(tmp_path / "elsewhere", GOOD)
    (tmp_path / "component").symlink_to(component)
    with enclosed(tmp_path / "component", config, tmp_path / "seat") as frame:
        assert frame.trouble().code == "INVALID_ARGUMENT"


def test_frame_cannot_hurt_who_keeps_it(tmp_path: Path, kind: str) -> None:
    cruel = called(
        "for number in range(1, 64):",
        "    for target in (1, -1, os.getppid()):",
        "        try: target and target != os.getpid() and os.kill(target, 9) ",
        "        except OSError: pass",
        "found = []",
        "for name in sorted(os.listdir('/proc/self/fd')):",
        "    try: found.append(os.readlink('/proc/self/fd/' + name).split(':')[0])",
        "    except OSError: pass",
        "libc = ctypes.CDLL(None, use_errno=True)",
        "results = [libc.unshare(0x10000000 | 0x20000), libc.setuid(0), libc.ptrace(16, 1, 0, 0)]",
        "results.append(libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None))",
        "return ' '.join(map(str, results))",
    )
    with start(tmp_path, kind, cruel) as frame:
        peer = frame.connected(60)
        answer = said(peer, "x").split()
        # What a container's filter has is the engine's word.
        assert answer[kind == "container" :].count("-1") == 4 - (kind == "container")
        assert frame.process.poll() is None
