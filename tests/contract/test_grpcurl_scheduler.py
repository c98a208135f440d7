"""The real grpcurl binary against a scheduler: what the README shows must work as it stands."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from modelyard.v1.account_pb2 import ROLE_USER
from tests.support import grpcurl as grpcurl_binary
from tests.support.scheduler_service import scheduler_yard
from tests.support.scripted_agent import connected, succeed


@pytest.fixture
def program() -> str:
    return grpcurl_binary.program()


async def grpcurl(*command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.asyncio
async def test_grpcurl_lists_describes_submits_and_waits(program: str, tmp_path: Path) -> None:  # S0.1
    async with scheduler_yard(tmp_path) as yard, connected(yard, script=succeed):
        token = (await yard.user("ada", ROLE_USER)).token
        head = (program, "-plaintext", "-H", f"authorization: Bearer {token}")
        service = "modelyard.v1.TaskService"
        code, listed = await grpcurl(*head, yard.address, "list")
        assert (code, service in listed) == (0, True), listed
        code, described = await grpcurl(*head, yard.address, "describe", service)
        assert (code, "rpc SubmitTasks" in described) == (0, True), described
        spec = {"specs": [{"command": {"argv": ["true"]}, "params": {"times": 3}}]}
        code, answer = await grpcurl(*head, "-d", json.dumps(spec), yard.address, f"{service}/SubmitTasks")
        assert code == 0, answer
        # This grpcurl prints the names as the proto has them; newer ones print them in camel case.
        submitted = json.loads(answer)
        [task_id] = submitted.get("task_ids") or submitted["taskIds"]
        wait = json.dumps({"task_id": task_id, "wait_timeout": "10s"})
        code, answer = await grpcurl(*head, "-d", wait, yard.address, f"{service}/WaitTask")
        task = json.loads(answer)["task"]
        assert (task["state"], task["node"]) == ("TASK_STATE_SUCCEEDED", "n0")
        assert json.loads(task["spec"].get("params_json") or task["spec"]["paramsJson"]) == {"times": 3}


@pytest.mark.asyncio
async def test_grpcurl_shows_reason_field_and_next_step_of_a_refusal(program: str, tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        token = (await yard.user("ada", ROLE_USER)).token
        head = (program, "-plaintext", "-H", f"authorization: Bearer {token}")
        spec = json.dumps({"specs": [{"command": {"argv": ["true"]}, "placement": {"node": "nowhere"}}]})
        code, answer = await grpcurl(*head, "-d", spec, yard.address, "modelyard.v1.TaskService/SubmitTasks")
        assert code != 0
        for part in ("NotFound", "NODE_NOT_FOUND", "specs[0].placement.node", "yard nodes ls"):
            assert part in answer, answer
        code, answer = await grpcurl(program, "-plaintext", yard.address, "list")
        assert code != 0
        assert "modelyard" not in answer
