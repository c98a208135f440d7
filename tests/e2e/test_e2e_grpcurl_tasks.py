"""Attachments, modifications and suspension by the real grpcurl binary alone (S0.6, S0.7), on two agents."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.grpcurl import TASKS, Grpcurl
from tests.support.wait import wait_until_sync
from tests.support.yard import Yard


@pytest.fixture
def grpcurl(yard: Yard) -> Grpcurl:
    return Grpcurl(yard)


@pytest.mark.parametrize("node", ["node-1", "node-2"])
def test_task_is_submitted_with_an_attachment_changed_suspended_and_resumed(
    grpcurl: Grpcurl, tmp_path: Path, node: str
) -> None:  # S0.6 S0.7
    beats, stop = tmp_path / f"beats-{node}", tmp_path / f"stop-{node}"
    script = f"while [ ! -e {stop} ]; do cat in.txt >> {beats}; sleep 0.02; done; cmp in.txt new/again.txt"
    task_id = grpcurl.submit(
        command={"argv": ["sh", "-c", script]},
        attachments=[{"path": "in.txt", "digest": grpcurl.put(f"first on {node}\n".encode(), "in.txt")}],
        placement={"node": node},
        resources={"cpu": 1},
    )
    wait_until_sync(lambda: beats.exists() and beats.stat().st_size > 0, "it runs")
    assert beats.read_text().startswith(f"first on {node}\n")
    second = grpcurl.put(b"second\n", "in.txt")
    kinds = grpcurl.verdicts(
        task_id,
        attachments=[{"path": "in.txt", "digest": second}, {"path": "new/again.txt", "digest": second}],
        resources={"cpu": 0.5},
    )
    assert kinds == {"attachments": "APPLIED", "resources": "APPLIED"}
    wait_until_sync(lambda: beats.read_text().endswith("second\n"), "it reads the new file")
    suspended = grpcurl.call(f"{TASKS}/SuspendTasks", {"task_ids": [task_id]})["tasks"][0]
    assert (suspended["state"], suspended["node"]) == ("TASK_STATE_SUSPENDED", node)
    size = beats.stat().st_size
    stop.touch()
    assert grpcurl.task(task_id)["state"] == "TASK_STATE_SUSPENDED"
    assert beats.stat().st_size == size
    grpcurl.call(f"{TASKS}/ResumeTasks", {"task_ids": [task_id]})
    ended = grpcurl.wait(task_id)
    assert ended["state"] == "TASK_STATE_SUCCEEDED", ended
    assert ended["spec"]["resources"]["cpu"] == 0.5
