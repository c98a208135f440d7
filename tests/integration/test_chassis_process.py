"""The life of a service as a real process: start, refusals, stop."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.channel import connect
from tests.support.echo_service import USER_TOKEN, call_one
from tests.support.wait import wait_until_sync


class Started:
    """One echo service; `output` is its log."""

    def __init__(self, output: Path, state: Path, *flags: str) -> None:
        self.state = state
        self.output = output
        command = [sys.executable, "-m", "tests.support.echo_service", "--state", str(state), *flags]
        with output.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)

    @property
    def ready_file(self) -> Path:
        return self.state / "run" / "echo.json"

    def address(self) -> str:
        """Wait until it serves."""
        wait_until_sync(self.ready_file.exists, "the service serves", timeout_s=20, logs=[self.output])
        return str(json.loads(self.ready_file.read_text())["address"])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(5)  # the promise: SIGTERM ends it within 5 s

    def text(self) -> str:
        return self.output.read_text()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[type[Started]]:
    started: list[Started] = []

    class Kept(Started):
        def __init__(self, *flags: str, state: Path | None = None, output: Path | None = None) -> None:
            own = tmp_path / f"{len(started)}.log"
            super().__init__(output or own, state or tmp_path / "state", *flags)
            started.append(self)

    yield Kept
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()


def refused(service: Started) -> str:
    """The one line that a service which refuses to start leaves."""
    assert service.process.wait(20) == 2, service.text()
    assert service.text().count("\n") == 1, service.text()
    return service.text()


def test_process_serves_until_sigterm_and_removes_its_ready_file(start: type[Started]) -> None:
    service = start()
    assert service.address().startswith("127.0.0.1:")
    ready = json.loads(service.ready_file.read_text())
    assert (ready["name"], ready["pid"]) == ("echo", service.process.pid)
    assert service.stop() == 0
    assert not service.ready_file.exists()


def test_process_ends_on_ctrl_c(start: type[Started]) -> None:
    service = start()
    service.address()
    assert service.stop(signal.SIGINT) == 0
    assert "Traceback" not in service.text()


@pytest.mark.asyncio
async def test_process_with_an_open_stream_ends_in_time(start: type[Started]) -> None:
    service = start()
    async with connect(service.address(), token=USER_TOKEN) as channel:
        call = call_one(channel, "hang")
        waiting = asyncio.ensure_future(call)
        await call_one(channel, "a")
        assert service.stop() == 0
        await asyncio.wait([waiting])
        assert waiting.exception() is not None


@pytest.mark.asyncio
async def test_log_has_one_line_per_rpc_and_no_secret(start: type[Started]) -> None:
    service = start()
    async with connect(service.address(), token=USER_TOKEN) as channel:
        await call_one(channel, "payload-of-the-caller")
        for text in ("refuse", "crash"):
            with pytest.raises(Exception, match=r"echo|mistake"):
                await call_one(channel, text)
    service.stop()
    lines = [json.loads(line) for line in service.text().splitlines()]
    calls = [line for line in lines if line["event"] == "rpc"]
    assert [(line["code"], line["reason"]) for line in calls] == [
        ("OK", ""),
        ("NOT_FOUND", "ECHO_NOT_FOUND"),
        ("INTERNAL", "INTERNAL"),
    ]
    for line in calls:
        assert line["rpc"] == "/test.Echo/One"
        assert (line["role"], line["account"]) == ("user", "alice")
        assert line["duration_ms"] > 0
        assert line["request_id"]
    [crash] = [line for line in lines if line["event"] == "rpc_crashed"]
    assert "LookupError" in crash["exception"]
    assert crash["request_id"] == calls[2]["request_id"]
    assert "payload-of-the-caller" not in service.text()
    assert not re.search(r"yard_user_[a-zA-Z]{16}", service.text())
    assert "yard_***" in crash["exception"]


@pytest.mark.asyncio
async def test_log_on_a_full_disk_does_not_fail_the_calls(start: type[Started]) -> None:
    """Every write to /dev/full fails as on a full disk."""
    service = start(output=Path("/dev/full"))
    async with connect(service.address(), token=USER_TOKEN) as channel:
        for _ in range(100):
            assert (await call_one(channel, "a")).value == "a"


def test_port_taken_is_refused_with_the_flag_that_changes_it(start: type[Started]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(start("--port", str(port)))
    assert f"port {port} of 127.0.0.1 is taken" in line
    assert "--port" in line


def test_address_of_another_machine_is_refused(start: type[Started]) -> None:
    line = refused(start("--host", "192.0.2.1", "--tls"))
    assert "cannot listen on 192.0.2.1" in line
    assert "--host" in line


def test_second_process_on_one_state_directory_is_refused_with_the_holder(start: type[Started]) -> None:
    first = start()
    first.address()
    line = refused(start())
    assert f"pid {first.process.pid}" in line
    assert "--state" in line
    assert first.stop() == 0


def test_killed_process_leaves_nothing_that_hinders_the_next(start: type[Started]) -> None:
    first = start()
    first.address()
    first.process.kill()
    first.process.wait()
    first.ready_file.unlink()
    second = start()
    second.address()
    assert second.stop() == 0


def test_state_directory_that_cannot_be_written_is_refused(start: type[Started]) -> None:
    """Nobody, not even root, makes directories in sysfs."""
    line = refused(start(state=Path("/sys/modelyard")))
    assert "cannot use the state directory /sys/modelyard" in line


def test_other_address_without_tls_is_refused(start: type[Started]) -> None:
    line = refused(start("--host", "0.0.0.0"))
    assert "without TLS" in line
    assert "--tls" in line


def test_unknown_option_is_refused_with_the_nearest(start: type[Started]) -> None:
    assert "did you mean --log-level?" in refused(start("--log-levle", "debug"))


def test_crashed_loop_stops_the_process_with_its_reason(start: type[Started]) -> None:
    service = start("--misbehave", "crash_loop")
    assert service.process.wait(20) == 1
    assert "the loop fell" in service.text()
    assert not service.ready_file.exists()


def test_exception_while_opening_ends_the_process(start: type[Started]) -> None:
    service = start("--misbehave", "crash_open")
    assert service.process.wait(20) == 1
    assert "cannot open" in service.text()


@pytest.mark.parametrize(("kind", "code"), [("hang_drain", 0), ("hang_close", 1)])
def test_service_that_hangs_while_stopping_still_ends_in_time(
    start: type[Started], kind: str, code: int
) -> None:
    service = start("--misbehave", kind)
    service.address()
    assert service.stop() == code
    assert "timed_out" in service.text()


def test_sigterm_while_opening_ends_the_process(start: type[Started]) -> None:
    service = start("--misbehave", "hang_open")
    lock = service.state / "run" / "echo.lock"
    wait_until_sync(lambda: lock.exists() and lock.read_text(), "the state is locked", logs=[service.output])
    assert service.stop() == 0


@pytest.mark.asyncio
async def test_tls_serves_clients_that_pin_the_authority(start: type[Started]) -> None:
    service = start("--tls")
    address = service.address()
    async with connect(address, token=USER_TOKEN, ca_file=service.state / "tls" / "ca.pem") as channel:
        assert (await call_one(channel, "who")).value == "user/alice/"
    for name in ("secrets/ca.key", "tls/server.key"):
        assert (service.state / name).stat().st_mode & 0o077 == 0


def test_metrics_are_served_on_loopback_when_asked_for(start: type[Started]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    service = start("--metrics-port", str(port))
    service.address()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert b"rpc_server_call_duration_seconds" in answer.read()
    assert service.stop() == 0
