"""A whole yard in one process for tests of clients: real gRPC on a free port, no scheduling, no disk.

Tasks end at once, as their operator or command says (see `FakeYard.carry_out`). It keeps the promises of the
contract that clients rely on: request ids, sessions that may break and be opened again, offsets of logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from modelyard.v1 import (
    account_pb2,
    account_pb2_grpc,
    artifact_pb2,
    artifact_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
    operator_pb2,
    operator_pb2_grpc,
    task_pb2,
    task_pb2_grpc,
)

TOKEN = "yard_admin_for_tests"
NODES = ("node-1", "node-2")


async def refuse(
    context: grpc.aio.ServicerContext, code: grpc.StatusCode, reason: str, message: str, **more: str
) -> None:
    """Ends the call as a service does."""
    status = status_pb2.Status(code=code.value[0], message=message)
    metadata = {"next_step": more["next_step"]} if "next_step" in more else {}
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=reason, domain="modelyard", metadata=metadata)
    )
    if "field" in more:
        violation = error_details_pb2.BadRequest.FieldViolation(field=more["field"], description=message)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    trailer = (("grpc-status-details-bin", status.SerializeToString()),)
    context.set_trailing_metadata(trailer)
    await context.abort(code, message, trailer)


class FakeYard:
    """The state behind the fake servicers, and the knobs of the tests."""

    def __init__(self) -> None:
        self.tasks: dict[str, task_pb2.Task] = {}
        self.logs: dict[str, list[tuple[int, bytes]]] = {}
        self.answers: dict[str, list[str]] = {}
        self.artifacts: dict[str, bytes] = {}
        self.tokens: dict[str, account_pb2.Token] = {}
        self.accounts: list[str] = ["admin"]
        self.sessions: list[asyncio.Queue[task_pb2.SessionResponse | None]] = []
        self.submit_messages: list[task_pb2.SubmitTasksRequest] = []
        self.break_after_submits: int = 0
        self.break_before_submits: int = 0
        self.paused = asyncio.Event()
        self.paused.set()
        self.cordoned: set[str] = set()
        self.changed = asyncio.Condition()
        self.revision = 0

    def submit(self, request: task_pb2.SubmitTasksRequest) -> list[str]:
        """The ids, the same again for the same request id."""
        self.submit_messages.append(request)
        known = self.answers.get(request.request_id)
        if known is None:
            known = [self._add(*work) for work in _works(request)]
            self.answers[request.request_id] = known
        return known

    def _add(self, spec: task_pb2.TaskSpec, params_json: str) -> str:
        task_id = f"t-{len(self.tasks) + 1}"
        task = task_pb2.Task(id=task_id, account="admin", name=spec.name, spec=spec, attempt=1, node="node-1")
        task.spec.params_json = params_json or spec.params_json
        task.state = task_pb2.TASK_STATE_HELD if spec.hold else task_pb2.TASK_STATE_RUNNING
        task.submit_time.CopyFrom(_now())
        self.revision += 1
        task.revision = self.revision
        self.tasks[task_id] = task
        self.logs[task_id] = []
        if not spec.hold and not self.stays_open(task):
            self.carry_out(task)
        return task_id

    def stays_open(self, task: task_pb2.Task) -> bool:
        return "sleep" in (task.spec.operator.operator, *task.spec.command.argv[:1])

    def carry_out(self, task: task_pb2.Task) -> None:
        """echo, add, boom; commands are words: out TEXT, err TEXT, exit N, signal N, keep NAME TEXT."""
        task.start_time.CopyFrom(_now())
        params = json.loads(task.spec.params_json or "{}")
        if task.spec.WhichOneof("work") == "command":
            self._command(task, list(task.spec.command.argv))
        elif task.spec.operator.operator == "echo":
            self.end(task, json.dumps(params.get("value")))
        elif task.spec.operator.operator == "add":
            self.end(task, json.dumps(params["a"] + params["b"]))
        elif task.spec.operator.operator == "large":
            data = json.dumps("x" * params["size"]).encode()
            digest = hashlib.sha256(data).hexdigest()
            self.artifacts[digest] = data
            task.result.value_digest = digest
            self.end(task, "")
        elif task.spec.operator.operator == "size":
            source = task.spec.inputs["data"]
            data = source.data or self.artifacts[source.digest]
            self.end(task, str(len(data)))
        else:
            task.error.cause = task_pb2.TASK_CAUSE_ERROR
            task.error.message = "ValueError: boom"
            task.error.traceback = "Traceback: somewhere\nValueError: boom"
            self.end(task, "", task_pb2.TASK_STATE_FAILED)

    def _command(self, task: task_pb2.Task, words: list[str]) -> None:
        state = task_pb2.TASK_STATE_SUCCEEDED
        while words:
            word, value = words.pop(0), words.pop(0)
            if word in ("out", "err"):
                stream = task_pb2.LOG_STREAM_STDOUT if word == "out" else task_pb2.LOG_STREAM_STDERR
                self.logs[task.id].append((stream, value.encode()))
            elif word == "exit" and int(value):
                state, task.error.cause = task_pb2.TASK_STATE_FAILED, task_pb2.TASK_CAUSE_EXIT
                task.error.exit_code = int(value)
            elif word == "signal":
                state, task.error.cause = task_pb2.TASK_STATE_FAILED, task_pb2.TASK_CAUSE_SIGNAL
                task.error.signal = int(value)
            elif word == "keep":
                digest = hashlib.sha256(value.encode()).hexdigest()
                self.artifacts[digest] = value.encode()
                task.result.outputs.add(name=value + ".txt", digest=digest, size_bytes=len(value))
        self.end(task, "", state)

    def end(
        self,
        task: task_pb2.Task,
        value_json: str,
        state: task_pb2.TaskState.ValueType = task_pb2.TASK_STATE_SUCCEEDED,
    ) -> None:
        """Records the outcome."""
        task.state = state
        if value_json:
            task.result.value_json = value_json
        task.end_time.CopyFrom(_now())
        self.revision += 1
        task.revision = self.revision

    async def finish(self, task_id: str) -> None:
        """Ends a task that stayed open, and tells everybody."""
        self.end(self.tasks[task_id], "null")
        self.tell(task_id)
        async with self.changed:
            self.changed.notify_all()

    def tell(self, *task_ids: str) -> None:
        """Pushes outcomes to every session."""
        for queue in self.sessions:
            queue.put_nowait(outcomes([self.tasks[task_id] for task_id in task_ids]))

    def break_sessions(self) -> None:
        """As if the scheduler had gone."""
        for queue in self.sessions:
            queue.put_nowait(None)


def outcomes(tasks: list[task_pb2.Task]) -> task_pb2.SessionResponse:
    return task_pb2.SessionResponse(
        outcomes=task_pb2.TaskOutcomes(
            outcomes=[
                task_pb2.TaskOutcome(
                    task_id=task.id,
                    state=task.state,
                    attempt=task.attempt,
                    node=task.node,
                    result=task.result,
                    error=task.error if task.HasField("error") else None,
                )
                for task in tasks
                if task.end_time.seconds
            ]
        )
    )


def _works(request: task_pb2.SubmitTasksRequest) -> list[tuple[task_pb2.TaskSpec, str]]:
    if request.items:
        return [(request.specs[item.spec_index], item.params_json) for item in request.items]
    return [(spec, spec.params_json) for spec in request.specs]


def _now() -> Timestamp:
    moment = Timestamp()
    moment.GetCurrentTime()
    return moment


class Tasks(task_pb2_grpc.TaskServiceServicer):
    def __init__(self, yard: FakeYard) -> None:
        self.yard = yard

    async def Session(
        self, requests: AsyncIterator[task_pb2.SessionRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[task_pb2.SessionResponse]:
        await require_token(context)
        queue: asyncio.Queue[task_pb2.SessionResponse | None] = asyncio.Queue()
        self.yard.sessions.append(queue)
        reader = asyncio.create_task(self._read(requests, queue))
        try:
            while (response := await queue.get()) is not None:
                yield response
            await context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
        finally:
            self.yard.sessions.remove(queue)
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader

    async def _read(
        self,
        requests: AsyncIterator[task_pb2.SessionRequest],
        queue: asyncio.Queue[task_pb2.SessionResponse | None],
    ) -> None:
        async for request in requests:
            await self.yard.paused.wait()
            if request.HasField("follow"):
                queue.put_nowait(self._follow(request))
            else:
                self._submit(request, queue)

    def _follow(self, request: task_pb2.SessionRequest) -> task_pb2.SessionResponse:
        unknown = [task_id for task_id in request.follow.task_ids if task_id not in self.yard.tasks]
        if unknown:
            refusal = task_pb2.Refusal(code=5, message=f"no task {unknown[0]}", reason="TASK_NOT_FOUND")
            return task_pb2.SessionResponse(sequence=request.sequence, refused=refusal)
        return outcomes([self.yard.tasks[task_id] for task_id in request.follow.task_ids])

    def _submit(
        self, request: task_pb2.SessionRequest, queue: asyncio.Queue[task_pb2.SessionResponse | None]
    ) -> None:
        if self.yard.break_before_submits:
            self.yard.break_before_submits -= 1
            queue.put_nowait(None)
            return
        if any(spec.operator.operator == "refused" for spec in request.submit.specs):
            refusal = task_pb2.Refusal(
                code=3, message="no such operator", reason="OPERATOR_INVALID", field="operator.operator"
            )
            queue.put_nowait(task_pb2.SessionResponse(sequence=request.sequence, refused=refusal))
            return
        task_ids = self.yard.submit(request.submit)
        if self.yard.break_after_submits:
            self.yard.break_after_submits -= 1
            queue.put_nowait(None)
            return
        answer = task_pb2.SubmitTasksResponse(task_ids=task_ids)
        queue.put_nowait(task_pb2.SessionResponse(sequence=request.sequence, submitted=answer))
        queue.put_nowait(outcomes([self.yard.tasks[task_id] for task_id in task_ids]))

    async def SubmitTasks(
        self, request: task_pb2.SubmitTasksRequest, context: grpc.aio.ServicerContext
    ) -> task_pb2.SubmitTasksResponse:
        await require_token(context)
        if any(spec.priority > 1000 for spec in request.specs):
            await refuse(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                "PRIORITY_OUT_OF_RANGE",
                "a priority is −1000 … 1000",
                field="specs[0].priority",
                next_step="choose a smaller one",
            )
        return task_pb2.SubmitTasksResponse(task_ids=self.yard.submit(request))

    async def _task(self, task_id: str, context: grpc.aio.ServicerContext) -> task_pb2.Task:
        await require_token(context)
        if task_id not in self.yard.tasks:
            await refuse(context, grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND", f"there is no task {task_id}")
        return self.yard.tasks[task_id]

    async def GetTask(
        self, request: task_pb2.GetTaskRequest, context: grpc.aio.ServicerContext
    ) -> task_pb2.GetTaskResponse:
        return task_pb2.GetTaskResponse(task=await self._task(request.task_id, context))

    async def ListTasks(
        self, request: task_pb2.ListTasksRequest, context: grpc.aio.ServicerContext
    ) -> task_pb2.ListTasksResponse:
        await require_token(context)
        states = set(request.filter.states)
        tasks = [task for task in self.yard.tasks.values() if not states or task.state in states]
        return task_pb2.ListTasksResponse(tasks=reversed(tasks), revision=self.yard.revision)

    async def WatchTasks(
        self, request: task_pb2.WatchTasksRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[task_pb2.WatchTasksResponse]:
        seen = request.revision or self.yard.revision
        while True:
            tasks = [task for task in self.yard.tasks.values() if task.revision > seen]
            seen = self.yard.revision
            if tasks:
                yield task_pb2.WatchTasksResponse(tasks=tasks, revision=seen)
            async with self.yard.changed:
                await self.yard.changed.wait()

    async def WaitTask(
        self, request: task_pb2.WaitTaskRequest, context: grpc.aio.ServicerContext
    ) -> task_pb2.WaitTaskResponse:
        task = await self._task(request.task_id, context)
        timeout_s = request.wait_timeout.seconds + request.wait_timeout.nanos / 1e9
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self.yard.changed:
                await self.yard.changed.wait_for(lambda: bool(task.end_time.seconds))
        return task_pb2.WaitTaskResponse(task=task, ended=bool(task.end_time.seconds))

    async def CancelTasks(
        self, request: task_pb2.CancelTasksRequest, context: grpc.aio.ServicerContext
    ) -> task_pb2.CancelTasksResponse:
        tasks = [await self._task(task_id, context) for task_id in request.task_ids]
        for task in tasks:
            if not task.end_time.seconds:
                task.error.cause = task_pb2.TASK_CAUSE_CANCELLED
                self.yard.end(task, "", task_pb2.TASK_STATE_CANCELLED)
                self.yard.tell(task.id)
        return task_pb2.CancelTasksResponse(tasks=tasks)

    async def ExplainTask(
        self, request: task_pb2.ExplainTaskRequest, context: grpc.aio.ServicerContext
    ) -> task_pb2.ExplainTaskResponse:
        await self._task(request.task_id, context)
        verdict = task_pb2.NodeVerdict(node="node-1", reason="NOT_ENOUGH", message="cpu: 4 asked, 1 free")
        return task_pb2.ExplainTaskResponse(
            summary="no node has room", queue_position=3, nodes=[verdict], next_step="yard nodes ls"
        )

    async def StreamLogs(
        self, request: task_pb2.StreamLogsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[task_pb2.StreamLogsResponse]:
        task = await self._task(request.task_id, context)
        position = {task_pb2.LOG_STREAM_STDOUT: 0, task_pb2.LOG_STREAM_STDERR: 0}
        skip = {
            task_pb2.LOG_STREAM_STDOUT: request.stdout_offset,
            task_pb2.LOG_STREAM_STDERR: request.stderr_offset,
        }
        for stream, data in self.yard.logs[task.id]:
            offset = position[stream]
            position[stream] += len(data)
            if offset >= skip[stream]:
                yield task_pb2.StreamLogsResponse(attempt=1, stream=stream, offset=offset, data=data)
        if request.follow and not task.end_time.seconds:
            async with self.yard.changed:
                await self.yard.changed.wait_for(lambda: bool(task.end_time.seconds))


class Nodes(node_pb2_grpc.NodeServiceServicer):
    def __init__(self, yard: FakeYard) -> None:
        self.yard = yard

    def _node(self, name: str) -> node_pb2.Node:
        state = node_pb2.NODE_STATE_CORDONED if name in self.yard.cordoned else node_pb2.NODE_STATE_READY
        capacity = node_pb2.NodeCapacity(cpu=2, memory_bytes=1 << 30)
        return node_pb2.Node(
            id=name, state=state, labels={"zone": "a"}, capacity=capacity, last_beat_time=_now()
        )

    async def ListNodes(
        self, request: node_pb2.ListNodesRequest, context: grpc.aio.ServicerContext
    ) -> node_pb2.ListNodesResponse:
        await require_token(context)
        return node_pb2.ListNodesResponse(nodes=[self._node(name) for name in NODES])

    async def GetNode(
        self, request: node_pb2.GetNodeRequest, context: grpc.aio.ServicerContext
    ) -> node_pb2.GetNodeResponse:
        if request.node not in NODES:
            await refuse(
                context, grpc.StatusCode.NOT_FOUND, "NODE_NOT_FOUND", f"there is no node {request.node}"
            )
        return node_pb2.GetNodeResponse(node=self._node(request.node))

    async def CordonNode(
        self, request: node_pb2.CordonNodeRequest, context: grpc.aio.ServicerContext
    ) -> node_pb2.CordonNodeResponse:
        self.yard.cordoned.add(request.node)
        return node_pb2.CordonNodeResponse(node=self._node(request.node))

    async def GetOccupancy(
        self, request: node_pb2.GetOccupancyRequest, context: grpc.aio.ServicerContext
    ) -> node_pb2.GetOccupancyResponse:
        cpu = node_pb2.ResourceOccupancy(
            resource="cpu", capacity=2, reserved=1, measured=0.5, occupancy_ratio=0.5
        )
        nodes = [
            node_pb2.NodeOccupancy(
                node=name,
                state=node_pb2.NODE_STATE_READY,
                window_s=request.window_s or 10,
                resources=[cpu],
                occupancy_ratio=0.5,
                running_count=1,
            )
            for name in NODES
        ]
        return node_pb2.GetOccupancyResponse(nodes=nodes)

    async def CreateJoinToken(
        self, request: node_pb2.CreateJoinTokenRequest, context: grpc.aio.ServicerContext
    ) -> node_pb2.CreateJoinTokenResponse:
        return node_pb2.CreateJoinTokenResponse(
            join_token="yard_join_x",
            expire_time=_now(),
            join_command="yard agent join yard_join_x@127.0.0.1:7070",
        )


class Operators(operator_pb2_grpc.OperatorServiceServicer):
    async def ListOperators(
        self, request: operator_pb2.ListOperatorsRequest, context: grpc.aio.ServicerContext
    ) -> operator_pb2.ListOperatorsResponse:
        echo = operator_pb2.Operator(name="echo", version="1", summary="Returns its value.", nodes=NODES)
        return operator_pb2.ListOperatorsResponse(operators=[echo])


class Accounts(account_pb2_grpc.AccountServiceServicer):
    def __init__(self, yard: FakeYard) -> None:
        self.yard = yard

    async def CreateAccount(
        self, request: account_pb2.CreateAccountRequest, context: grpc.aio.ServicerContext
    ) -> account_pb2.CreateAccountResponse:
        if request.name in self.yard.accounts:
            await refuse(
                context, grpc.StatusCode.ALREADY_EXISTS, "ACCOUNT_EXISTS", f"{request.name} exists already"
            )
        self.yard.accounts.append(request.name)
        return account_pb2.CreateAccountResponse(account=account_pb2.Account(name=request.name))

    async def ListAccounts(
        self, request: account_pb2.ListAccountsRequest, context: grpc.aio.ServicerContext
    ) -> account_pb2.ListAccountsResponse:
        await require_token(context)
        return account_pb2.ListAccountsResponse(
            accounts=[account_pb2.Account(name=name, create_time=_now()) for name in self.yard.accounts]
        )

    async def CreateToken(
        self, request: account_pb2.CreateTokenRequest, context: grpc.aio.ServicerContext
    ) -> account_pb2.CreateTokenResponse:
        token = account_pb2.Token(id="k-1", account=request.account, role=request.role)
        return account_pb2.CreateTokenResponse(token=token, secret="yard_user_secret")

    async def GetIdentity(
        self, request: account_pb2.GetIdentityRequest, context: grpc.aio.ServicerContext
    ) -> account_pb2.GetIdentityResponse:
        await require_token(context)
        return account_pb2.GetIdentityResponse(
            identity=account_pb2.Identity(role=account_pb2.ROLE_ADMIN, account="admin")
        )


class Artifacts(artifact_pb2_grpc.ArtifactServiceServicer):
    def __init__(self, yard: FakeYard) -> None:
        self.yard = yard

    async def PutArtifact(
        self,
        requests: AsyncIterator[artifact_pb2.PutArtifactRequest],
        context: grpc.aio.ServicerContext,
    ) -> artifact_pb2.PutArtifactResponse:
        header = artifact_pb2.PutArtifactHeader()
        data = b""
        async for request in requests:
            header = request.header if request.HasField("header") else header
            data += request.chunk
        digest = hashlib.sha256(data).hexdigest()
        self.yard.artifacts[digest] = data
        return artifact_pb2.PutArtifactResponse(artifact=self._artifact(digest, header.name))

    def _artifact(self, digest: str, name: str = "") -> artifact_pb2.Artifact:
        size_bytes = len(self.yard.artifacts[digest])
        return artifact_pb2.Artifact(digest=digest, size_bytes=size_bytes, name=name)

    async def _known(self, digest: str, context: grpc.aio.ServicerContext) -> None:
        if digest not in self.yard.artifacts:
            await refuse(
                context, grpc.StatusCode.NOT_FOUND, "ARTIFACT_NOT_FOUND", f"there is no artefact {digest}"
            )

    async def StatArtifact(
        self, request: artifact_pb2.StatArtifactRequest, context: grpc.aio.ServicerContext
    ) -> artifact_pb2.StatArtifactResponse:
        await self._known(request.digest, context)
        return artifact_pb2.StatArtifactResponse(artifact=self._artifact(request.digest))

    async def GetArtifact(
        self, request: artifact_pb2.GetArtifactRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[artifact_pb2.GetArtifactResponse]:
        await self._known(request.digest, context)
        data = self.yard.artifacts[request.digest]
        yield artifact_pb2.GetArtifactResponse(
            chunk=data[request.offset :], offset=request.offset, size_bytes=len(data)
        )

    async def ListArtifacts(
        self, request: artifact_pb2.ListArtifactsRequest, context: grpc.aio.ServicerContext
    ) -> artifact_pb2.ListArtifactsResponse:
        return artifact_pb2.ListArtifactsResponse(
            artifacts=[self._artifact(digest) for digest in self.yard.artifacts]
        )


async def require_token(context: grpc.aio.ServicerContext) -> None:
    """Refuses whoever does not show the token of the tests."""
    metadata: dict[str, Any] = dict(context.invocation_metadata() or ())
    if metadata.get("authorization") != f"Bearer {TOKEN}":
        await refuse(
            context,
            grpc.StatusCode.UNAUTHENTICATED,
            "TOKEN_INVALID",
            "the token is not known",
            next_step="yard config view",
        )


class FakeServer:
    """A running fake yard; `address` is both its scheduler and its store."""

    def __init__(self) -> None:
        self.yard = FakeYard()
        self.address = ""
        self._server: grpc.aio.Server | None = None

    async def start(self, address: str = "127.0.0.1:0") -> None:
        """Serves; the same address may be used again after `stop`."""
        self._server = server = grpc.aio.server()
        task_pb2_grpc.add_TaskServiceServicer_to_server(Tasks(self.yard), server)
        node_pb2_grpc.add_NodeServiceServicer_to_server(Nodes(self.yard), server)
        operator_pb2_grpc.add_OperatorServiceServicer_to_server(Operators(), server)
        account_pb2_grpc.add_AccountServiceServicer_to_server(Accounts(self.yard), server)
        artifact_pb2_grpc.add_ArtifactServiceServicer_to_server(Artifacts(self.yard), server)
        self._enable_reflection(server)
        port = server.add_insecure_port(address)
        await server.start()
        self.address = f"127.0.0.1:{port}"

    def _enable_reflection(self, server: grpc.aio.Server) -> None:
        from grpc_reflection.v1alpha import reflection

        names = [
            f"modelyard.v1.{name}"
            for name in ("TaskService", "NodeService", "OperatorService", "AccountService", "ArtifactService")
        ]
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)

    async def stop(self) -> None:
        """Ends every call at once."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
