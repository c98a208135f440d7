"""The real grpcurl binary, with a token of the yard, as somebody without any client of ours has it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.yard import Yard

TASKS, ARTIFACTS = "modelyard.v1.TaskService", "modelyard.v1.ArtifactService"
PROJECTS, RUNS = "modelyard.v1.ProjectService", "modelyard.v1.RunService"
JOBS, FRAMEWORKS = "modelyard.v1.JobService", "modelyard.v1.FrameworkService"
SWEEPS = "modelyard.v1.SweepService"
MODELS, DEPLOYMENTS = "modelyard.v1.ModelService", "modelyard.v1.DeploymentService"
INFERENCE = "inference.GRPCInferenceService"
NODES, CONTACTS = "modelyard.v1.NodeService", "modelyard.v1.ContactService"


class Refused(Exception):
    """What was printed; the reason is in it."""


def program() -> str:
    """Where the binary is: it comes with what the tests are installed with."""
    found = shutil.which("grpcurl", path=str(Path(sys.executable).parent)) or shutil.which("grpcurl")
    assert found is not None, "grpcurl is missing: make setup"
    return found


class Grpcurl:
    """Calls as an administrator unless another token is given."""

    def __init__(self, yard: Yard, token: str = "") -> None:
        secret = token or (yard.state / "secrets" / "admin.token").read_text().strip()
        authority = yard.state / "tls" / "ca.pem"
        transport = ("-cacert", str(authority)) if authority.exists() else ("-plaintext",)
        self._head = (program(), *transport, "-H", f"authorization: Bearer {secret}")
        self._yard = yard

    def raw(self, method: str, *messages: dict[str, Any]) -> str:
        """What is printed; a stream's messages one after the other. Raises `Refused`."""
        text = "\n".join(json.dumps(message) for message in messages)
        return self._printed(["-d", "@", self._address(method), method], text)

    def describe(self, symbol: str) -> str:
        """What the graph service says of a message or a method of its contract."""
        return self._printed([self._yard.graph, "describe", symbol])

    def _printed(self, words: list[str], text: str = "") -> str:
        command = [*self._head, *words]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise Refused(done.stderr + done.stdout)
        return done.stdout

    def _address(self, method: str) -> str:
        if method.startswith(ARTIFACTS):
            return self._yard.store
        if method.startswith((JOBS, FRAMEWORKS, SWEEPS)):
            return self._yard.trainer
        if method.startswith((MODELS, DEPLOYMENTS, INFERENCE)):
            return self._yard.models
        return self._yard.graph if method.startswith((PROJECTS, RUNS)) else self._yard.endpoint

    def stream(self, method: str, message: dict[str, Any]) -> list[dict[str, Any]]:
        """Every message of a stream that ends."""
        text, decoder, found = self.raw(method, message), json.JSONDecoder(), []
        while text := text.strip():
            each, end = decoder.raw_decode(text)
            found.append(contract_names(each))
            text = text[end:]
        return found

    def call(self, method: str, *messages: dict[str, Any]) -> dict[str, Any]:
        """The one answer, with the names of the contract."""
        answer: dict[str, Any] = contract_names(json.loads(self.raw(method, *messages)))
        return answer

    def task(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call(f"{TASKS}/GetTask", {"task_id": task_id})["task"]
        return found

    def wait(self, task_id: str) -> dict[str, Any]:
        """The task once it has ended."""
        request = {"task_id": task_id, "wait_timeout": "30s"}
        found: dict[str, Any] = self.call(f"{TASKS}/WaitTask", request)["task"]
        return found

    def put(self, content: bytes, name: str) -> str:
        """Keeps bytes in the store; their digest."""
        header = {"header": {"name": name, "size_bytes": len(content)}}
        chunk = {"chunk": base64.b64encode(content).decode()}
        digest: str = self.call(f"{ARTIFACTS}/PutArtifact", header, chunk)["artifact"]["digest"]
        return digest

    def submit(self, **spec: Any) -> str:
        ids: list[str] = self.call(f"{TASKS}/SubmitTasks", {"specs": [spec]})["task_ids"]
        return ids[0]

    def verdicts(self, task_id: str, **changes: Any) -> dict[str, str]:
        request = {"task_id": task_id, "changes": changes}
        answer = self.call(f"{TASKS}/ModifyTask", request)
        return {v["path"]: v["kind"].removeprefix("FIELD_VERDICT_KIND_") for v in answer["verdicts"]}


def contract_names(document: Any) -> Any:
    """camelCase keys as the contract spells them, so that both spellings of JSON compare equal."""
    if isinstance(document, dict):
        return {_snake(key): contract_names(value) for key, value in document.items()}
    if isinstance(document, list):
        return [contract_names(item) for item in document]
    return document


def _snake(key: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in key)
