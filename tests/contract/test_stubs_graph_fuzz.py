"""Every RPC of the graph service with boundary values: never UNKNOWN or INTERNAL, nothing lost."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from modelyard.v1 import canvas_pb2, lineage_pb2, run_pb2, trigger_pb2
from services.chassis.rpc.lineage import LineageServicer
from services.graph.servicer.projects import ProjectServicer
from services.graph.servicer.runs import RunServicer
from services.graph.servicer.triggers import TriggerServicer
from tests.support.endings import NEVER, ending_of
from tests.support.graph_repeats import CANVAS, saved, triggered
from tests.support.graph_yard import graph_yard
from tests.support.mutations import mutate

SERVED = {**vars(ProjectServicer), **vars(RunServicer), **vars(TriggerServicer), **vars(LineageServicer)}
"""What is served; the rest of the contract is refused by gRPC's own stubs."""
METHODS: list[MethodDescriptor] = [
    method
    for file in (canvas_pb2, run_pb2, trigger_pb2, lineage_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if method.name in SERVED
]
MUTATIONS = 80


def made(method: MethodDescriptor, chance: random.Random, project: str, trigger: str) -> Message:
    """A request; most name a project or a trigger that is there."""
    request: Any = message_factory.GetMessageClass(method.input_type)()
    mutate(request, chance)
    fields = request.DESCRIPTOR.fields_by_name
    if "project_id" in fields and method.name != "DeleteProject" and chance.random() < 0.7:
        request.project_id = project
    if "trigger" in fields and method.name != "DeleteTrigger" and chance.random() < 0.7:
        if fields["trigger"].message_type is None:
            request.trigger = trigger
        else:
            request.trigger.project_id = project
    if "request_id" in fields and chance.random() < 0.8:
        request.request_id = ""
    return request


@pytest.mark.asyncio
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_rpc_of_graphs_with_boundary_values_is_refused_in_words_and_loses_nothing(
    method: MethodDescriptor, tmp_path: Path
) -> None:
    chance = random.Random(method.name)
    async with graph_yard(tmp_path) as yard:
        project = await saved(yard)
        trigger = await triggered(yard, "fired", webhook=method.name == "RotateTriggerSecret")
        other = await yard.user("ada")
        for number in range(MUTATIONS):
            request = made(method, chance, project, trigger)
            client = other if number % 4 == 0 else yard.admin
            code, message = await ending_of(client.channel, method, request)
            assert code not in NEVER, f"{code.name} {message} for {str(request)[:2_000]}"
            assert code is grpc.StatusCode.OK or message
        kept = canvas_pb2.GetCanvasRequest(project_id=project, version=1)
        document = (await yard.admin.projects.GetCanvas(kept)).canvas
        assert [node.id for node in document.nodes] == ["a", "b"] and CANVAS
