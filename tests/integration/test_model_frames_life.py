"""A frame's life: who may talk to it, what it does with nonsense, how it ends, its golden output (S2.4, S2.6)."""

from __future__ import annotations

import base64
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from modelyard.serving import golden
from modelyard.serving.calls import Answer, Call
from modelyard.serving.wire import encode
from tests.support.model_components import onnx_component, python_component
from tests.support.model_frames import (
    FramePeer,
    FrameProcess,
    arrays_of,
    frame,
    loaded_frame,
    tensor,
    tensors_of,
)

ECHO = "class Model:\n    def predict(self, x):\n        return x\n"
ECHOED: dict[str, Any] = {
    "inputs": [tensor("x", "FP32", [-1])],
    "outputs": [tensor("result", "FP32", [-1])],
}
ONE = {"x": np.ones(1, np.float32)}


def is_closed(peer: FramePeer) -> bool:
    """Whether the other end closes without another word."""
    try:
        message = peer.next()
    except (EOFError, ConnectionResetError, BrokenPipeError):
        return True
    return bool(message.kind == "never")


def stranger(running: FrameProcess) -> FramePeer:
    return FramePeer(running.dial())


def test_whoever_shows_no_secret_is_sent_away_and_the_others_stay(tmp_path: Path) -> None:
    config = python_component(tmp_path / "component", ECHO, **ECHOED)
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (running, peer):
        for greeting in (
            [b"GET / HTTP/1.1\r\nHost: frame\r\n\r\n"],
            [struct.pack("<II", 1 << 31, 0)],
            [struct.pack("<IIQ", 2, 1, 1 << 40)],
            encode({"kind": "hello", "secret": "wrong"}),
            encode({"kind": "hello"}),
            encode({"kind": "hello", "secret": 3}),
            encode({"kind": "hello", "secret": "x" * 20_000}),
            encode({"kind": "call", "id": 1, "secret": "frame-secret"}),
            [struct.pack("<II", 4, 0) + b"null"],
            [b"\0" * 64],
        ):
            one = stranger(running)
            for piece in greeting:
                one.socket.sendall(piece)
            assert is_closed(one)
            one.close()
        assert peer.answer(ONE)["result"].tolist() == [1]


def test_many_silent_strangers_do_not_keep_the_service_out(tmp_path: Path) -> None:
    config = python_component(tmp_path / "component", ECHO, **ECHOED)
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (running, peer):
        silent = [stranger(running) for _ in range(40)]
        assert peer.answer(ONE)["result"].tolist() == [1]
        for one in silent:
            one.close()
        again = running.peer()
        again.loaded()
        assert again.answer(ONE)["result"].tolist() == [1]
        again.close()


@pytest.mark.parametrize(
    "header",
    [
        {"kind": "dance"},
        {"kind": "call"},
        {"kind": "call", "id": None},
        {"kind": "call", "id": True},
        {"kind": "call", "id": 1, "inputs": {"x": 1}},
        {"kind": "call", "id": 1, "inputs": [3]},
        {"kind": "batch", "calls": 3},
        {"kind": "batch", "calls": [3]},
        {"kind": "hello", "secret": "frame-secret"},
    ],
)
def test_a_message_that_is_none_ends_its_connection_and_the_next_is_served(
    tmp_path: Path, header: dict[str, Any]
) -> None:
    config = python_component(tmp_path / "component", ECHO, **ECHOED)
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (running, peer):
        peer.send(header)
        assert is_closed(peer)
        again = running.peer()
        again.loaded()
        assert again.answer(ONE)["result"].tolist() == [1]
        again.close()


def test_inputs_without_their_bytes_and_numbers_given_twice_are_refused(tmp_path: Path) -> None:
    config = python_component(tmp_path / "component", ECHO, **ECHOED)
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (_, peer):
        inputs, buffers = tensors_of(ONE)
        peer.send({"kind": "call", "id": 1, "inputs": inputs})
        assert peer.next().header["field"] == "inputs"
        peer.send({"kind": "call", "id": 2, "inputs": [*inputs, *inputs]}, [*buffers, *buffers])
        assert "twice" in peer.next().header["message"]


