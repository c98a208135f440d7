"""`client.runs`: canvases executed, from the request to what came of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from modelyard.client.connection import Connection, new_request_id
from modelyard.client.specs import InvalidSpecification, notification
from modelyard.v1 import canvas_pb2, run_pb2, run_pb2_grpc

ORDERS = {"levels": run_pb2.RUN_ORDER_LEVELS, "branches": run_pb2.RUN_ORDER_BRANCHES}
STARTS = {"ready": run_pb2.RUN_START_READY, "strict": run_pb2.RUN_START_STRICT}
NODES_A_PAGE = 500
ENDED = frozenset({run_pb2.RUN_STATE_SUCCEEDED, run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED})


class Runs:
    """Runs of projects. A run that was started goes on, whoever watches."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _stub(self) -> run_pb2_grpc.RunServiceAsyncStub:
        return run_pb2_grpc.RunServiceStub(self._connection.graph())

    async def explain(
        self,
        project: str,
        version: int = 0,
        *,
        params: Mapping[str, Any] | None = None,
        order: str = "levels",
        slots: int = 0,
        refresh: bool = False,
    ) -> run_pb2.ExplainRunResponse:
        """What a run would do now: levels, order, nodes, cache hits, critical path, and what a strict start costs.

        Nothing is started. ``slots``: nodes at a time to count on; 0: as many as the agents have cores for.
        """
        request = run_pb2.ExplainRunRequest(
            project_id=project,
            version=version,
            params_json=json.dumps(params) if params else "",
            order=_word(ORDERS, order, "order"),
            slots=slots,
            refresh=refresh,
        )
        return await self._connection.unary(self._stub.ExplainRun, request)

    async def start(
        self,
        project: str,
        version: int = 0,
        *,
        params: Mapping[str, Any] | None = None,
        order: str = "levels",
        start: str = "ready",
        max_parallel: int = 0,
        refresh: bool = False,
        comment: str = "",
        contact: str = "",
        notify: str = "",
        silent: bool = False,
        request_id: str = "",
    ) -> run_pb2.Run:
        """Runs a version (0: the latest). The answer means that the run is on disk.

        ``contact`` (else the account's default contacts) is told of its end and of its gates that wait; ``notify``:
        only of "success", "failure", "both" or "gates", also with commas between; ``silent``: nobody is.
        """
        request = run_pb2.StartRunRequest(
            request_id=request_id or new_request_id(),
            project_id=project,
            version=version,
            params_json=json.dumps(params) if params else "",
            order=_word(ORDERS, order, "order"),
            start=_word(STARTS, start, "start"),
            max_parallel=max_parallel,
            refresh=refresh,
            comment=comment,
            notification=notification(contact, notify, silent=silent),
        )
        return (await self._connection.unary(self._stub.StartRun, request)).run

    async def get(self, run: str) -> run_pb2.Run:
        """A run as it is now; with its results once it has ended."""
        return (await self._connection.unary(self._stub.GetRun, run_pb2.GetRunRequest(run_id=run))).run

    async def nodes(
        self, run: str, *, within: str = "", without_bodies: bool = False, most: int = 0
    ) -> list[canvas_pb2.ExecutionNode]:
        """Nodes of a run, in the total order; `most` 0: all. `within`: only those below a map or loop "m", or one
        execution of its body "m/3". `without_bodies`: not those of bodies further below."""
        request = run_pb2.ListRunNodesRequest(run_id=run, within=within, without_bodies=without_bodies)
        return await self._listed(request, most)

    async def gates(self, run: str) -> list[canvas_pb2.ExecutionNode]:
        """Gates of a run that wait for somebody, in the total order, those in bodies too."""
        return await self._listed(run_pb2.ListRunNodesRequest(run_id=run, waiting_gates=True))

    async def approve(self, run: str, node: str, comment: str = "") -> canvas_pb2.ExecutionNode:
        """Lets a gate's value pass. The same decision again changes nothing, the other one is refused."""
        return await self._decide(run, node, canvas_pb2.GATE_DECISION_APPROVED, comment)

    async def reject(self, run: str, node: str, comment: str = "") -> canvas_pb2.ExecutionNode:
        """Ends a gate in error. The same decision again changes nothing, the other one is refused."""
        return await self._decide(run, node, canvas_pb2.GATE_DECISION_REJECTED, comment)

    async def _decide(
        self, run: str, node: str, decision: canvas_pb2.GateDecision.ValueType, comment: str
    ) -> canvas_pb2.ExecutionNode:
        request = run_pb2.DecideGateRequest(
            request_id=new_request_id(), run_id=run, node_id=node, decision=decision, comment=comment
        )
        return (await self._connection.unary(self._stub.DecideGate, request)).node

    async def _listed(
        self, request: run_pb2.ListRunNodesRequest, most: int = 0
    ) -> list[canvas_pb2.ExecutionNode]:
        found: list[canvas_pb2.ExecutionNode] = []
        request.page_size = min(most or NODES_A_PAGE, NODES_A_PAGE)
        while True:
            answer = await self._connection.unary(self._stub.ListRunNodes, request)
            found += answer.nodes
            request.page_token = answer.next_page_token
            if not request.page_token or 0 < most <= len(found):
                return found[: most or None]

    async def failed(self, run: str, most: int = 5) -> list[canvas_pb2.ExecutionNode]:
        """The first nodes of a run that are in error, in the total order."""
        found: list[canvas_pb2.ExecutionNode] = []
        token, states = "", [canvas_pb2.EXECUTION_STATE_ERROR]
        while True:
            request = run_pb2.ListRunNodesRequest(run_id=run, page_size=1000, page_token=token, states=states)
            answer = await self._connection.unary(self._stub.ListRunNodes, request)
            found += answer.nodes
            token = answer.next_page_token
            if not token or len(found) >= most:
                return found[:most]

    async def list(
        self,
        project: str = "",
        *,
        states: Sequence[run_pb2.RunState.ValueType] = (),
        page_size: int = 0,
        page_token: str = "",
    ) -> run_pb2.ListRunsResponse:
        """One page of runs, newest first."""
        request = run_pb2.ListRunsRequest(
            project_id=project, states=states, page_size=page_size, page_token=page_token
        )
        return await self._connection.unary(self._stub.ListRuns, request)

    async def watch(
        self, run: str, revision: int = 0, *, without_nodes: bool = False, without_bodies: bool = False
    ) -> AsyncIterator[run_pb2.WatchRunResponse]:
        """Every change until the run has ended, without gap or repeat, over broken connections too. Nodes that were
        committed come in the order of the committed log."""

        def begin() -> Any:
            request = run_pb2.WatchRunRequest(
                run_id=run, revision=revision, without_nodes=without_nodes, without_bodies=without_bodies
            )
            return self._stub.WatchRun(request)

        async for response in self._connection.stream(begin):
            revision = max(revision, response.revision)
            yield response

    async def wait(self, run: str) -> run_pb2.Run:
        """The run once it has ended."""
        async for response in self.watch(run, without_nodes=True):
            if response.HasField("run") and response.run.state in ENDED:
                return response.run
        return await self.get(run)

    async def result(self, run: str, node: str) -> canvas_pb2.ExecutionNode:
        """A node with its outputs."""
        request = run_pb2.GetNodeResultRequest(run_id=run, node_id=node)
        return (await self._connection.unary(self._stub.GetNodeResult, request)).node

    async def cancel(self, run: str, comment: str = "") -> run_pb2.Run:
        """Ends it: what has not ended is cancelled. One that has ended stays as it is."""
        request = run_pb2.CancelRunRequest(request_id=new_request_id(), run_id=run, comment=comment)
        return (await self._connection.unary(self._stub.CancelRun, request)).run

    async def remove(self, run: str) -> None:
        """Deletes an ended run, with what it recorded. Refused while it goes on, or another one continues it."""
        request = run_pb2.DeleteRunRequest(request_id=new_request_id(), run_id=run)
        await self._connection.unary(self._stub.DeleteRun, request)

    async def pause(self, run: str) -> run_pb2.Run:
        """Starts no further node; those that run go on."""
        request = run_pb2.PauseRunRequest(request_id=new_request_id(), run_id=run)
        return (await self._connection.unary(self._stub.PauseRun, request)).run

    async def resume(self, run: str) -> run_pb2.Run:
        """Lets a paused run go on."""
        request = run_pb2.ResumeRunRequest(request_id=new_request_id(), run_id=run)
        return (await self._connection.unary(self._stub.ResumeRun, request)).run

    async def continue_(
        self,
        run: str,
        version: int = 0,
        *,
        from_nodes: Sequence[str] = (),
        params: Mapping[str, Any] | None = None,
        node_params: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> run_pb2.ContinueRunResponse:
        """A new run that keeps what the ended one has: from its failures, from nodes, with other parameters, or on a
        later version."""
        request = run_pb2.ContinueRunRequest(
            request_id=new_request_id(),
            run_id=run,
            version=version,
            from_nodes=from_nodes,
            params_json=json.dumps(params) if params else "",
            node_params_json={name: json.dumps(values) for name, values in (node_params or {}).items()},
        )
        return await self._connection.unary(self._stub.ContinueRun, request)

    async def picture(self, run: str) -> bytes:
        """The run as SVG: every node with its state."""
        request = run_pb2.ExportRunPictureRequest(run_id=run)
        return (await self._connection.unary(self._stub.ExportRunPicture, request)).svg

    async def modify(self, run: str, node: str, params: Mapping[str, Any]) -> canvas_pb2.ExecutionNode:
        """Changes the parameters of a node that has not started."""
        request = run_pb2.ModifyRunNodeRequest(
            request_id=new_request_id(), run_id=run, node_id=node, params_json=json.dumps(params)
        )
        return (await self._connection.unary(self._stub.ModifyRunNode, request)).node


def _word(words: Mapping[str, Any], word: str, field: str) -> Any:
    if word not in words:
        raise InvalidSpecification(f"{word!r} is no {field}; choose {' or '.join(words)}", field)
    return words[word]
