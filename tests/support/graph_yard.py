"""A scheduler and a graph service with real ports, databases and tokens, in one process, and clients of the second."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from modelyard.channel import connect
from modelyard.v1 import canvas_pb2, canvas_pb2_grpc, operator_pb2, run_pb2_grpc, trigger_pb2_grpc
from services.graph.config import GraphConfig
from services.graph.service import GraphService
from tests.support.peer_yard import PeerYard
from tests.support.scheduler_service import SchedulerYard, scheduler_yard
from tests.support.scripted_agent import connected, ignore


class GraphClient:
    """The graph service as one account sees it."""

    def __init__(self, address: str, token: str) -> None:
        self.token = token
        self.channel = connect(address, token=token)
        self.projects = canvas_pb2_grpc.ProjectServiceStub(self.channel)
        self.runs = run_pb2_grpc.RunServiceStub(self.channel)
        self.triggers = trigger_pb2_grpc.TriggerServiceStub(self.channel)

    async def create(self, name: str = "ocr") -> str:
        """A new project's id."""
        answer = await self.projects.CreateProject(canvas_pb2.CreateProjectRequest(name=name))
        return str(answer.project.id)

    async def save(self, project_id: str, document: bytes | str, parent: int = 0, **fields: Any) -> Any:
        """Saves a document; the answer."""
        text = document.decode() if isinstance(document, bytes) else document
        request = canvas_pb2.SaveCanvasRequest(
            project_id=project_id, canvas_json=text, parent=parent, **fields
        )
        return await self.projects.SaveCanvas(request)


class GraphYard(PeerYard[GraphService, GraphClient]):
    """Both services."""

    def __init__(self, scheduler: SchedulerYard, state_dir: Path) -> None:
        config = GraphConfig(state_dir=state_dir, scheduler=scheduler.address)
        super().__init__(scheduler, lambda loops: GraphService(config, loops), GraphClient)


def port(name: str, type_: str = "json", *, required: bool = True) -> operator_pb2.Port:
    """A port of an operator."""
    return operator_pb2.Port(name=name, type=type_, required=required)


SCHEMA = (
    '{"title":"resize","type":"object","additionalProperties":false,"required":["w"],"properties":'
    '{"w":{"type":"integer","minimum":1,"maximum":4096},"mode":{"enum":["fit","fill"]}}}'
)
OPERATORS = [
    operator_pb2.Operator(name="load", version="1", outputs=[port("image", "file"), port("meta")]),
    operator_pb2.Operator(
        name="resize", version="2", params_schema_json=SCHEMA, inputs=[port("image", "file")],
        outputs=[port("image", "file")],
    ),
    operator_pb2.Operator(name="join", version="1", inputs=[port("values", required=False)], outputs=[port("result")]),
]  # fmt: skip
"""What the agent of `graph_yard` offers unless another list is given."""


@asynccontextmanager
async def graph_yard(
    state_dir: Path, operators: Sequence[operator_pb2.Operator] = OPERATORS
) -> AsyncIterator[GraphYard]:
    """Both services, and an agent that offers the operators and never ends a task."""
    async with (
        scheduler_yard(state_dir) as scheduler,
        connected(scheduler, "n0", ignore, described=list(operators)),
    ):
        yard = GraphYard(scheduler, state_dir)
        await yard.start()
        try:
            yield yard
        finally:
            await yard.stop()
