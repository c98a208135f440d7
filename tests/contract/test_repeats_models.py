"""Request ids make every mutation of the models service repeatable: each RPC that has one is repeated."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor

from modelyard.v1 import deployment_pb2, model_pb2
from services.models.rules import RULES
from tests.support import repeating
from tests.support.models_repeats import CASES
from tests.support.models_yard import ModelsYard, models_yard
from tests.support.repeating import under
from tests.support.scheduler_service import refusal

RPCS = {path.rpartition("/")[2] for path in RULES}
"""What is served."""
# LoadModel waits for an agent: see tests/e2e/test_e2e_model_frames.py.
FILES = (model_pb2.DESCRIPTOR, deployment_pb2.DESCRIPTOR)
MUTATIONS: dict[str, MethodDescriptor] = {
    method.name: method
    for file in FILES
    for service in file.services_by_name.values()
    for method in service.methods
    if method.name in RPCS and method.name != "LoadModel" and "request_id" in method.input_type.fields_by_name
}


def call(yard: ModelsYard, name: str, request: Any) -> Any:
    return repeating.call(yard.admin.channel, MUTATIONS[name], request)


def test_every_mutation_has_a_case() -> None:
    assert set(CASES) == set(MUTATIONS), "tests/support/models_repeats.py needs a case for each"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", CASES)
async def test_repeated_request_of_the_models_service_gets_the_first_answer_also_after_a_restart(
    tmp_path: Path, name: str
) -> None:
    async with models_yard(tmp_path) as yard:
        request, other = await CASES[name](yard)
        request_id = str(uuid.uuid4())
        first = await call(yard, name, under(request, request_id))
        assert await call(yard, name, under(request, request_id)) == first
        assert (await refusal(call(yard, name, under(other, request_id)))).reason == "REQUEST_ID_REUSED"
        await yard.restart()
        assert await call(yard, name, under(request, request_id)) == first
        assert (await refusal(call(yard, name, under(other, request_id)))).reason == "REQUEST_ID_REUSED"
        bad = await refusal(call(yard, name, under(request, "not a uuid")))
        assert (bad.reason, bad.field) == ("REQUEST_ID_INVALID", "request_id")


@pytest.mark.asyncio
@pytest.mark.parametrize("name", CASES)
async def test_requests_of_the_models_service_that_come_together_are_carried_out_once(
    tmp_path: Path, name: str
) -> None:
    async with models_yard(tmp_path) as yard:
        request, _ = await CASES[name](yard)
        under(request, str(uuid.uuid4()))
        answers = await asyncio.gather(*[call(yard, name, request) for _ in range(5)])
        assert answers == [answers[0]] * 5
