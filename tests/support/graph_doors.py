"""The two doors of the graph service, with the same words: the command line, and the contract by grpcurl.

As `doors`, for canvases and their runs. Documents have the names of the contract.
"""

from __future__ import annotations

import json
import re
from typing import Any, Protocol

from tests.support.grpcurl import PROJECTS, RUNS, TASKS, Grpcurl, Refused, contract_names
from tests.support.wait import wait_until_sync
from tests.support.yard import Yard

Document = dict[str, Any]
GATED = "EXECUTION_DETAIL_GATED"
_COMMIT = re.compile(r"^ *\d+  \w+ +(\S+)(?: on .*)?  ", re.MULTILINE)


class GraphDoor(Protocol):
    """Whatever is refused raises `Refused` with the reason in it. `run` waits for the end."""

    def save(self, name: str, canvas: Document) -> tuple[str, int]:
        """A new version of the project of that name: the project's id, and the version's number."""
        ...

    def canvas(self, project: str, version: int) -> Document: ...
    def graph(self, project: str, version: int) -> list[Document]:
        """What the version comes to, in the total order."""
        ...

    def run(self, project: str, version: int, **options: str) -> Document: ...
    def begin(self, project: str, version: int, contact: str = "") -> str: ...
    def commits(self, run_id: str) -> list[str]:
        """The nodes as somebody who watches is told that they are committed, until the end."""
        ...

    def nodes(self, run_id: str) -> list[Document]:
        """In the total order."""
        ...

    def below(self, run_id: str, node_id: str) -> list[Document]:
        """The nodes of a map's or loop's bodies ("m"), or of one execution of them ("m/3"), without bodies further
        below."""
        ...

    def gates(self, run_id: str) -> list[Document]:
        """Those that wait, once there is one."""
        ...

    def decide(self, run_id: str, node_id: str, decision: str, comment: str = "") -> Document:
        """`decision`: approve or reject."""
        ...

    def task(self, task_id: str) -> Document: ...


class CommandLine:
    def __init__(self, yard: Yard) -> None:
        self._yard = yard

    def _json(self, *words: str, stdin: str = "", most: int = 0) -> Document:
        """`most`: the exit code that is no refusal."""
        done = self._yard.cli(*words, "-o", "json", stdin=stdin)
        if done.code > most:
            raise Refused(done.stderr)
        found: Document = contract_names(json.loads(done.stdout))
        return found

    def save(self, name: str, canvas: Document) -> tuple[str, int]:
        answer = self._json("graph", "save", name, "-", stdin=json.dumps(canvas))
        assert "problems" not in answer, answer
        return answer["version"]["project_id"], int(answer["version"]["version"])

    def canvas(self, project: str, version: int) -> Document:
        done = self._yard.cli("graph", "get", project, "--version", str(version))
        found: Document = json.loads(done.stdout)
        return found

    def graph(self, project: str, version: int) -> list[Document]:
        found: list[Document] = self._json("graph", "show", project, "--version", str(version))["graph"][
            "nodes"
        ]
        return found

    def run(self, project: str, version: int, **options: str) -> Document:
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        return self._json("graph", "run", project, "--version", str(version), *words, most=1)

    def begin(self, project: str, version: int, contact: str = "") -> str:
        words = ("--version", str(version), "--detach", *(("--contact", contact) if contact else ()))
        run_id: str = self._json("graph", "run", project, *words)["id"]
        return run_id

    def commits(self, run_id: str) -> list[str]:
        return _COMMIT.findall(self._yard.cli("graph", "watch", run_id).stderr)

    def nodes(self, run_id: str) -> list[Document]:
        found: list[Document] = self._json("graph", "show", run_id)["nodes"]
        return found

    def below(self, run_id: str, node_id: str) -> list[Document]:
        found = self._json("graph", "show", run_id, node_id)["nodes"]
        return [node for node in found if node["node_id"] != node_id]

    def gates(self, run_id: str) -> list[Document]:
        def found() -> list[Document]:
            nodes = self._json("graph", "show", run_id, "--bodies")["nodes"]
            return [node for node in nodes if node["detail"] == GATED]

        return wait_until_sync(found, "a gate waits")

    def decide(self, run_id: str, node_id: str, decision: str, comment: str = "") -> Document:
        return self._json("graph", decision, run_id, node_id, "--comment", comment)

    def task(self, task_id: str) -> Document:
        return self._json("tasks", "get", task_id)


