"""Request ids make every mutation of the graph service repeatable: each RPC that has one is repeated."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor

from modelyard.v1 import canvas_pb2, run_pb2, trigger_pb2
from tests.support import repeating
from tests.support.graph_repeats import CASES
from tests.support.graph_yard import GraphYard, graph_yard

FILES = (canvas_pb2.DESCRIPTOR, run_pb2.DESCRIPTOR, trigger_pb2.DESCRIPTOR)
MUTATIONS: dict[str, MethodDescriptor] = {
    method.name: method
    for file in FILES
    for service in file.services_by_name.values()
    for method in service.methods
    if "request_id" in method.input_type.fields_by_name
}


def call(yard: GraphYard, name: str, request: Any) -> Any:
    return repeating.call(yard.admin.channel, MUTATIONS[name], request)


def test_every_mutation_has_a_case() -> None:
    assert set(CASES) == set(MUTATIONS), "tests/support/graph_repeats.py needs a case for each"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", CASES)
async def test_repeated_request_of_a_graph_gets_the_first_answer_also_after_a_restart(
    tmp_path: Path, name: str
) -> None:
    async with graph_yard(tmp_path) as yard:
        request, other = await CASES[name](yard)
        await repeating.prove_first_answer(
            lambda asked: call(yard, name, asked), request, other, yard.restart
        )


@pytest.mark.asyncio
@pytest.mark.parametrize("name", CASES)
async def test_requests_of_a_graph_that_come_together_are_carried_out_once(tmp_path: Path, name: str) -> None:
    async with graph_yard(tmp_path) as yard:
        request, _ = await CASES[name](yard)
        await repeating.prove_once(lambda asked: call(yard, name, asked), request)


@pytest.mark.asyncio
async def test_answers_of_a_graph_are_not_readable_in_its_database(tmp_path: Path) -> None:
    async with graph_yard(tmp_path) as yard:
        request = canvas_pb2.CreateProjectRequest(name="name-of-a-project", request_id=str(uuid.uuid4()))
        await yard.admin.projects.CreateProject(request)
        [(answer,)] = await yard.service._database.read(
            lambda c: c.execute("SELECT answer FROM answer").fetchall()
        )
        assert b"name-of-a-project" not in answer
