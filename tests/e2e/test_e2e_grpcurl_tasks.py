"""Attachments, modifications and suspension by the real grpcurl binary alone (S0.6, S0.7), on two agents."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.wait import wait_until_sync
from tests.support.yard import Yard

TASKS, ARTIFACTS = "modelyard.v1.TaskService", "modelyard.v1.ArtifactService"


class Grpcurl:
    """The binary, with the yard's own token."""

    def __init__(self, program: str, yard: Yard) -> None:
        token = (yard.state / "secrets" / "admin.token").read_text().strip()
        self._head = (program, "-plaintext", "-H", f"authorization: Bearer {token}")
        self._yard = yard

    def call(self, method: str, *messages: dict[str, Any]) -> dict[str, Any]:
        address = self._yard.store if method.startswith(ARTIFACTS) else self._yard.endpoint
        text = "\n".join(json.dumps(message) for message in messages)
        command = [*self._head, "-d", "@", address, method]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def task(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call(f"{TASKS}/GetTask", {"task_id": task_id})["task"]
        return found

    def put(self, content: bytes, name: str) -> str:
        """Keeps bytes in the store; their digest."""
        header = {"header": {"name": name, "size_bytes": len(content)}}
        chunk = {"chunk": base64.b64encode(content).decode()}
        digest: str = self.call(f"{ARTIFACTS}/PutArtifact", header, chunk)["artifact"]["digest"]
        return digest

    def submit(self, **spec: Any) -> str:
        answer = self.call(f"{TASKS}/SubmitTasks", {"specs": [spec]})
        ids: list[str] = answer.get("task_ids") or answer["taskIds"]
        return ids[0]

    def verdicts(self, task_id: str, **changes: Any) -> dict[str, str]:
        request = {"task_id": task_id, "changes": changes}
        answer = self.call(f"{TASKS}/ModifyTask", request)
        return {v["path"]: v["kind"].removeprefix("FIELD_VERDICT_KIND_") for v in answer["verdicts"]}


@pytest.fixture
def grpcurl(yard: Yard) -> Grpcurl:
    program = shutil.which("grpcurl", path=str(Path(sys.executable).parent)) or shutil.which("grpcurl")
    if program is None:
        pytest.skip("grpcurl is not installed")
    return Grpcurl(program, yard)


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
    ended = grpcurl.call(f"{TASKS}/WaitTask", {"task_id": task_id, "wait_timeout": "20s"})["task"]
    assert ended["state"] == "TASK_STATE_SUCCEEDED", ended
    assert ended["spec"]["resources"]["cpu"] == 0.5