class Contract:
    """By grpcurl alone."""

    def __init__(self, yard: Yard) -> None:
        self._curl = Grpcurl(yard)
        self._projects: dict[str, tuple[str, int]] = {}

    def save(self, name: str, canvas: Document) -> tuple[str, int]:
        project, parent = self._projects.get(name, ("", 0))
        if not project:
            project = self._curl.call(f"{PROJECTS}/CreateProject", {"name": name})["project"]["id"]
        request = {"project_id": project, "parent": parent, "canvas_json": json.dumps(canvas)}
        answer = self._curl.call(f"{PROJECTS}/SaveCanvas", request)
        assert "problems" not in answer, answer
        self._projects[name] = project, int(answer["version"]["version"])
        return self._projects[name]

    def canvas(self, project: str, version: int) -> Document:
        answer = self._curl.call(f"{PROJECTS}/GetCanvas", {"project_id": project, "version": version})
        found: Document = json.loads(answer["canvas_json"])
        return found

    def graph(self, project: str, version: int) -> list[Document]:
        request = {"project_id": project, "version": version}
        found: list[Document] = self._curl.call(f"{PROJECTS}/ValidateCanvas", request)["graph"]["nodes"]
        return found

    def run(self, project: str, version: int, **options: str) -> Document:
        words = {key: f"RUN_{key}_{value}".upper() for key, value in options.items()}
        run_id = self._started({"project_id": project, "version": version, **words})
        ended: Document = self._curl.stream(f"{RUNS}/WatchRun", {"run_id": run_id, "without_nodes": True})[-1]
        run: Document = ended["run"]
        return run

    def begin(self, project: str, version: int, contact: str = "") -> str:
        told = {"notification": {"contact": contact}} if contact else {}
        return self._started({"project_id": project, "version": version, **told})

    def _started(self, request: Document) -> str:
        run_id: str = self._curl.call(f"{RUNS}/StartRun", request)["run"]["id"]
        return run_id

    def commits(self, run_id: str) -> list[str]:
        told = self._curl.stream(f"{RUNS}/WatchRun", {"run_id": run_id})
        return [
            node["node_id"]
            for each in told
            for node in each.get("nodes", [])
            if int(node.get("commit_sequence", 0))
        ]

    def nodes(self, run_id: str) -> list[Document]:
        return self._listed({"run_id": run_id, "without_bodies": True})

    def below(self, run_id: str, node_id: str) -> list[Document]:
        return self._listed({"run_id": run_id, "within": node_id, "without_bodies": True})

    def gates(self, run_id: str) -> list[Document]:
        return wait_until_sync(
            lambda: self._listed({"run_id": run_id, "waiting_gates": True}), "a gate waits"
        )

    def _listed(self, request: Document) -> list[Document]:
        answer = self._curl.call(f"{RUNS}/ListRunNodes", {"page_size": 1000, **request})
        found: list[Document] = answer.get("nodes", [])
        return found

    def decide(self, run_id: str, node_id: str, decision: str, comment: str = "") -> Document:
        word = {"approve": "GATE_DECISION_APPROVED", "reject": "GATE_DECISION_REJECTED"}[decision]
        request = {"run_id": run_id, "node_id": node_id, "decision": word, "comment": comment}
        node: Document = self._curl.call(f"{RUNS}/DecideGate", request)["node"]
        return node

    def task(self, task_id: str) -> Document:
        found: Document = self._curl.call(f"{TASKS}/GetTask", {"task_id": task_id})["task"]
        return found
