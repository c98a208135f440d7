"""Request ids make every mutation repeatable: each RPC that has one, found from the descriptors, is repeated."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor

from modelyard.v1 import account_pb2
from modelyard.v1 import task_pb2 as pb
from services.chassis.security import ON_BEHALF
from services.scheduler.intake.answers import OWN_PROMISE
from services.scheduler.rules import RULES
from tests.support import repeating
from tests.support.repeating import under
from tests.support.repeats import CASES, held
from tests.support.scheduler_service import SchedulerYard, command, refusal, scheduler_yard
from tests.support.scripted_agent import connected

SERVICES = {rule.split("/")[1] for rule in RULES}


def mutations() -> list[MethodDescriptor]:
    """Every RPC of the scheduler that changes something under a request id."""
    pool = pb.DESCRIPTOR.pool
    services = [pool.FindServiceByName(name) for name in sorted(SERVICES)]
    methods = [method for service in services for method in service.methods]
    return [
        method
        for method in methods
        if f"/{method.containing_service.full_name}/{method.name}" in RULES
        and "request_id" in method.input_type.fields_by_name
        and not method.client_streaming
    ]


MUTATIONS = {method.name: method for method in mutations()}


def call(yard: SchedulerYard, name: str, request: Any) -> Any:
    method = MUTATIONS[name]
    if RULES[f"/{method.containing_service.full_name}/{name}"] == {ON_BEHALF}:
        return repeating.call(yard.service_client.channel, method, request, account="default")
    return repeating.call(yard.admin.channel, method, request)


def told(name: str, answer: Any) -> Any:
    """Of those that tell where the yard is now, what they tell of their own doing."""
    if name in OWN_PROMISE and hasattr(answer, "revision"):
        answer.ClearField("revision")
    return answer


def test_every_mutation_has_a_case() -> None:
    assert set(CASES) == set(MUTATIONS), (
        "tests/support/repeats.py needs a case for each RPC with a request id"
    )


@pytest.mark.asyncio
@pytest.mark.parametrize("name", CASES)
async def test_repeated_request_gets_the_first_answer_also_after_a_restart(  # contract.md: request_id
    tmp_path: Path, name: str
) -> None:
    async with scheduler_yard(tmp_path) as yard:
        async with connected(yard, "n0"), connected(yard, "n1"):
            request, other = await CASES[name](yard)
            request_id = str(uuid.uuid4())
            first = told(name, await call(yard, name, under(request, request_id)))
            assert told(name, await call(yard, name, under(request, request_id))) == first
            assert (await refusal(call(yard, name, under(other, request_id)))).reason == "REQUEST_ID_REUSED"
        await yard.restart()
        assert told(name, await call(yard, name, under(request, request_id))) == first
        assert (await refusal(call(yard, name, under(other, request_id)))).reason == "REQUEST_ID_REUSED"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", CASES)
async def test_requests_that_come_together_are_carried_out_once(tmp_path: Path, name: str) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, "n0"), connected(yard, "n1"):
        request, _ = await CASES[name](yard)
        under(request, str(uuid.uuid4()))
        answers = await asyncio.gather(*[call(yard, name, request) for _ in range(5)])
        assert [told(name, answer) for answer in answers] == [told(name, answers[0])] * 5


@pytest.mark.asyncio
async def test_id_that_was_used_is_refused_to_other_rpcs(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        released, created, submitted = (str(uuid.uuid4()) for _ in range(3))
        task_id = await held(yard.admin)
        await yard.admin.tasks.ReleaseTasks(pb.ReleaseTasksRequest(task_ids=[task_id], request_id=released))
        create = account_pb2.CreateAccountRequest(name="cleo", request_id=created)
        await yard.admin.accounts.CreateAccount(create)
        await yard.admin.submit(command(), request_id=submitted)
        for used in (released, created):
            submit = pb.SubmitTasksRequest(specs=[command()], request_id=used)
            assert (await refusal(yard.admin.tasks.SubmitTasks(submit))).reason == "REQUEST_ID_REUSED"
        create = account_pb2.CreateAccountRequest(name="cora", request_id=submitted)
        assert (await refusal(yard.admin.accounts.CreateAccount(create))).reason == "REQUEST_ID_REUSED"
        cancel = pb.CancelTasksRequest(task_ids=[task_id], request_id=submitted)
        assert (await refusal(yard.admin.tasks.CancelTasks(cancel))).reason == "REQUEST_ID_REUSED"


@pytest.mark.asyncio
async def test_refusal_is_not_remembered_and_another_role_is_another_request(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        request_id = str(uuid.uuid4())
        create = account_pb2.CreateTokenRequest(
            account="cleo", role=account_pb2.ROLE_USER, request_id=request_id
        )
        assert (await refusal(yard.admin.accounts.CreateToken(create))).reason == "ACCOUNT_NOT_FOUND"
        await yard.user("cleo")
        await yard.admin.accounts.CreateToken(create)
        # Whoever has the id but not the role does not get the secret.
        user = await yard.user("default")
        own = account_pb2.CreateTokenRequest(role=account_pb2.ROLE_ADMIN, request_id=str(uuid.uuid4()))
        await yard.admin.accounts.CreateToken(own)
        assert (await refusal(user.accounts.CreateToken(own))).reason == "REQUEST_ID_REUSED"


@pytest.mark.asyncio
async def test_secrets_of_answers_are_not_readable_in_the_database(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        request = account_pb2.CreateTokenRequest(role=account_pb2.ROLE_USER, request_id=str(uuid.uuid4()))
        secret = (await yard.admin.accounts.CreateToken(request)).secret
    for file in (tmp_path / "scheduler").glob("scheduler.db*"):
        assert secret.encode() not in file.read_bytes()
    with sqlite3.connect(tmp_path / "scheduler" / "scheduler.db") as connection:
        [(answer,)] = connection.execute("SELECT answer FROM answer").fetchall()
    connection.close()
    assert secret.encode() not in answer


@pytest.mark.asyncio
async def test_request_whose_answer_was_lost_is_not_carried_out_again(tmp_path: Path) -> None:
    """The service ends between the commit of a change and that of its answer."""
    async with scheduler_yard(tmp_path) as yard:
        task_id, request_id = await held(yard.admin), str(uuid.uuid4())
        request = pb.ReleaseTasksRequest(task_ids=[task_id], request_id=request_id)
        await yard.admin.tasks.ReleaseTasks(request)
        await yard.service._store.database.write(lambda c: c.execute("DELETE FROM answer"))
        await yard.restart()
        [task] = (await yard.admin.tasks.ReleaseTasks(request)).tasks
        assert task.state == pb.TASK_STATE_QUEUED
