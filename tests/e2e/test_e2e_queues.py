"""Queues and quotas as users see them: set on the command line, obeyed by two nodes, told by explain."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from modelyard.client.specs import command_spec
from tests.support import grpcurl
from tests.support.wait import wait_until_sync
from tests.support.yard import Yard

ENDED = {"TASK_STATE_SUCCEEDED", "TASK_STATE_FAILED", "TASK_STATE_CANCELLED"}


def submit(yard: Yard, *words: str) -> str:
    """Submits a command in the background; its id."""
    result = yard.cli("run", "--detach", "-o", "name", *words)
    assert result.code == 0, result.stderr
    return result.stdout.strip()


def state(yard: Yard, task_id: str) -> str:
    return str(yard.json("tasks", "get", task_id)["state"])


def gates(yard: Yard, task_id: str) -> list[str]:
    return [gate["reason"] for gate in yard.json("tasks", "explain", task_id).get("gates", [])]


def test_queue_is_made_used_stopped_started_and_removed(yard: Yard) -> None:
    assert yard.cli("queues", "add", "night", "--limit", "cpu=0.1", "--max-running", "1").code == 0
    first = submit(yard, "--queue", "night", "--cpu", "0.1", "--", "sleep", "60")
    second = submit(yard, "--queue", "night", "--cpu", "0.1", "--", "true")
    wait_until_sync(lambda: state(yard, first) == "TASK_STATE_RUNNING", "the first runs")
    assert gates(yard, second) == ["QUEUE_QUOTA"]
    shown = yard.json("queues", "get", "night")
    assert (shown["usage"]["runningCount"], shown["waitingCount"]) == (1, "1")
    assert [task["id"] for task in yard.json("tasks", "ls", "--queue", "night")["tasks"]] == [second, first]
    refused = yard.cli("queues", "rm", "night", "--yes")
    assert refused.code == 6 and "2 unfinished tasks" in refused.stderr
    yard.cli("queues", "stop", "night")
    yard.cli("tasks", "cancel", first)
    wait_until_sync(lambda: state(yard, first) in ENDED, "the first has ended")
    assert gates(yard, second) == ["QUEUE_STOPPED"]
    yard.cli("queues", "start", "night")
    assert yard.cli("tasks", "wait", second).code == 0
    assert yard.cli("queues", "rm", "night", "--yes").code == 0
    missing = yard.cli("run", "--queue", "night", "--", "true")
    assert missing.code == 3 and "no queue 'night'" in missing.stderr


def test_bad_input_is_refused_with_what_to_do(yard: Yard) -> None:
    for words, code, hint in (
        (("run", "--queue", "defualt", "--", "true"), 3, "did you mean default?"),
        (("queues", "add", "no/slash"), 7, "beginning with a letter"),
        (("queues", "set", "default"), 2, "--weight"),
        (("queues", "set", "default", "--limit", "cpu"), 2, "key=value"),
        (("queues", "rm", "default", "--yes"), 6, "yard queues stop default"),
        (("quotas", "set", "nobody", "--weight", "2"), 3, "yard accounts ls"),
        (("quotas", "set", "default", "--weight", "-1"), 7, "account.weight"),
        (("run", "--cap", "licence", "--", "true"), 2, "key=value"),
    ):
        result = yard.cli(*words)
        assert result.code == code and hint in result.stderr, (words, result)


def test_quota_of_an_account_and_a_cap_hold_over_its_tasks(yard: Yard, tmp_path: Path) -> None:
    yard.json("accounts", "add", "eve")
    token = yard.json("tokens", "add", "--account", "eve")["secret"]
    extra = {"YARD_TOKEN": token}
    assert yard.cli("quotas", "set", "eve", "--max-unfinished", "3", "--limit", "cpu=8").code == 0
    own = json.loads(yard.cli("quotas", "get", "-o", "json", extra=extra).stdout)
    assert (own["name"], own["quota"]["maxUnfinished"]) == ("eve", 3)
    assert yard.cli("quotas", "set", "eve", "--weight", "9", extra=extra).code == 4
    words = ("run", "--detach", "--cpu", "0.1", "--cap", "licence=1", "--", "sleep", "60")
    for _ in range(3):
        assert yard.cli(*words, extra=extra).code == 0
    refused = yard.cli(*words, extra=extra)
    assert refused.code == 6 and "3 unfinished tasks" in refused.stderr
    listed = json.loads(yard.cli("tasks", "ls", "-o", "json", extra=extra).stdout)["tasks"]
    states = Counter(task["state"] for task in listed)
    assert states["TASK_STATE_QUEUED"] == 2
    waiting = next(task["id"] for task in listed if task["state"] == "TASK_STATE_QUEUED")
    assert gates(yard, waiting) == ["CONCURRENCY_CAP"]
    seen = json.loads(yard.cli("queues", "get", "default", "-o", "json", extra=extra).stdout)
    assert [share["account"] for share in seen["shares"]] == ["eve"]
    yard.cli("tasks", "cancel", *(task["id"] for task in listed), extra=extra)


@pytest.mark.asyncio
async def test_two_accounts_share_two_nodes_by_weight_and_a_restart_keeps_it(own_yard: Yard) -> None:
    yard = own_yard
    total = sum(node["capacity"]["cpu"] for node in yard.json("nodes", "ls")["nodes"])
    secrets = {}
    for name, weight in (("ann", "1"), ("bob", "3")):
        yard.json("accounts", "add", name)
        secrets[name] = yard.json("tokens", "add", "--account", name)["secret"]
        yard.json("quotas", "set", name, "--weight", weight)
    yard.cli("queues", "stop", "default")
    spec = command_spec(["sleep", "60"], {"cpu": total / 8})
    for secret in secrets.values():
        async with yard.client(token=secret) as client:
            await client.tasks.submit(*[spec] * 8)
    old = yard.kill("scheduler")
    yard.wait_for("scheduler", not_pid=old)
    yard.cli("queues", "start", "default")
    counted: dict[str, Any] = {}

    def shared() -> bool:
        shares = yard.json("queues", "get", "default").get("shares", [])
        counted.update({share["account"]: int(share.get("waitingCount", 0)) for share in shares})
        return sum(counted.values()) <= 8 and len(counted) == 2

    wait_until_sync(shared, "eight of sixteen run")
    assert counted == {"ann": 6, "bob": 2}
    for task in yard.json("tasks", "ls", "--all-accounts")["tasks"]:
        yard.cli("tasks", "cancel", task["id"])


def test_grpcurl_makes_shows_and_deletes_a_queue(yard: Yard) -> None:
    program = grpcurl.program()
    token = (yard.state / "secrets" / "admin.token").read_text().strip()

    def call(method: str, request: dict[str, Any]) -> tuple[int, str]:
        done = subprocess.run(
            [program, "-plaintext", "-H", f"authorization: Bearer {token}", "-d", json.dumps(request),
             yard.endpoint, f"modelyard.v1.QueueService/{method}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout or done.stderr

    queue = {"name": "byhand", "weight": 2, "quota": {"limit": {"amounts": {"cpu": 1}}}}
    code, text = call("CreateQueue", {"queue": queue})
    assert code == 0 and json.loads(text)["queue"]["quota"]["limit"]["amounts"] == {"cpu": 1}
    code, text = call(
        "UpdateQueue", {"queue": {"name": "byhand"}, "updateMask": {"paths": ["is_stopped", "weight"]}}
    )
    assert code == 0, text
    assert json.loads(text)["queue"]["weight"] == 1
    code, text = call("ListQueues", {})
    assert code == 0 and {queue["name"] for queue in json.loads(text)["queues"]} >= {"byhand", "default"}
    code, text = call("DeleteQueue", {"name": "default"})
    assert code != 0 and "QUEUE_IS_DEFAULT" in text
    assert call("DeleteQueue", {"name": "byhand"})[0] == 0
