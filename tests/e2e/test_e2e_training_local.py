"""`yard train run --local`: the same files with no yard, and nothing is left however it ends (G7)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.wait import wait_until_sync

ROOT = Path(__file__).parents[2]
SERVED = """kind: Framework
id: served
roles:
  server:
    count: 1
    service: {ports: {rpc: auto}}
    functions:
      create: {argv: [python, -c, "import os, socket, time; s = socket.create_server(('', int(os.environ['YARD_PORT_RPC']))); print('serves', flush=True); time.sleep(600)"]}
      ready: {until: listening, port: rpc}
      status: {endless: true}
  client:
    count: {default: 2}
    functions:
      create: {env: {SERVER: "${roles.server[0].host}", PORT: "${roles.server[0].port.rpc}"}}
      depend: [{role: server, timeout: 1m}]
      restart: {when: [exit], scope: instance, max: 1, backoff: [10ms, 10ms]}
job_status: {succeeded: client}
---
kind: Job
framework: served
name: asking
queue: nobody-made-it
resources: {cpu: 3}
placement: {labels: {zone: somewhere}}
roles:
  client:
    argv: [sh, -c, "echo asks $YARD_INDEX; python -c \\"import os, socket; socket.create_connection((os.environ['SERVER'], int(os.environ['PORT'])))\\" && cat given.txt && { test -e tried || { touch tried; exit 7; }; } && echo result > kept.txt"]
    clean: {keep: [kept.txt]}
"""  # noqa: E501
PLAIN = "kind: Job\nframework: plain\nargv: [sh, -c, '{}']\nresources: {{cpu: 0.1}}\n"


class Local:
    """Runs of the command, each with a place for temporary directories of its own."""

    def __init__(self, tmp: Path, room: Path) -> None:
        self.tmp = tmp
        self.room = room

    def start(self, text: str, *words: str) -> subprocess.Popen[str]:
        file = self.room / "job.yaml"
        file.write_text(text)
        environ = {key: value for key, value in os.environ.items() if not key.startswith("YARD_")}
        return subprocess.Popen(
            [sys.executable, "-m", "cli", "train", "run", "--local", str(file), *words], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**environ, "TMPDIR": str(self.tmp)},
        )  # fmt: skip

    def run(self, text: str, *words: str) -> tuple[int, str, str]:
        with self.start(text, *words) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def left(self) -> list[str]:
        """Directories and processes of yards that were made for a job."""
        found = [path.name for path in self.tmp.glob("yard-local-*")]
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_text() + (path / "environ").read_text()
            except OSError:
                continue
            if f"{self.tmp}/yard-local-" in words:
                found.append(f"process {path.name}")
        return found


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    with tempfile.TemporaryDirectory(prefix="yl-") as tmp:
        made = Local(Path(tmp), tmp_path)
        yield made
        wait_until_sync(lambda: not made.left(), "nothing is left", timeout_s=60, state=made.left)


def test_local_job_keeps_order_ports_restarts_and_what_is_to_be_kept(local: Local) -> None:
    # G7, S3.5–S3.10
    (local.room / "code").mkdir()
    (local.room / "code" / "given.txt").write_text("given\n")
    into = local.room / "into"
    code, _, err = local.run(SERVED, "--data", f"sha256:{'0' * 64}:given.txt")
    assert code == 2 and "yard artifacts get" in err, "no store has it"
    data = str(local.room / "code" / "given.txt")
    code, out, err = local.run(SERVED, "--data", data, "--into", str(into))
    assert code == 0, err
    assert not local.left()
    # Each has one restart, for the exit code 7: nobody asked before the server listened.
    lines = out.splitlines()
    assert lines.count("client-0 | given") == lines.count("client-1 | given") == 2
    assert (into / "server-0" / "stdout").read_text() == "serves\n"
    assert (into / "client-0" / "kept.txt").read_text() == "result\n"
    assert (into / "client-1" / "stdout").read_text() == "asks 1\ngiven\n" * 2
    assert "succeeded: client" in err


def test_local_job_that_fails_says_so_by_its_exit_code(local: Local) -> None:
    # G7, S3.9
    code, out, err = local.run(PLAIN.format("echo last words; exit 3"))
    assert (code, "worker-0 | last words" in out) == (1, True)
    assert "failed" in err


def test_wrong_file_starts_nothing(local: Local) -> None:
    code, _, err = local.run("kind: Job\nframework: plian\nargv: [x]\n")
    assert code == 7
    assert "did you mean 'plain'?" in err
    assert local.run(PLAIN.format("true"), "--detach")[0] == 2


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_end_of_the_command_is_the_end_of_everything(local: Local, number: int, code: int) -> None:
    # G7, I5
    with local.start(PLAIN.format("echo up; sleep 600")) as process:
        assert process.stdout is not None
        assert next(line for line in process.stdout if "up" in line)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == code
