"""Who gets in, and what accounts see of each other: TLS, join tokens, certificates, secrets. Promise 8."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from modelyard.channel import connect
from modelyard.v1 import agent_link_pb2 as link
from modelyard.v1 import task_pb2, task_pb2_grpc
from modelyard.v1.agent_link_pb2_grpc import AgentLinkServiceStub
from tests.support.wait import wait_until_sync
from tests.support.yard import AGENT_PORT_OFFSET, Yard, new_yard
from tests.support.yard_process import environment


@pytest.fixture(scope="module")
def tls_yard() -> Iterator[Yard]:
    """A yard that listens beyond loopback, with one node of its own."""
    with new_yard(agents=1, host="0.0.0.0") as yard:
        yield yard


def join_line(yard: Yard, *words: str) -> str:
    """TOKEN.HASH@HOST:PORT as `yard nodes token` prints it, reached over loopback."""
    result = yard.cli("nodes", "token", *words)
    assert result.code == 0, result.stderr
    found = re.fullmatch(r"yard agent join (\S+)@(\S+):(\d+)\n", result.stdout)
    assert found is not None, result.stdout
    assert found[3] == str(yard.port)
    return f"{found[1]}@127.0.0.1:{yard.port}"


@contextlib.contextmanager
def joined(line: str, home: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """`yard agent join` on "another machine": a state directory of its own."""
    home.mkdir(exist_ok=True)
    with (home / "agent.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "agent", "join", line, "--name", name, "--cpu", "1", "--memory", "1Gi"],
            env=environment(home), cwd=home, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()


def refusal(line: str, home: Path, name: str) -> str:
    """What an agent says that is not let in; it must end by itself, with code 2."""
    with joined(line, home, name) as process:
        assert process.wait(30) == 2, (home / "agent.log").read_text()
    return (home / "agent.log").read_text()


def test_node_joins_with_the_printed_line_and_works(tls_yard: Yard, tmp_path: Path) -> None:
    line = join_line(tls_yard)
    with joined(line, tmp_path / "other", "guest"):
        wait_until_sync(
            lambda: "guest" in tls_yard.cli("nodes", "ls", "-o", "name").stdout,
            "the guest has joined",
            timeout_s=30,
            logs=[tmp_path / "other" / "agent.log"],
        )
        result = tls_yard.cli("run", "--node", "guest", "--", "sh", "-c", "echo $YARD_NODE")
        assert (result.code, result.stdout) == (0, "guest\n"), result.stderr
        assert tls_yard.cli("call", "--node", "guest", "echo", "--param", "value=1").stdout == "1\n"
        credentials = tmp_path / "other" / "agents" / "guest" / "credentials"
        for name in ("node.json", "node.pem"):
            assert stat.S_IMODE((credentials / name).stat().st_mode) & 0o077 == 0
        assert _peers(tls_yard.port + AGENT_PORT_OFFSET), (
            "no agent speaks on the port that wants certificates"
        )
        again = refusal(line, tmp_path / "second", "second")
        assert "join token" in again
        assert "yard nodes token" in again


def _peers(port: int) -> int:
    """Established connections to a local port."""
    lines = [
        line for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]
    ]
    return sum(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)


def test_wrong_and_expired_join_tokens_are_refused(tls_yard: Yard, tmp_path: Path) -> None:
    good = join_line(tls_yard)
    token, _, rest = good.partition(".")
    assert "refused" in refusal(f"{token[:-4]}AAAA.{rest}", tmp_path / "a", "wrong")
    expired = join_line(tls_yard, "--ttl", "1s")
    deadline = tmp_path / "clock"
    deadline.touch()
    import time

    wait_until_sync(lambda: time.time() > deadline.stat().st_mtime + 1.2, "the token has expired")
    assert "refused" in refusal(expired, tmp_path / "b", "late")
    bound = join_line(tls_yard, "--node", "named")
    assert "refused" in refusal(bound, tmp_path / "c", "other-name")


def test_join_line_with_a_foreign_authority_is_refused(tls_yard: Yard, tmp_path: Path) -> None:
    """The pinned hash is checked before any secret leaves."""
    line = join_line(tls_yard)
    token, at, address = line.rpartition("@")
    secret, _, _ = token.partition(".")
    with joined(f"{secret}.{'0' * 64}{at}{address}", tmp_path / "a", "fooled") as process:
        assert process.wait(30) not in (0, None)
    said = (tmp_path / "a" / "agent.log").read_text()
    assert "Traceback" not in said
    assert "authority" in said or "hash" in said
    with joined(line, tmp_path / "b", "honest"):
        wait_until_sync(
            lambda: "honest" in tls_yard.cli("nodes", "ls", "-o", "name").stdout,
            "it still works",
            timeout_s=30,
        )


@pytest.mark.asyncio
async def test_agent_port_wants_the_certificate_of_the_node(tls_yard: Yard, tmp_path: Path) -> None:
    """Neither no certificate nor a foreign one opens the stream; a token alone does not either."""
    credentials = tls_yard.state / "agents" / "node-1" / "credentials"
    token = json.loads((credentials / "node.json").read_text())["token"]
    ca_file = tls_yard.state / "tls" / "ca.pem"
    hello = link.ConnectRequest(hello=link.Hello(node="node-1", protocol_version=1, incarnation=10**6))
    cert, key = _foreign_certificate(tmp_path, "node-1")
    for port, extra in (
        (tls_yard.port + AGENT_PORT_OFFSET, {}),
        (tls_yard.port + AGENT_PORT_OFFSET, {"cert_file": cert, "key_file": key}),
        (tls_yard.port, {}),
    ):
        channel = connect(f"127.0.0.1:{port}", token=token, ca_file=ca_file, **extra)
        try:
            call = AgentLinkServiceStub(channel).Connect(timeout=5)
            with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)):
                await call.write(hello)
                answer = await call.read()
                pytest.fail(f"port {port} with {list(extra)} welcomed: {answer}")
        finally:
            await channel.close()
    assert tls_yard.json("nodes", "get", "node-1")["state"] == "NODE_STATE_READY"


def _foreign_certificate(place: Path, node: str) -> tuple[Path, Path]:
    """Of another authority, for the right name."""
    from services.chassis.process.tls import ensure_authority, make_request, sign_request

    authority = ensure_authority(place / "foreign")
    request, key = make_request(node)
    (place / "cert.pem").write_bytes(sign_request(authority, request, node))
    (place / "key.pem").write_bytes(key)
    return place / "cert.pem", place / "key.pem"


@pytest.mark.asyncio
async def test_plaintext_and_a_foreign_authority_are_refused(tls_yard: Yard, tmp_path: Path) -> None:
    token = (tls_yard.state / "secrets" / "admin.token").read_text().strip()
    _foreign_certificate(tmp_path, "x")
    foreign = tmp_path / "foreign" / "tls" / "ca.pem"
    for ca_file in (None, foreign):
        channel = connect(tls_yard.endpoint, token=token, ca_file=ca_file)
        try:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await task_pb2_grpc.TaskServiceStub(channel).ListTasks(task_pb2.ListTasksRequest(), timeout=5)
            assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        finally:
            await channel.close()
    context = ssl.create_default_context(cafile=str(tls_yard.state / "tls" / "ca.pem"))
    assert context.cert_store_stats()["x509_ca"] == 1


def test_secrets_are_for_their_owner_alone_and_loose_ones_stop_the_start() -> None:
    with new_yard(agents=1) as yard:
        for path in (yard.state / "secrets").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert stat.S_IMODE(yard.state.stat().st_mode) == 0o700
        assert yard.cli("down").code == 0
        admin = yard.state / "secrets" / "admin.token"
        admin.chmod(0o640)
        result = yard.up()
        assert result.code == 6
        assert f"chmod 600 {admin}" in result.stderr
        assert not yard.processes()
        refused = yard.cli("tasks", "ls")
        assert refused.code != 0
        assert "Traceback" not in refused.stderr


def account_token(yard: Yard, account: str) -> dict[str, str]:
    """What the environment of an account's user has."""
    yard.cli("accounts", "add", account)
    result = yard.cli("tokens", "add", "--account", account)
    assert result.code == 0, result.stderr
    return {"YARD_TOKEN": result.stdout.strip()}


