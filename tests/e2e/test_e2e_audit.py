"""The audit log of a real yard: who, what, which resource, result; on disk before the answer; no secrets."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from tests.support import grpcurl
from tests.support.wait import wait_until_sync
from tests.support.yard import Yard


def on_disk(state: Path, service: str) -> list[tuple[Any, ...]]:
    """(rpc, role, account, resources, code), whatever the service thinks."""
    connection = sqlite3.connect(f"file:{state / service / 'audit.db'}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT rpc, role, account, resources, code FROM entry").fetchall()
    finally:
        connection.close()


def test_changes_are_on_disk_before_their_answer_and_refusals_soon(yard: Yard) -> None:
    assert yard.cli("accounts", "add", "ada").code == 0
    assert ("AccountService/CreateAccount", "admin", "default", "accounts/ada", "OK") in on_disk(
        yard.state, "scheduler"
    )
    secret = yard.cli("tokens", "add", "--account", "ada").stdout.strip()
    refused = yard.cli("nodes", "cordon", "node-1", extra={"YARD_TOKEN": secret})
    assert refused.code == 4
    entry = ("NodeService/CordonNode", "user", "ada", "nodes/node-1", "PERMISSION_DENIED")
    wait_until_sync(lambda: entry in on_disk(yard.state, "scheduler"), "the refusal in the audit log")
    assert yard.cli("audit", "ls", extra={"YARD_TOKEN": secret}).code == 4
    for file in (yard.state / "scheduler").glob("audit.db*"):
        assert secret.encode() not in file.read_bytes()


def test_both_services_are_listed_newest_first_with_filters(yard: Yard) -> None:
    file = yard.state / "hello.txt"
    file.write_text("hello")
    digest = yard.cli("artifacts", "put", str(file)).stdout.strip()
    task_id = yard.cli("run", "--detach", "--param", 'password="hunter2"', "--", "true").stdout.strip()
    assert yard.cli("call", "echo", "--param", "value=1").code == 0
    shown = yard.json("audit", "ls")["entries"]
    times = [entry["time"] for entry in shown]
    assert times == sorted(times, reverse=True)
    rpcs = {(entry["service"], entry["rpc"]) for entry in shown}
    assert {("store", "ArtifactService/PutArtifact"), ("scheduler", "TaskService/SubmitTasks")} <= rpcs
    [put] = yard.json("audit", "ls", "--resource", digest)["entries"]
    assert put["peer"] and put["callId"] and put["tokenId"]
    [submit] = yard.json("audit", "ls", "--resource", f"tasks/{task_id}")["entries"]
    assert submit["requestId"]
    assert yard.json("audit", "ls", "--account", "nobody") == {}
    assert yard.json("audit", "ls", "--since", "2999-01-01T00:00:00Z") == {}
    wrong = yard.cli("audit", "ls", "--since", "yesterday")
    assert (wrong.code, "write for example" in wrong.stderr) == (2, True)
    assert "hunter2" not in json.dumps(shown)
    first = yard.json("audit", "ls", "--service", "scheduler", "--page-size", "1")
    second = yard.json(
        "audit", "ls", "--service", "scheduler", "--page-size", "1", "--page-token", first["nextPageToken"]
    )
    assert int(second["entries"][0]["number"]) < int(first["entries"][0]["number"])


def test_grpcurl_lists_the_audit_log_of_each_service(yard: Yard) -> None:
    program = grpcurl.program()
    token = (yard.state / "secrets" / "admin.token").read_text().strip()
    for address in (yard.endpoint, yard.store):
        done = subprocess.run(
            [program, "-plaintext", "-H", f"authorization: Bearer {token}", "-d", '{"page_size": 3}', address,
             "modelyard.v1.AuditService/ListAuditEntries"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "entries" in json.loads(done.stdout) or address == yard.store
