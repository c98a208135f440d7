"""A yard that an older version has left is brought forward whole: what had ended can be read, what waits is done,
tokens and quotas count (issue 7, point 4). tests/golden/upgrade says what is in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.wait import wait_until_sync
from tests.support.yard import ROOT, Yard, free_port_base

BACKUP = ROOT / "tests" / "golden" / "upgrade" / "first-with-five-services.tar.gz"
ENDED = {"t-1", "t-2", "t-4", "t-5", "t-6", "t-7", "t-8", "t-9"}
WAITED = {"t-10", "t-11", "t-12"}
# It ended long ago, and is to be there whenever this test runs.
KEPT = {f"YARD_{name}_KEEP_ENDED_DAYS": "0" for name in ("SCHEDULER", "GRAPH", "TRAINER")}
KEPT["YARD_STORE_COLLECT_GRACE_S"] = str(100 * 365 * 86_400)


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    made = Yard(tmp_path_factory.mktemp("older") / "state", free_port_base(), agents=1, environ=KEPT)
    made.state.mkdir()
    try:
        restored = made.cli("restore", str(BACKUP))
        assert restored.code == 0, restored.stderr
        up = made.up("--trainer", "--models")
        assert up.code == 0, f"{up.stderr}\n{made.logs()}"
        yield made
    finally:
        made.down()
        made.remove()


def states(yard: Yard) -> dict[str, str]:
    return {task["id"]: task["state"] for task in yard.json("tasks", "ls", "--all-times")["tasks"]}


def accounts(yard: Yard, group: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yard.json(group, "ls")["accounts"]
    return found


def test_what_had_ended_is_there_with_what_it_said(yard: Yard) -> None:
    found = states(yard)
    assert {task for task in ENDED if found[task] == "TASK_STATE_SUCCEEDED"} == ENDED
    assert found["t-3"] == "TASK_STATE_FAILED"
    assert yard.cli("tasks", "logs", "t-1").stdout == "said before\n"
    assert "said by a job" in yard.cli("train", "logs", "j-1").stdout
    runs = {run["id"]: run["state"] for run in yard.json("graph", "runs")["runs"]}
    assert runs["r-1"] == runs["r-2"] == "RUN_STATE_SUCCEEDED"
    assert [contact["name"] for contact in yard.json("contacts", "ls")["contacts"]] == ["team"]
    assert "kept.txt" in yard.cli("artifacts", "ls").stdout


def test_accounts_quotas_and_queues_count(yard: Yard) -> None:
    assert {account["name"] for account in accounts(yard, "accounts")} == {"default", "ada"}
    [ada] = [account for account in accounts(yard, "quotas") if account["name"] == "ada"]
    assert ada["quota"] == {"maxRunning": 3}
    assert "night" in yard.cli("queues", "ls").stdout


def test_what_waited_is_done_and_something_new_as_well(yard: Yard) -> None:
    assert yard.cli("nodes", "uncordon", "node-1").code == 0
    wait_until_sync(
        lambda: {task for task, state in states(yard).items() if state == "TASK_STATE_SUCCEEDED"} >= WAITED,
        "everything that waited has run", timeout_s=60, state=lambda: f"{states(yard)}\n{yard.logs()}",
    )  # fmt: skip
    assert yard.cli("graph", "watch", "r-3").code == 0
    assert yard.cli("tasks", "logs", "t-11").stdout == "followed\n"
    assert yard.cli("call", "echo", "--param", "value=7").stdout == "7\n"


def test_job_whose_places_know_another_port_is_suspended_and_resumed(yard: Yard) -> None:
    """docs/operations.md, "Back up, restore"."""
    assert yard.cli("train", "suspend", "j-3").code == 0
    wait_until_sync(
        lambda: yard.json("train", "get", "j-3")["state"] == "JOB_STATE_SUSPENDED",
        "it is suspended",
        timeout_s=30,
    )
    assert yard.cli("train", "resume", "j-3").code == 0
    watched = yard.cli("train", "watch", "j-3")
    assert watched.code == 0, f"{watched.stdout}\n{yard.logs()}"


def test_every_table_that_was_brought_forward_is_kept_as_it_was(yard: Yard) -> None:
    kept = sorted(yard.state.glob("*/*.db-before-*"))
    assert {path.parent.name for path in kept} >= {"graph", "trainer", "models"}
    for path in kept:
        whole(path)


def whole(path: Path) -> None:
    database = sqlite3.connect(path)
    try:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        database.close()
