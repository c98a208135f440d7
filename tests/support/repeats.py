"""For each RPC with a request id: a request that is carried out, and one with other content under the same id.

`CASES` is asked for by name; an RPC without a case fails the test that enumerates them from the descriptors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from modelyard.v1 import account_pb2, contact_pb2, node_pb2, queue_pb2
from modelyard.v1 import task_pb2 as pb
from tests.support.scheduler_service import Client, SchedulerYard, command
from tests.support.scripted_agent import connected

Pair = tuple[Any, Any]


async def held(client: Client) -> str:
    [task_id] = await client.submit(command(hold=True))
    return task_id


async def submit(yard: SchedulerYard) -> Pair:
    return pb.SubmitTasksRequest(specs=[command()]), pb.SubmitTasksRequest(specs=[command("false")])


async def modify(yard: SchedulerYard) -> Pair:
    task_id = await held(yard.admin)
    return (
        pb.ModifyTaskRequest(task_id=task_id, changes=pb.TaskChanges(priority=3)),
        pb.ModifyTaskRequest(task_id=task_id, changes=pb.TaskChanges(priority=4)),
    )


async def modify_many(yard: SchedulerYard) -> Pair:
    task_id = await held(yard.admin)
    assert task_id
    return (
        pb.ModifyTasksRequest(all_tasks=True, changes=pb.TaskChanges(priority=3)),
        pb.ModifyTasksRequest(all_tasks=True, changes=pb.TaskChanges(priority=4)),
    )


def of_tasks(request_type: Callable[..., Any], *, is_held: bool = True, has_ended: bool = False) -> Any:
    """An RPC that moves tasks: its own, then another one."""

    async def case(yard: SchedulerYard) -> Pair:
        ids = [(await yard.admin.submit(command(hold=is_held)))[0] for _ in range(2)]
        if has_ended:
            await yard.admin.cancel(*ids)
        return request_type(task_ids=ids[:1]), request_type(task_ids=ids[1:])

    return case


def of_node(request_type: Callable[..., Any], **fields: Any) -> Any:
    async def case(yard: SchedulerYard) -> Pair:
        return request_type(node="n0", **fields), request_type(node="n1", **fields)

    return case


async def create_account(yard: SchedulerYard) -> Pair:
    return account_pb2.CreateAccountRequest(name="cleo"), account_pb2.CreateAccountRequest(name="cora")


async def delete_account(yard: SchedulerYard) -> Pair:
    await yard.user("dora")
    return account_pb2.DeleteAccountRequest(name="dora"), account_pb2.DeleteAccountRequest(name="ada")


async def create_token(yard: SchedulerYard) -> Pair:
    return (
        account_pb2.CreateTokenRequest(role=account_pb2.ROLE_USER, comment="first"),
        account_pb2.CreateTokenRequest(role=account_pb2.ROLE_USER, comment="second"),
    )


async def revoke_token(yard: SchedulerYard) -> Pair:
    request = account_pb2.CreateTokenRequest(role=account_pb2.ROLE_USER)
    made = [await yard.admin.accounts.CreateToken(request) for _ in range(2)]
    return tuple(account_pb2.RevokeTokenRequest(token_id=answer.token.id) for answer in made)  # type: ignore[return-value]


async def delete_node(yard: SchedulerYard) -> Pair:
    for name in ("gone-a", "gone-b"):
        async with connected(yard, name) as agent:
            await agent.leave()
    return node_pb2.DeleteNodeRequest(node="gone-a"), node_pb2.DeleteNodeRequest(node="gone-b")


def room(cpu: float) -> node_pb2.CreateQuoteRequest:
    return node_pb2.CreateQuoteRequest(items=[node_pb2.QuoteItem(resources=pb.Resources(cpu=cpu))])


async def create_quote(yard: SchedulerYard) -> Pair:
    return room(1), room(2)


def of_quote(request_type: Callable[..., Any]) -> Any:
    async def case(yard: SchedulerYard) -> Pair:
        made = [(await yard.admin.nodes.CreateQuote(room(1))).quote.id for _ in range(2)]
        return request_type(quote_id=made[0]), request_type(quote_id=made[1])

    return case


WEBHOOK = "json://127.0.0.1:9/hook"


async def create_contact(yard: SchedulerYard) -> Pair:
    made = [contact_pb2.CreateContactRequest(name=name, url=WEBHOOK) for name in ("one", "other")]
    return made[0], made[1]


def of_contact(request_type: Callable[..., Any], **fields: Any) -> Any:
    async def case(yard: SchedulerYard) -> Pair:
        for name in ("one", "other"):
            await yard.admin.contacts.CreateContact(contact_pb2.CreateContactRequest(name=name, url=WEBHOOK))
        return request_type(name="one", **fields), request_type(name="other", **fields)

    return case


async def replay_delivery(yard: SchedulerYard) -> Pair:
    request, _ = await of_contact(contact_pb2.TestContactRequest)(yard)
    made = [(await yard.admin.contacts.TestContact(request)).delivery.event_id for _ in range(2)]
    return (
        contact_pb2.ReplayDeliveryRequest(event_id=made[0]),
        contact_pb2.ReplayDeliveryRequest(event_id=made[1]),
    )


async def notify(yard: SchedulerYard) -> Pair:
    made = [
        contact_pb2.NotifyRequest(event_id=event, event=1, kind="run.succeeded", subject="r-1", title=event)  # type: ignore[arg-type]
        for event in ("r-1 succeeded", "r-1 failed")
    ]
    return made[0], made[1]


async def create_queue(yard: SchedulerYard) -> Pair:
    made = [queue_pb2.CreateQueueRequest(queue=queue_pb2.Queue(name=name)) for name in ("one", "other")]
    return made[0], made[1]


async def update_queue(yard: SchedulerYard) -> Pair:
    made = [queue_pb2.UpdateQueueRequest(queue=queue_pb2.Queue(name="default", weight=w)) for w in (2, 3)]
    return made[0], made[1]


async def delete_queue(yard: SchedulerYard) -> Pair:
    for name in ("one", "other"):
        await yard.admin.queues.CreateQueue(queue_pb2.CreateQueueRequest(queue=queue_pb2.Queue(name=name)))
    return queue_pb2.DeleteQueueRequest(name="one"), queue_pb2.DeleteQueueRequest(name="other")


async def update_account(yard: SchedulerYard) -> Pair:
    made = [
        account_pb2.UpdateAccountRequest(account=account_pb2.Account(name="default", weight=w))
        for w in (2, 3)
    ]
    return made[0], made[1]


CASES: dict[str, Callable[[SchedulerYard], Awaitable[Pair]]] = {
    "SubmitTasks": submit,
    "ModifyTask": modify,
    "ModifyTasks": modify_many,
    "CancelTasks": of_tasks(pb.CancelTasksRequest, is_held=False),
    "HoldTasks": of_tasks(pb.HoldTasksRequest),
    "ReleaseTasks": of_tasks(pb.ReleaseTasksRequest),
    "SuspendTasks": of_tasks(pb.SuspendTasksRequest, is_held=False),
    "ResumeTasks": of_tasks(pb.ResumeTasksRequest),
    "RetryTasks": of_tasks(pb.RetryTasksRequest, has_ended=True),
    "CordonNode": of_node(node_pb2.CordonNodeRequest),
    "UncordonNode": of_node(node_pb2.UncordonNodeRequest),
    "DrainNode": of_node(node_pb2.DrainNodeRequest),
    "UpdateNodeLabels": of_node(node_pb2.UpdateNodeLabelsRequest, set_labels={"zone": "a"}),
    "DeleteNode": delete_node,
    "CreateQuote": create_quote,
    "RenewQuote": of_quote(node_pb2.RenewQuoteRequest),
    "DeleteQuote": of_quote(node_pb2.DeleteQuoteRequest),
    "CreateJoinToken": of_node(node_pb2.CreateJoinTokenRequest),
    "CreateAccount": create_account,
    "UpdateAccount": update_account,
    "DeleteAccount": delete_account,
    "CreateQueue": create_queue,
    "UpdateQueue": update_queue,
    "DeleteQueue": delete_queue,
    "CreateToken": create_token,
    "RevokeToken": revoke_token,
    "CreateContact": create_contact,
    "SetDefaultContact": of_contact(contact_pb2.SetDefaultContactRequest, default_for=[1]),
    "TestContact": of_contact(contact_pb2.TestContactRequest),
    "DeleteContact": of_contact(contact_pb2.DeleteContactRequest),
    "ReplayDelivery": replay_delivery,
    "Notify": notify,
}