def test_a_service_that_was_restarted_is_served_and_the_calls_before_are_forgotten(tmp_path: Path) -> None:
    code = """
    import time
    from modelyard.serving import current
    class Model:
        def predict(self, x):
            while x[0] < 0 and not current.is_cancelled():
                time.sleep(0.005)
            return x
    """
    config = python_component(tmp_path / "component", code, **ECHOED)
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (running, peer):
        peer.call("only", {"x": -np.ones(1, np.float32)})
        peer.call("waits", ONE)
        # Dead, and its connection does not say so: whoever shows the secret takes its place.
        again = running.peer()
        again.loaded()
        assert again.answer(ONE)["result"].tolist() == [1]
        assert is_closed(peer)
        again.close()
        third = running.peer()
        third.loaded()
        assert third.answer(ONE)["result"].tolist() == [1]
        third.close()


def test_calls_that_come_before_it_has_loaded_are_answered_when_it_has(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    code = f"""
    import time
    from pathlib import Path
    class Model:
        def load(self, directory):
            while not Path({str(gate)!r}).exists():
                time.sleep(0.01)
        def predict(self, x):
            return x
    """
    config = python_component(tmp_path / "component", code, **ECHOED)
    with frame(tmp_path / "component", config, tmp_path / "state") as running:
        peer = running.peer()
        peer.call("early", ONE)
        gate.touch()
        peer.loaded()
        assert arrays_of(peer.next())["result"].tolist() == [1]
        peer.close()


def test_end_finishes_what_was_taken_refuses_what_comes_and_leaves(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    code = f"""
    import time
    from pathlib import Path
    class Model:
        def predict(self, x):
            while not Path({str(gate)!r}).exists():
                time.sleep(0.01)
            return x
    """
    config = python_component(tmp_path / "component", code, **ECHOED)
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (running, peer):
        peer.call(1, ONE)
        peer.call(2, ONE)
        peer.send({"kind": "end"})
        peer.call(3, ONE)
        assert peer.next().header["code"] == "UNAVAILABLE"
        gate.touch()
        assert [peer.next().header["id"] for _ in range(2)] == [1, 2]
        assert is_closed(peer)
        assert running.process.wait(15) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_all_that_its_code_has_started(tmp_path: Path, number: int) -> None:
    code = """
    import subprocess, sys
    class Model:
        def load(self, directory):
            inner = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
            subprocess.run([sys.executable, "-c", inner], check=True)
            self.child = subprocess.Popen(["sleep", "600"])
        def predict(self, x):
            return x
    """
    config = python_component(tmp_path / "component", code, **ECHOED)
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (running, _):
        children = psutil.Process(running.process.pid).children(recursive=True)
        assert len(children) == 2
        os.kill(running.process.pid, number)
        assert running.process.wait(15) == 0
        assert not [one for one in children if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_it_ends_when_whoever_started_it_is_gone(tmp_path: Path) -> None:
    config = python_component(tmp_path / "component", ECHO, **ECHOED)
    with frame(tmp_path / "component", config, tmp_path / "first") as first:
        first.peer().close()
        launch = Path(tmp_path / "first" / "frame.json")
        second = launch.with_name("second.json")
        second.write_text(launch.read_text().replace("frame.sock", "second.sock"))
        # A parent of its own, which ends.
        script = "import subprocess as s, sys; print(s.Popen([sys.executable, '-m', 'modelyard.serving']).pid); input()"
        environ = {**os.environ, "MODELYARD_FRAME": str(second), "MODELYARD_FRAME_SECRET": "s"}
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [sys.executable, "-c", script], env=environ, stdin=pipe, stdout=pipe, text=True
        ) as parent:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            other = FrameProcess(
                first.process, f"unix://{tmp_path}/first/second.sock", tmp_path / "first/frame.log"
            )
            other.secret = "s"
            peer = other.peer()
            peer.loaded()
            parent.kill()
        assert is_closed(peer)
        peer.close()
        until = time.monotonic() + 15
        while psutil.pid_exists(pid) and time.monotonic() < until:
            time.sleep(0.05)
        assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("launch", "word"),
    [
        ({"listen": "carrier-pigeon"}, "neither"),
        ({"config": {"name": "m"}}, "config"),
        ({"component": None}, "TypeError"),
        ("[]", "frame.json"),
        ("{", "frame.json"),
    ],
)
def test_a_launch_that_is_none_is_said_and_ends(tmp_path: Path, launch: Any, word: str) -> None:
    config = python_component(tmp_path / "component", ECHO, **ECHOED)
    with frame(tmp_path / "component", config, tmp_path / "state") as running:
        running.peer().close()
    state = tmp_path / "state"
    plain = (state / "frame.json").read_text()
    if isinstance(launch, dict):
        launch = json.dumps({**json.loads(plain), **launch})
    (state / "frame.json").write_text(launch)
    environ = {**os.environ, "MODELYARD_FRAME": f"{state}/frame.json", "MODELYARD_FRAME_SECRET": "s"}
    ended = subprocess.run(
        [sys.executable, "-m", "modelyard.serving"], env=environ, capture_output=True, text=True
    )
    assert ended.returncode == 2 and word in ended.stderr and "Traceback" not in ended.stderr


def golden_of(values: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    """As a probe would have kept it."""
    inputs, buffers = tensors_of(values)
    metas, given = tensors_of(outputs)
    answer = Answer(metas, given)
    example = golden.example_of(Call("id", inputs, buffers), answer)
    return {**example, "digest": golden.digest_of(answer)}


def test_the_golden_output_is_compared_when_it_loads(tmp_path: Path) -> None:
    config = onnx_component(tmp_path / "component")
    config["outputs"] = config["outputs"][:1]
    values = {"x": np.ones((1, 4), np.float32)}
    right = np.array([[2.8, 3.2, 3.6]], np.float32)
    known = golden_of(values, {"y": right})
    with frame(tmp_path / "component", config, tmp_path / "same", golden=known) as running:
        peer = running.peer()
        assert peer.loaded()["golden_digest"] == known["digest"]
        peer.close()
    near = golden_of(values, {"y": right * np.float32(1.0005)})
    with frame(tmp_path / "component", config, tmp_path / "near", golden=near) as running:
        peer = running.peer()
        assert peer.loaded()["golden_digest"] == near["digest"]
        peer.close()
    wrong = golden_of(values, {"y": right * 1.01})
    with frame(tmp_path / "component", config, tmp_path / "wrong", golden=wrong) as running:
        peer = running.peer()
        header = peer.next().header
        assert (header["kind"], header["code"], header["field"]) == (
            "unloadable",
            "GOLDEN_DIFFERS",
            "outputs[y]",
        )
        assert "2.8" in header["message"]
        peer.close()


def test_the_golden_example_may_be_a_file(tmp_path: Path) -> None:
    config = onnx_component(tmp_path / "component")
    config["outputs"] = config["outputs"][:1]
    known = golden_of({"x": np.zeros((1, 4), np.float32)}, {"y": np.ones((1, 3), np.float32)})
    digest = known.pop("digest")
    (tmp_path / "example").write_text(json.dumps(known))
    more = {"golden": {"inputs": str(tmp_path / "example"), "digest": digest}}
    with frame(tmp_path / "component", config, tmp_path / "state", **more) as running:
        peer = running.peer()
        assert peer.loaded()["golden_digest"] == digest
        peer.close()


def test_an_example_warms_up_and_one_that_is_not_answered_is_a_warning(tmp_path: Path) -> None:
    config = onnx_component(tmp_path / "component")
    data = base64.b64encode(bytes(12)).decode()
    example = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": data}]}
    with frame(tmp_path / "component", config, tmp_path / "state", example=example) as running:
        peer = running.peer()
        [warning] = peer.loaded()["warnings"]
        assert "[1, 3]" in warning
        peer.close()


def test_a_frame_imports_nothing_of_the_service(tmp_path: Path) -> None:
    code = """
    import sys
    class Model:
        def predict(self) -> list:
            return sorted({*sys.modules, *(name.partition(".")[0] for name in sys.modules)})
    """
    config = python_component(
        tmp_path / "component", code, inputs=[], outputs=[tensor("result", "BYTES", [1], codec="json")]
    )
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (_, peer):
        names = set(json.loads(peer.answer({})["result"][0]))
        foreign = {
            "grpc",
            "google",
            "msgspec",
            "yaml",
            "psutil",
            "structlog",
            "modelyard.v1",
            "modelyard.models",
        }
        assert not names & foreign
        assert "numpy" in names


def test_its_secret_is_not_in_the_environment_of_its_code(tmp_path: Path) -> None:
    code = """
    import os
    class Model:
        def predict(self) -> list:
            return [name for name in os.environ if "SECRET" in name]
    """
    config = python_component(
        tmp_path / "component", code, inputs=[], outputs=[tensor("result", "BYTES", [1], codec="json")]
    )
    with loaded_frame(tmp_path / "component", config, tmp_path / "state") as (_, peer):
        assert peer.answer({})["result"].tolist() == [b"[]"]
