"""Order, limits, retries, delivery and changes of many tasks as a user sees them: command line and grpcurl."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support import grpcurl
from tests.support.wait import wait_until_sync
from tests.support.yard import Yard

TASKS = "modelyard.v1.TaskService"


def run(yard: Yard, *words: str) -> str:
    """`yard run --detach`; the id of its task."""
    done = yard.cli("run", "--detach", "-o", "json", *words)
    assert done.code == 0, done.stderr
    return str(json.loads(done.stdout)["taskId"])


def get(yard: Yard, task_id: str) -> dict[str, Any]:
    found: dict[str, Any] = yard.json("tasks", "get", task_id)
    return found


def ended(yard: Yard, task_id: str) -> dict[str, Any]:
    yard.cli("tasks", "wait", task_id)
    return get(yard, task_id)


def indexes(yard: Yard, array: str, state: str) -> list[int]:
    listed = yard.json("tasks", "ls", "--array", array, "--in", state)
    return sorted(int(task["id"].partition(".")[2]) for task in listed.get("tasks", []))


def call(yard: Yard, method: str, message: dict[str, Any], *, code: int = 0) -> Any:
    """The real grpcurl."""
    program = grpcurl.program()
    token = (yard.state / "secrets" / "admin.token").read_text().strip()
    command = [
        program,
        "-plaintext",
        "-H",
        f"authorization: Bearer {token}",
        "-d",
        "@",
        yard.endpoint,
        method,
    ]
    done = subprocess.run(
        command, input=json.dumps(message), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode == 0) == (code == 0), done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def test_task_starts_after_another_and_ends_with_it(yard: Yard) -> None:
    first = run(yard, "--hold", "--", "true")
    second = run(yard, "--after", first, "--", "true")
    never = run(yard, "--after-failed", first, "--", "true")
    detail = get(yard, second)["detail"]
    assert (detail["reason"], detail["message"]) == (
        "WAITING_FOR_DEPENDENCY",
        f"{first} has not succeeded yet",
    )
    assert f"{first} has not succeeded yet" in yard.cli("tasks", "explain", second).stdout
    yard.cli("tasks", "release", first)
    assert ended(yard, second)["state"] == "TASK_STATE_SUCCEEDED"
    task = ended(yard, never)
    assert (task["state"], task["error"]["cause"]) == ("TASK_STATE_CANCELLED", "TASK_CAUSE_DEPENDENCY")
    refused = yard.cli("run", "--detach", "--after", "t-999", "--", "true")
    assert refused.code == 3
    assert "dependencies[0].task_id" in refused.stderr


def test_order_of_one_submission_by_grpcurl(yard: Yard) -> None:
    true = {"command": {"argv": ["true"]}}
    answer = call(
        yard,
        f"{TASKS}/SubmitTasks",
        {"specs": [{"command": {"argv": ["false"]}}, {**true, "dependencies": [{"item_index": 0}]}]},
    )
    first, second = answer.get("taskIds") or answer["task_ids"]
    task = ended(yard, second)
    assert task["error"]["message"] == f"{first} failed; it was to succeed first"
    assert task["spec"]["dependencies"][0]["taskId"] == first
    later = call(
        yard, f"{TASKS}/SubmitTasks", {"specs": [{**true, "dependencies": [{"item_index": 0}]}]}, code=1
    )
    assert "specs[0].dependencies[0].item_index" in later


def test_elements_follow_their_counterparts_and_failed_ones_are_retried_with_their_index(yard: Yard) -> None:
    first = run(yard, "--array", "4", "--", "sh", "-c", "test $YARD_ARRAY_INDEX -lt 2 -o -e /dev/null/x")
    second = run(yard, "--array", "4", "--after", first, "--elementwise", "--", "true")
    assert ended(yard, second)["state"] == "TASK_STATE_FAILED"
    assert indexes(yard, second, "succeeded") == [0, 1]
    assert indexes(yard, second, "cancelled") == [2, 3]
    again_first, again_second = yard.json("tasks", "retry", first, second, "--failed")["taskIds"]
    task = ended(yard, again_second)
    assert task["spec"]["arrayIndexes"] == "2-3"
    assert task["spec"]["dependencies"][0]["taskId"] == again_first
    assert indexes(yard, again_first, "failed") == [2, 3]
    (one,) = yard.json("tasks", "retry", f"{first}.3")["taskIds"]
    assert one.endswith(".3")
    assert ended(yard, one)["state"] == "TASK_STATE_FAILED"


def test_array_runs_no_more_elements_than_asked_and_gives_up_after_its_failures(yard: Yard) -> None:
    array = run(yard, "--array", "6", "--max-running", "1", "--max-fails", "1", "--", "false")
    task = ended(yard, array)
    assert task["state"] == "TASK_STATE_FAILED"
    assert task["array"] == {"size": 6, "failedCount": 2, "cancelledCount": 4}
    assert "more than 1 elements failed" in task["error"]["message"]


def test_filter_changes_many_tasks_or_none(yard: Yard) -> None:
    ids = [run(yard, "--hold", "--tag", "team=vision", "--", "true") for _ in range(2)]
    foreseen = yard.json("tasks", "modify", "--filter-label", "team=vision", "--priority", "5", "--dry-run")
    assert [task["taskId"] for task in foreseen["tasks"]] == ids
    assert "priority" not in get(yard, ids[0])["spec"]
    table = yard.cli("tasks", "modify", "--filter-label", "team=vision", "--priority", "5").stdout
    assert [line.split()[:3] for line in table.splitlines()[1:]] == [
        [task_id, "priority", "applied"] for task_id in ids
    ]
    assert get(yard, ids[1])["spec"]["priority"] == 5
    answer = call(
        yard,
        f"{TASKS}/ModifyTasks",
        {"filter": {"labels": {"team": "vision"}}, "changes": {"labels": {"team": ""}}},
    )
    assert len(answer["tasks"]) == 2
    assert yard.cli("tasks", "modify", "--priority", "5").code == 2
    assert yard.cli("tasks", "cancel", *ids).code == 0


def test_token_of_an_attempt_that_is_over_keeps_nothing(yard: Yard, tmp_path: Path) -> None:
    script = 'printf %s "$YARD_TASK_TOKEN" > token'
    task = ended(yard, run(yard, "--keep", "token", "--", "sh", "-c", script))
    digest = task["result"]["outputs"][0]["digest"]
    token = tmp_path / "token"
    assert yard.cli("artifacts", "get", digest, str(token)).code == 0
    assert token.read_text().startswith("yard_task_")
    token.chmod(0o600)
    (tmp_path / "late").write_text("written too late")
    refused = yard.cli("artifacts", "put", str(tmp_path / "late"), "--token-file", str(token), "-o", "json")
    assert refused.code == 4
    assert "TOKEN_STALE" in refused.stdout + refused.stderr


def test_task_that_is_started_once_at_most_is_not_started_on_another_node(
    own_yard: Yard, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    script = f"echo started >> {marks}; sleep 60"
    once = run(own_yard, "--at-most-once", "--", "sh", "-c", script)
    wait_until_sync(lambda: marks.exists(), "its start")
    node = get(own_yard, once)["node"]
    assert own_yard.cli("nodes", "drain", node, "--timeout", "0.1s").code == 0
    task = ended(own_yard, once)
    assert task["state"] == "TASK_STATE_FAILED"
    assert marks.read_text() == "started\n"
    assert task["attempt"] == 1
