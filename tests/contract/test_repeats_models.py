"""Request ids make every mutation of the models service repeatable: each RPC that has one is repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor

from modelyard.v1 import deployment_pb2, model_pb2
from services.models.rules import RULES
from tests.support import repeating
from tests.support.models_repeats import CASES
from tests.support.models_yard import ModelsYard, models_yard

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
        await repeating.prove_first_answer(
            lambda asked: call(yard, name, asked), request, other, yard.restart
        )


@pytest.mark.asyncio
@pytest.mark.parametrize("name", CASES)
async def test_requests_of_the_models_service_that_come_together_are_carried_out_once(
    tmp_path: Path, name: str
) -> None:
    async with models_yard(tmp_path) as yard:
        request, _ = await CASES[name](yard)
        await repeating.prove_once(lambda asked: call(yard, name, asked), request)
