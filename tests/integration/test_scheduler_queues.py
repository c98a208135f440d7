"""Queues and quotas over the wire: who may, what is refused and why, what is shown, what outlasts a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from modelyard.v1 import account_pb2, queue_pb2
from modelyard.v1 import task_pb2 as pb
from tests.support.scheduler_service import Client, SchedulerYard, command, refusal, scheduler_yard
from tests.support.scripted_agent import connected

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def yard(tmp_path: Path) -> AsyncIterator[SchedulerYard]:
    async with scheduler_yard(tmp_path) as started:
        yield started


def quota(limit: dict[str, float] | None = None, **fields: Any) -> queue_pb2.Quota:
    made = queue_pb2.Quota(**fields)
    if limit is not None:
        made.limit.amounts.update(limit)
    return made


async def create(client: Client, name: str, **fields: Any) -> queue_pb2.Queue:
    request = queue_pb2.CreateQueueRequest(queue=queue_pb2.Queue(name=name, **fields))
    return (await client.queues.CreateQueue(request)).queue


async def update(client: Client, name: str, *paths: str, **fields: Any) -> queue_pb2.Queue:
    request = queue_pb2.UpdateQueueRequest(queue=queue_pb2.Queue(name=name, **fields))
    request.update_mask.CopyFrom(FieldMask(paths=paths))
    return (await client.queues.UpdateQueue(request)).queue


async def get(client: Client, name: str) -> queue_pb2.Queue:
    return (await client.queues.GetQueue(queue_pb2.GetQueueRequest(name=name))).queue


async def test_default_queue_is_there_and_shows_its_settings(yard: SchedulerYard) -> None:
    queues = (await yard.admin.queues.ListQueues(queue_pb2.ListQueuesRequest())).queues
    assert [queue.name for queue in queues] == ["default"]
    assert queues[0].weight == 1 and queues[0].ageing_interval.seconds == 300


async def test_queue_is_made_changed_and_deleted(yard: SchedulerYard) -> None:
    made = await create(
        yard.admin, "night", priority=-5, weight=2, quota=quota({"cpu": 8, "memory": 1 << 30})
    )
    assert (made.priority, made.weight, made.quota.limit.amounts["cpu"]) == (-5, 2, 8)
    changed = await update(yard.admin, "night", quota=quota(max_running=3), is_stopped=True)
    assert (changed.quota.max_running, changed.is_stopped, changed.quota.limit.amounts["memory"]) == (
        3,
        True,
        1 << 30,
    )
    cleared = await update(
        yard.admin, "night", "quota.limit", "is_stopped", "ageing_interval", ageing_interval=Duration()
    )
    assert (
        not cleared.quota.HasField("limit") and not cleared.is_stopped and not cleared.ageing_interval.seconds
    )
    await yard.admin.queues.DeleteQueue(queue_pb2.DeleteQueueRequest(name="night"))
    error = await refusal(yard.admin.queues.GetQueue(queue_pb2.GetQueueRequest(name="night")))
    assert error.reason == "QUEUE_NOT_FOUND"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "no spaces"}, "queue.name"),
        ({"priority": 1001}, "queue.priority"),
        ({"weight": -1.0}, "queue.weight"),
        ({"weight": float("nan")}, "queue.weight"),
        ({"quota": quota({"cpu": -1})}, "queue.quota.limit.amounts['cpu']"),
        ({"quota": quota({"": 1})}, "queue.quota.limit.amounts"),
        ({"quota": quota(max_running=-1)}, "queue.quota.max_running"),
        ({"ageing_interval": Duration(seconds=-1)}, "queue.ageing_interval"),
        ({"accounts": ["nobody"]}, "queue.accounts"),
    ],
)
async def test_queue_that_cannot_be_is_refused_by_its_field(
    yard: SchedulerYard, fields: dict[str, Any], field: str
) -> None:
    given = {"name": "work", **fields}
    error = await refusal(create(yard.admin, given.pop("name"), **given))
    assert error.field == field and error.next_step


async def test_guarantee_above_the_limit_is_refused_also_when_they_come_apart(yard: SchedulerYard) -> None:
    await create(yard.admin, "work", quota=quota({"cpu": 2}))
    wanted = queue_pb2.Quota(guaranteed=queue_pb2.ResourceAmounts(amounts={"cpu": 3}))
    error = await refusal(update(yard.admin, "work", quota=wanted))
    assert error.field == "queue.quota.guaranteed"


async def test_update_of_nothing_or_of_usage_is_refused(yard: SchedulerYard) -> None:
    assert (await refusal(update(yard.admin, "default"))).reason == "EMPTY_MASK"
    error = await refusal(update(yard.admin, "default", "usage"))
    assert error.reason == "UNKNOWN_PATH" and "priority" in error.next_step


async def test_submission_is_refused_with_the_nearest_queue_or_the_quota(yard: SchedulerYard) -> None:
    await create(yard.admin, "night", quota=quota({"cpu": 2}))
    missing = await refusal(yard.admin.submit(command(queue="nigth")))
    assert (missing.reason, missing.field) == ("QUEUE_NOT_FOUND", "specs[0].queue")
    assert "did you mean night?" in missing.next_step
    large = await refusal(yard.admin.submit(command(queue="night", resources=pb.Resources(cpu=3))))
    assert (large.reason, large.field) == ("QUOTA_TOO_SMALL", "specs[0].resources.cpu")


async def test_caps_that_cannot_be_are_refused_by_their_field(yard: SchedulerYard) -> None:
    cap = pb.ConcurrencyCap
    for caps, field in (
        ([cap(key="", max_running=1)], "[0].key"),
        ([cap(key="a")], "[0].max_running"),
        ([cap(key="a", max_running=1), cap(key="a", max_running=2)], "[1].key"),
        ([cap(key=f"k{i}", max_running=1) for i in range(17)], ""),
    ):
        error = await refusal(yard.admin.submit(command(concurrency_caps=caps)))
        assert error.field == f"specs[0].concurrency_caps{field}"


async def test_queue_open_to_one_account_refuses_another(yard: SchedulerYard) -> None:
    ada, bob = await yard.user("ada"), await yard.user("bob")
    await create(yard.admin, "hers", accounts=["ada"])
    await ada.submit(command(queue="hers"))
    error = await refusal(bob.submit(command(queue="hers")))
    assert (error.code, error.reason) == ("PERMISSION_DENIED", "QUEUE_NOT_OPEN")


async def test_user_sees_totals_and_only_the_own_share(yard: SchedulerYard) -> None:
    ada, bob = await yard.user("ada"), await yard.user("bob")
    async with connected(yard, "n0"):
        for client in (ada, bob):
            await client.submit(command(), command())
        seen = await get(ada, "default")
        everything = await get(yard.admin, "default")
    assert [share.account for share in seen.shares] == ["ada"]
    assert [share.account for share in everything.shares] == ["ada", "bob"]
    assert seen.usage == everything.usage and seen.usage.running_count > 0
    assert seen.usage.running_count + seen.waiting_count == 4
    refused = await refusal(create(ada, "mine"))
    assert refused.code == "PERMISSION_DENIED"


async def test_explain_and_the_task_itself_say_what_it_waits_for(yard: SchedulerYard) -> None:
    await update(yard.admin, "default", is_stopped=True)
    async with connected(yard, "n0"):
        [task_id] = await yard.admin.submit(command())
        answer = await yard.admin.tasks.ExplainTask(pb.ExplainTaskRequest(task_id=task_id))
        assert [gate.reason for gate in answer.gates] == ["QUEUE_STOPPED"]
        assert "yard queues start default" in answer.next_step
        assert "QUEUE_STOPPED" in (await yard.admin.get(task_id)).detail.reason
        await update(yard.admin, "default", "is_stopped")
        assert (await yard.admin.get(task_id)).node == "n0"


async def test_account_has_weight_and_quota_and_shows_what_it_holds(yard: SchedulerYard) -> None:
    await yard.user("ada")
    request = account_pb2.UpdateAccountRequest(
        account=account_pb2.Account(name="ada", weight=3, quota=quota({"cpu": 1}, max_unfinished=2))
    )
    changed = (await yard.admin.accounts.UpdateAccount(request)).account
    assert (changed.weight, changed.quota.max_unfinished, changed.create_time.seconds > 0) == (3, 2, True)
    ada = await yard.user("ada")
    error = await refusal(ada.submit(command(), command(), command()))
    assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_UNFINISHED")
    async with connected(yard, "n0"):
        await ada.submit(command(), command())
        accounts = (await yard.admin.accounts.ListAccounts(account_pb2.ListAccountsRequest())).accounts
    shown = next(account for account in accounts if account.name == "ada")
    assert shown.usage.running_count == 1 and shown.usage.held.amounts["cpu"] == 1
    missing = account_pb2.UpdateAccountRequest(account=account_pb2.Account(name="nobody", weight=1))
    assert (await refusal(yard.admin.accounts.UpdateAccount(missing))).reason == "ACCOUNT_NOT_FOUND"


async def test_queues_and_quotas_outlast_a_restart(yard: SchedulerYard) -> None:
    await create(yard.admin, "night", weight=2, quota=quota({"gpu": 0}, max_running=1))
    await create(yard.admin, "gone")
    await yard.admin.queues.DeleteQueue(queue_pb2.DeleteQueueRequest(name="gone"))
    request = account_pb2.UpdateAccountRequest(account=account_pb2.Account(name="default", weight=4))
    await yard.admin.accounts.UpdateAccount(request)
    before = await get(yard.admin, "night")
    [task_id] = await yard.admin.submit(command(queue="night"))
    await yard.restart()
    after = await get(yard.admin, "night")
    assert after.waiting_count == 1
    after.waiting_count = 0
    del after.shares[:]
    assert after == before
    assert [q.name for q in (await yard.admin.queues.ListQueues(queue_pb2.ListQueuesRequest())).queues] == [
        "default",
        "night",
    ]
    accounts = (await yard.admin.accounts.ListAccounts(account_pb2.ListAccountsRequest())).accounts
    assert accounts[0].weight == 4
    assert (await yard.admin.get(task_id)).spec.queue == "night"
