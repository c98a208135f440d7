"""What a process that sends may do: the guard in a real interpreter, against everything that goes around it (S0.8)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.yard import ROOT

INSTALL = """
import _socket, os, socket, ssl, subprocess, sys
from services.scheduler.notify.guard import Guard, parse_networks, readable_roots
Guard(parse_networks("{allow}"), readable_roots()).install()
"""


def run(code: str, allow: str = "") -> str:
    """The last line that a guarded interpreter says."""
    done = subprocess.run(
        [sys.executable, "-P", "-B", "-c", INSTALL.format(allow=allow) + code],
        capture_output=True, text=True, timeout=30, check=False, cwd="/", env={"PYTHONPATH": str(ROOT), "HOME": "/x"},
    )  # fmt: skip
    return (done.stdout + done.stderr).strip().splitlines()[-1]


@pytest.mark.parametrize(
    "code",
    [
        "socket.create_connection(('127.0.0.1', 9), 1)",
        "socket.create_connection(('localhost', 9), 1)",
        "_socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect(('127.0.0.1', 9))",
        "socket.socket().connect_ex(('10.0.0.1', 9))",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('169.254.169.254', 80))",
        "socket.socket(socket.AF_INET6).connect(('::ffff:127.0.0.1', 9))",
        "socket.socket(socket.AF_UNIX).connect('/run/docker.sock')",
        "ssl.create_default_context().wrap_socket(socket.socket(), server_hostname='h').connect(('192.168.0.1', 443))",
        "open('/etc/passwd').read()",
        "os.open('/etc/hostname', os.O_RDONLY)",
        "open('/tmp/yard-guard-test', 'w')",
        "subprocess.run(['true'])",
        "os.system('true')",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
    ],
)
def test_guarded_process_is_refused(code: str) -> None:  # S0.8
    assert "Refused: " in run(code)


def test_name_that_changes_its_address_after_a_look_is_refused_when_connecting() -> None:  # S0.8
    rebinding = """
answers = iter(["93.184.215.14", "127.0.0.1"])
socket.getaddrinfo = lambda *a, **k: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), 9))]
assert socket.getaddrinfo("rebind.example.org", 9)[0][4][0] == "93.184.215.14"
socket.create_connection(("rebind.example.org", 9), 1)
"""
    assert "127.0.0.1 is a loopback address" in run(rebinding)


def test_allowed_network_is_reached_and_the_rest_is_not() -> None:  # S0.8
    listen = "s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname(), 1)"
    listen += "; print('reached')"
    assert run(listen, "127.0.0.0/8") == "reached"
    assert "Refused" in run("socket.create_connection(('10.0.0.1', 9), 1)", "127.0.0.0/8")


def test_what_it_needs_may_be_read(tmp_path: Path) -> None:
    assert run("import http.client, email.mime.image, mimetypes; mimetypes.init(); print('read')") == "read"
    secret = tmp_path / "admin.token"
    secret.write_text("yard_admin_x")
    assert "must not read admin.token" in run(f"open({str(secret)!r})")