def test_accounts_share_no_process_and_see_nothing_of_each_other(yard: Yard, tmp_path: Path) -> None:
    """Through the command line: tasks, logs, artefacts; and by the pids of warm workers."""
    ann, bob = account_token(yard, "ann"), account_token(yard, "bob")
    code = tmp_path / "code"
    code.mkdir()
    (code / "who.py").write_text("import os\n\n\ndef pid() -> int:\n    return os.getpid()\n")
    words = ("call", "who:pid", "--dir", str(code), "--cpu", "0.1", "--node", "node-1")
    pids: dict[str, set[str]] = {"ann": set(), "bob": set()}
    for _ in range(3):
        for name, token in (("ann", ann), ("bob", bob)):
            result = yard.cli(*words, extra=token)
            assert result.code == 0, result.stderr
            pids[name].add(result.stdout.strip())
    assert not pids["ann"] & pids["bob"]
    task_id = yard.cli("run", "-d", "--cpu", "0.1", "--", "echo", "secret of ann", extra=ann).stdout.strip()
    assert yard.cli("tasks", "wait", task_id, extra=ann).code == 0
    (tmp_path / "secret.txt").write_text("secret of ann")
    digest = yard.cli("artifacts", "put", str(tmp_path / "secret.txt"), extra=ann).stdout.strip()
    for attempt in (
        ("tasks", "get", task_id),
        ("tasks", "logs", task_id),
        ("tasks", "cancel", task_id),
        ("tasks", "wait", task_id),
        ("tasks", "explain", task_id),
        ("tasks", "retry", task_id),
        ("artifacts", "get", digest),
        ("artifacts", "rm", digest),
        ("run", "--input", f"x=sha256:{digest}", "--", "true"),
    ):
        result = yard.cli(*attempt, extra=bob)
        assert result.code in (3, 4, 7), (attempt, result)
        assert "secret of ann" not in result.stdout + result.stderr
    assert task_id not in yard.cli("tasks", "ls", extra=bob).stdout.split()
    assert digest[7:19] not in yard.cli("artifacts", "ls", extra=bob).stdout
    assert yard.cli("artifacts", "get", digest, extra=ann).stdout == "secret of ann"
    for admin_only in (
        ("accounts", "ls"),
        ("nodes", "token"),
        ("nodes", "drain", "node-1"),
        ("tokens", "ls", "--account", "ann"),
    ):
        assert yard.cli(*admin_only, extra=bob).code == 4, admin_only


