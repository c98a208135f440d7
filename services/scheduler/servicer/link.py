"""AgentLinkService: how machines join, the stream of each agent, and what their tasks write."""

from collections.abc import AsyncIterator
from typing import Any

from modelyard.v1 import agent_link_pb2 as pb
from modelyard.v1 import agent_link_pb2_grpc
from services.chassis.access.admission import certified_node
from services.chassis.security import principal
from services.scheduler.access.credentials import Credentials
from services.scheduler.archive.logs import LogFiles
from services.scheduler.engine import Engine
from services.scheduler.intake.operators import Operators
from services.scheduler.intake.specs import NAME
from services.scheduler.link.link import AgentLink
from services.scheduler.model import parse_task_id
from services.scheduler.refusals import CertificateMissing, InvalidRequest, NotYourAccount

PROTOCOL_VERSION = 1


class LinkServicer(agent_link_pb2_grpc.AgentLinkServiceServicer):
    """An agent speaks for the one node that its credentials name."""

    def __init__(
        self, engine: Engine, credentials: Credentials, operators: Operators, logs: LogFiles, agent_port: int
    ) -> None:
        self._engine = engine
        self._credentials = credentials
        self._operators = operators
        self._logs = logs
        self._agent_port = agent_port

    async def Join(self, request: pb.JoinRequest, context: Any) -> pb.JoinResponse:
        if request.node and not NAME.fullmatch(request.node):
            raise InvalidRequest(f"{request.node[:80]!r} is not a node's name", field="node")
        node = await self._credentials.join(
            request.join_token, request.node, self._engine.state.cluster.nodes
        )
        credentials = await self._credentials.issue(node, request.certificate_request_pem)
        return pb.JoinResponse(node=node, credentials=credentials, agent_port=self._agent_port)

    async def Connect(  # type: ignore[override]
        self, request_iterator: AsyncIterator[pb.ConnectRequest], context: Any
    ) -> None:
        first = await context.read()
        if not isinstance(first, pb.ConnectRequest) or first.WhichOneof("message") != "hello":
            raise InvalidRequest("the first message must be a hello", field="hello")
        hello = first.hello
        self._check_certificate(context)
        if hello.node != principal().node:
            raise NotYourAccount(
                f"these credentials are for {principal().node}, not {hello.node}", field="hello.node"
            )
        if hello.protocol_version != PROTOCOL_VERSION:
            raise InvalidRequest(
                f"this scheduler speaks protocol {PROTOCOL_VERSION}, not {hello.protocol_version}",
                field="hello.protocol_version", next_step="install the same version on both sides",
            )  # fmt: skip
        self._operators.learn(hello.operators)
        await AgentLink(self._engine, self._credentials, hello.node, context).serve(hello)

    async def PushLogs(
        self, request_iterator: AsyncIterator[pb.PushLogsRequest], context: Any
    ) -> AsyncIterator[pb.PushLogsResponse]:
        self._check_certificate(context)
        node = principal().node
        async for request in request_iterator:
            response = pb.PushLogsResponse()
            for chunk in request.chunks:
                position = await self._append(chunk, node)
                response.positions.add(
                    task_id=chunk.task_id, attempt=chunk.attempt, stream=chunk.stream, offset=position
                )
            yield response

    def _check_certificate(self, context: Any) -> None:
        """Where TLS is on, a node's token is worth nothing without that node's certificate."""
        if not self._agent_port:
            return
        certified, node = certified_node(context), principal().node
        if certified != node:
            raise CertificateMissing(
                f"the token is of the node {node}, the certificate of {certified or 'nobody'}",
                next_step=f"call port {self._agent_port} with the certificate that came with the token",
            )

    async def _append(self, chunk: pb.LogChunk, node: str) -> int:
        key = parse_task_id(chunk.task_id)
        if not await self._ran_on(key, chunk.attempt, node) or chunk.stream not in (1, 2) or chunk.offset < 0:
            # Nobody will ever read it: let the agent believe that it is kept.
            return chunk.offset + len(chunk.data)
        return self._logs.append(key, chunk.attempt, chunk.stream, chunk.offset, chunk.data)

    async def _ran_on(self, key: int, attempt: int, node: str) -> bool:
        task = self._engine.state.tasks.get(key)
        if task is not None and task.attempt == attempt and task.node == node:
            return True
        # A task that waits for its next attempt has no node any more; the record still knows.
        stored = await self._engine.store.get_task(key)
        return stored is not None and any(c.attempt == attempt and c.node == node for c in stored[1])
