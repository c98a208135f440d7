"""Bad input over real gRPC: the reason, the field, the next step, and nothing changed. Accounts and tokens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from modelyard.errors import from_rpc_error
from modelyard.v1 import account_pb2, agent_link_pb2, node_pb2
from modelyard.v1 import task_pb2 as pb
from services.chassis.security import USER
from services.scheduler import service
from tests.support.full_disk import FullDisk
from tests.support.scheduler_service import SchedulerYard, command, refusal, scheduler_yard
from tests.support.scripted_agent import connected
from tests.support.wait import wait_until

SCHEMA = '{"title": "echo", "type": "object", "properties": {"times": {"type": "integer"}}}'


def with_input(**source: Any) -> pb.TaskSpec:
    spec = command()
    spec.inputs["x"].CopyFrom(pb.Input(**source))
    return spec


def with_struct(number: float) -> pb.TaskSpec:
    spec = command()
    spec.params["x"] = number
    return spec


def echo(params: str) -> pb.TaskSpec:
    return pb.TaskSpec(operator=pb.OperatorWork(operator="echo"), params_json=params)


Make = Callable[[], pb.TaskSpec]
REFUSED: dict[str, tuple[Make, str, str, str]] = {
    "unknown node": (
        lambda: command(placement=pb.Placement(node="nowhere")), "NODE_NOT_FOUND", "placement.node", "yard nodes ls",
    ),
    "too much cpu": (
        lambda: command(resources=pb.Resources(cpu=1_000)), "CANNOT_BE_PLACED", "resources.cpu", "ask for less",
    ),
    "too much memory": (
        lambda: command(resources=pb.Resources(memory_bytes=1 << 45)), "CANNOT_BE_PLACED", "resources.memory",
        "ask for less",
    ),
    "no such device": (
        lambda: command(resources=pb.Resources(gpu=1)), "CANNOT_BE_PLACED", "resources.gpu", "ask for less",
    ),
    "resource nobody has": (
        lambda: command(resources=pb.Resources(custom={"fpga": 1})), "CANNOT_BE_PLACED", "resources.fpga",
        "ask for less",
    ),
    "labels nobody has": (
        lambda: command(placement=pb.Placement(labels={"zone": "x"})), "CANNOT_BE_PLACED", "placement", "yard nodes ls",
    ),
    "negative cpu": (lambda: command(resources=pb.Resources(cpu=-1)), "INVALID_SPEC", "resources.cpu", "amounts"),
    "cpu that is no number": (
        lambda: command(resources=pb.Resources(cpu=float("nan"))), "INVALID_SPEC", "resources.cpu", "amounts",
    ),
    "one and a half devices": (
        lambda: command(resources=pb.Resources(gpu=1.5)), "INVALID_SPEC", "resources.gpu", "devices are whole",
    ),
    "unknown operator": (
        lambda: pb.TaskSpec(operator=pb.OperatorWork(operator="ecko")), "OPERATOR_NOT_FOUND", "operator.operator",
        "did you mean echo?",
    ),
    "wrong type of parameter": (
        lambda: echo('{"times": "three"}'), "INVALID_PARAMS", "params.times", "yard operators get echo",
    ),
    "parameters that are no object": (lambda: echo("[1]"), "INVALID_SPEC", "params_json", ""),
    "parameters nested too deeply": (
        lambda: command(params_json='{"a":' * 20_000), "INVALID_SPEC", "params_json", "",
    ),
    "parameters that are too large": (
        lambda: command(params_json='{"a": "' + "é" * 140_000 + '"}'), "INVALID_SPEC", "params_json", "inputs",
    ),
    "number that JSON does not have": (lambda: with_struct(float("inf")), "INVALID_SPEC", "params", "null"),
    "inline data that is too large": (
        lambda: with_input(data=b"x" * 65_537), "INVALID_SPEC", "inputs['x'].data", "yard artifacts put",
    ),
    "digest that is none": (
        lambda: with_input(digest="abc"), "INVALID_SPEC", "inputs['x'].digest", "64 lower-case hexadecimal digits",
    ),
    "digest that the store has not": (
        lambda: with_input(digest="b" * 64), "INPUT_NOT_FOUND", "inputs", "yard artifacts put",
    ),
    "input without a source": (lambda: with_input(), "INVALID_SPEC", "inputs['x']", ""),
    "specification that is too large": (
        lambda: command(*["x" * 100_000] * 12), "INVALID_SPEC", "", "yard artifacts put",
    ),
    "nothing to run": (lambda: pb.TaskSpec(), "INVALID_SPEC", "work", "set operator or command"),
    "empty command": (
        lambda: pb.TaskSpec(command=pb.CommandWork()), "INVALID_SPEC", "command.argv", "give the program",
    ),
    "variable of the yard's own": (lambda: command(env={"YARD_X": "1"}), "INVALID_SPEC", "env", "the yard's own"),
    "output outside of the directory": (
        lambda: command(outputs=["../secret"]), "INVALID_SPEC", "outputs", "use a glob below it",
    ),
    "parameters of a variable that can be none": (
        lambda: command(parameter_env="A=B"), "INVALID_SPEC", "parameter_env", "MODELYARD_PARAM_NAME",
    ),
    "priority beyond the range": (lambda: command(priority=1_001), "INVALID_SPEC", "priority", ""),
    "negative array": (lambda: command(array_size=-1), "INVALID_SPEC", "array_size", ""),
}  # fmt: skip


def picture(yard: SchedulerYard) -> tuple[Any, ...]:
    state = yard.engine.state
    return set(state.tasks), state.next_number, state.next_spec, len(state.specs)


@pytest.mark.asyncio
async def test_bad_specifications_are_refused_with_reason_field_and_next_step(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, operators={"echo": SCHEMA}):
        ada = await yard.user("ada")
        await ada.submit()
        before = picture(yard)
        wrong = []
        for name, (make, reason, field, next_step) in REFUSED.items():
            # All or none: the good one beside it is not taken either.
            refused = await refusal(ada.submit(command("good"), make()))
            expected = ".".join(part for part in ("specs[1]", field) if part)
            right_field = refused.field in (expected, field) or refused.field.startswith(expected)
            if refused.reason != reason or not right_field or next_step not in refused.next_step:
                wrong.append(f"{name}: {refused.reason} {refused.field!r} {refused.next_step!r}: {refused}")
            assert refused.metadata["request_id"] and refused.next_step, name
        assert wrong == []
        assert picture(yard) == before


@pytest.mark.asyncio
async def test_node_requests_with_bad_input_are_refused(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard):
        nodes = yard.admin.nodes
        drain = node_pb2.DrainNodeRequest(node="n0")
        drain.drain_timeout.seconds = -1
        ttl = node_pb2.CreateJoinTokenRequest()
        ttl.ttl.seconds = 10**9
        calls = {
            "node": nodes.CordonNode(node_pb2.CordonNodeRequest(node="nowhere")),
            "window_s": nodes.GetOccupancy(node_pb2.GetOccupancyRequest(window_s=7)),
            "drain_timeout": nodes.DrainNode(drain),
            "ttl": nodes.CreateJoinToken(ttl),
            "request_id": nodes.CordonNode(node_pb2.CordonNodeRequest(node="n0", request_id="x")),
            "page_size": nodes.ListNodes(node_pb2.ListNodesRequest(page_size=-1)),
        }
        for field, call in calls.items():
            assert (await refusal(call)).field == field
        assert not yard.engine.state.cluster.nodes["n0"].is_cordoned


@pytest.mark.asyncio
async def test_nodes_are_cordoned_drained_and_labelled_by_administrators(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard, labels={"zone": "a"}):
        nodes = yard.admin.nodes
        cordoned = await nodes.CordonNode(node_pb2.CordonNodeRequest(node="n0"))
        assert cordoned.node.state == node_pb2.NODE_STATE_CORDONED
        drained = await nodes.DrainNode(node_pb2.DrainNodeRequest(node="n0"))
        assert drained.node.state == node_pb2.NODE_STATE_DRAINING
        ready = await nodes.UncordonNode(node_pb2.UncordonNodeRequest(node="n0"))
        assert ready.node.state == node_pb2.NODE_STATE_READY
        request = node_pb2.UpdateNodeLabelsRequest(
            node="n0", set_labels={"disk": "ssd"}, remove_labels=["zone"]
        )
        assert dict((await nodes.UpdateNodeLabels(request)).node.labels) == {"disk": "ssd"}
        await yard.restart()
        listed = await nodes.ListNodes(node_pb2.ListNodesRequest())
        assert [node.id for node in listed.nodes] == ["n0"]
        # Pinned to a node that has yet to come back: it waits.
        await (await yard.user("ada")).submit(command(placement=pb.Placement(node="n0")))


@pytest.mark.asyncio
async def test_join_token_lets_one_machine_in_once(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        created = await yard.admin.nodes.CreateJoinToken(node_pb2.CreateJoinTokenRequest(node="n7"))
        assert created.join_token in created.join_command
        links = yard.client("").links
        other = agent_link_pb2.JoinRequest(join_token=created.join_token, node="n8")
        assert (await refusal(links.Join(other))).reason == "JOIN_REFUSED"
        request = agent_link_pb2.JoinRequest(join_token=created.join_token, node="n7")
        assert (await links.Join(request)).credentials.token
        refused = await refusal(links.Join(request))
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "JOIN_REFUSED")
        assert "yard nodes token" in refused.next_step


@pytest.mark.asyncio
async def test_agent_speaks_for_its_own_node_only(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        agent = await yard.agent_client("n0")
        for hello, field in (
            (agent_link_pb2.Hello(node="n1", protocol_version=1), "hello.node"),
            (agent_link_pb2.Hello(node="n0", protocol_version=99), "hello.protocol_version"),
        ):
            call = agent.links.Connect()
            await call.write(agent_link_pb2.ConnectRequest(hello=hello))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call.read()
            assert from_rpc_error(refused.value).field == field
        assert not yard.engine.state.cluster.nodes


@pytest.mark.asyncio
async def test_full_disk_refuses_with_the_reason_and_the_service_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "HOUSEKEEPING_S", 0.01)
    async with scheduler_yard(tmp_path) as yard, connected(yard) as agent:
        ada = await yard.user("ada")
        [task_id] = await ada.submit()
        await agent.start()
        store = yard.engine.store
        store.database = disk = FullDisk(store.database)
        disk.is_full = True
        refused = await refusal(ada.submit())
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "DISK_FULL")
        await wait_until(lambda: disk.refused > 3, "housekeeping has met the full disk")
        assert (await ada.get(task_id)).state == pb.TASK_STATE_ASSIGNED
        disk.is_full = False
        await agent.disconnect()
        await agent.connect(agent.held(agent.starts[0]))
        agent.exit(agent.starts[0])
        assert (await ada.wait(task_id)).state == pb.TASK_STATE_SUCCEEDED
        assert len(await ada.submit()) == 1


# --- tokens and accounts


@pytest.mark.asyncio
async def test_token_that_has_expired_is_refused(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        await yard.user("ada")
        await yard.service._accounts.put_token("yard_user_old", "ada", USER, expire_ms=1)
        refused = await refusal(yard.client("yard_user_old").submit())
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID")
        assert "expired" in refused.message
        assert not yard.engine.state.tasks


@pytest.mark.asyncio
async def test_revoked_token_ends_at_once_with_the_streams_it_opened(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        ada = await yard.user("ada")
        session = ada.tasks.Session()
        watch = ada.tasks.WatchTasks(pb.WatchTasksRequest())
        await watch.read()
        identity = await ada.accounts.GetIdentity(account_pb2.GetIdentityRequest())
        await yard.admin.accounts.RevokeToken(
            account_pb2.RevokeTokenRequest(token_id=identity.identity.token_id)
        )
        assert (await refusal(ada.submit())).reason == "TOKEN_INVALID"
        for stream in (session, watch):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await asyncio.wait_for(stream.read(), 5)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.asyncio
async def test_account_with_unfinished_tasks_is_not_deleted_and_a_deleted_one_takes_no_more(
    tmp_path: Path,
) -> None:
    async with scheduler_yard(tmp_path) as yard:
        ada = await yard.user("ada")
        session: Any = ada.tasks.Session()
        await session.write(pb.SessionRequest(sequence=1, submit=pb.SubmitTasksRequest(specs=[command()])))
        task_id = (await session.read()).submitted.task_ids[0]
        delete = account_pb2.DeleteAccountRequest(name="ada")
        assert (await refusal(yard.admin.accounts.DeleteAccount(delete))).reason == "ACCOUNT_HAS_TASKS"
        await ada.cancel(task_id)
        await session.read()
        await yard.admin.accounts.DeleteAccount(delete)
        assert (await refusal(ada.submit())).reason == "TOKEN_INVALID"
        # The stream of the deleted account ends at once; until then it brings nothing in any more.
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await session.write(
                pb.SessionRequest(sequence=2, submit=pb.SubmitTasksRequest(specs=[command()]))
            )

        async def has_ended() -> bool:
            return await _ended(session)

        await wait_until(has_ended, "the session is refused or ended")  # type: ignore[arg-type]
        assert not yard.engine.state.tasks
        create = account_pb2.CreateAccountRequest(name="ada")
        assert (await refusal(yard.admin.accounts.CreateAccount(create))).reason == "ACCOUNT_NAME_USED"


async def _ended(session: Any) -> bool:
    try:
        answer = await session.read()
    except grpc.aio.AioRpcError:
        return True
    return answer is grpc.aio.EOF or bool(answer.refused.reason == "ACCOUNT_NOT_FOUND")


@pytest.mark.asyncio
async def test_users_manage_tokens_of_their_own_account_but_not_administrators(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        ada, bob = await yard.user("ada"), await yard.user("bob")
        near_admin = await yard.user("default")
        create = account_pb2.CreateTokenRequest
        assert (await refusal(ada.accounts.CreateToken(create(role=account_pb2.ROLE_ADMIN)))).field == "role"
        refused = await refusal(ada.accounts.CreateToken(create(account="bob", role=account_pb2.ROLE_USER)))
        assert refused.reason == "NOT_YOUR_ACCOUNT"
        own = (await ada.accounts.CreateToken(create(role=account_pb2.ROLE_VIEWER, comment="ci"))).token
        listed = await ada.accounts.ListTokens(account_pb2.ListTokensRequest())
        assert own.id in {token.id for token in listed.tokens}
        assert {token.account for token in listed.tokens} == {"ada"}
        revoke = account_pb2.RevokeTokenRequest(token_id=own.id)
        assert (await refusal(bob.accounts.RevokeToken(revoke))).reason == "TOKEN_NOT_FOUND"
        identity = (await yard.admin.accounts.GetIdentity(account_pb2.GetIdentityRequest())).identity
        admins = account_pb2.RevokeTokenRequest(token_id=identity.token_id)
        assert (await refusal(near_admin.accounts.RevokeToken(admins))).reason == "NOT_YOUR_ACCOUNT"
        await ada.accounts.RevokeToken(revoke)


@pytest.mark.asyncio
async def test_task_token_reads_its_own_task_and_nothing_else(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard) as agent:
        ada = await yard.user("ada")
        mine, other = await ada.submit(command("a"), command("b"))
        start = await agent.start()
        task = yard.client(start.task_token)
        assert (await task.get(mine)).id == mine
        assert (await refusal(task.get(other))).reason == "TASK_NOT_FOUND"
        answer = await yard.service_client.accounts.ResolveToken(
            account_pb2.ResolveTokenRequest(secret=start.task_token)
        )
        assert (answer.identity.task_id, answer.identity.account) == (mine, "ada")