def test_revoked_token_is_refused_at_once(yard: Yard) -> None:
    token = account_token(yard, "carol")
    assert yard.cli("accounts", "whoami", extra=token).code == 0
    listed = yard.json("tokens", "ls", "--account", "carol")["tokens"]
    assert yard.cli("tokens", "rm", listed[0]["id"]).code == 0
    result = yard.cli("accounts", "whoami", extra=token)
    assert (result.code, result.stdout) == (4, "")
    assert "next:" in result.stderr


def test_task_gets_no_secret_of_the_yard(yard: Yard) -> None:
    """A command's environment holds its own token alone, and that may not act for the account."""
    result = yard.cli("run", "--cpu", "0.1", "--", "env")
    secrets = [path.read_text().strip() for path in (yard.state / "secrets").iterdir()]
    assert not [secret for secret in secrets if secret in result.stdout]
    token = re.search(r"^YARD_TASK_TOKEN=(\S+)$", result.stdout, re.MULTILINE)
    assert token is not None
    assert yard.cli("tasks", "ls", extra={"YARD_TOKEN": token[1]}).code == 4
    logs = "".join(path.read_text(errors="replace") for path in yard.state.glob("logs/*.log"))
    assert not [secret for secret in (*secrets, token[1]) if secret in logs]
    assert os.environ.get("YARD_TOKEN") is None
