"""For each RPC of the graph service with a request id: a request that can be carried out, and another one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from modelyard.v1 import canvas_pb2 as pb
from modelyard.v1 import run_pb2, trigger_pb2
from tests.support.graph_yard import GraphYard

Pair = tuple[Any, Any]
CANVAS = (
    '{"nodes":[{"id":"a","operator":"load"},{"id":"b","operator":"load"}],'
    '"edges":[{"source":"a","target":"b","kind":"order"}]}'
)
GATE = (
    '{"nodes":[{"id":"g","gate":{"message":"go on?"}},{"id":"b","operator":"load"}],'
    '"edges":[{"source":"g","target":"b","kind":"order"}]}'
)
OTHER = '{"nodes":[{"id":"c","operator":"load"}]}'


async def saved(yard: GraphYard, name: str = "ocr") -> str:
    """A project with a version that can be run."""
    project = await yard.admin.create(name)
    await yard.admin.save(project, CANVAS)
    return project


async def started(yard: GraphYard, name: str = "ocr") -> str:
    """A run that does not end."""
    request = run_pb2.StartRunRequest(project_id=await saved(yard, name))
    return str((await yard.admin.runs.StartRun(request)).run.id)


async def create(yard: GraphYard) -> Pair:
    return pb.CreateProjectRequest(name="one"), pb.CreateProjectRequest(name="other")


async def delete(yard: GraphYard) -> Pair:
    first, second = [await yard.admin.create(name) for name in ("one", "other")]
    return pb.DeleteProjectRequest(project_id=first), pb.DeleteProjectRequest(project_id=second)


async def share(yard: GraphYard) -> Pair:
    project = await yard.admin.create()
    made = [
        pb.SetProjectAccessRequest(project_id=project, account=name, role=pb.PROJECT_ROLE_VIEWER)
        for name in ("ada", "bob")
    ]
    return made[0], made[1]


async def save(yard: GraphYard) -> Pair:
    project = await yard.admin.create()
    made = [pb.SaveCanvasRequest(project_id=project, canvas_json=text) for text in (CANVAS, OTHER)]
    return made[0], made[1]


async def import_(yard: GraphYard) -> Pair:
    project = await yard.admin.create()
    made = [
        pb.ImportCanvasRequest(project_id=project, format="canvas", document=text.encode())
        for text in (CANVAS, OTHER)
    ]
    return made[0], made[1]


async def start(yard: GraphYard) -> Pair:
    project = await saved(yard)
    made = [run_pb2.StartRunRequest(project_id=project, comment=comment) for comment in ("one", "other")]
    return made[0], made[1]


async def decide(yard: GraphYard) -> Pair:
    runs = []
    for name in ("one", "other"):
        project = await yard.admin.create(name)
        await yard.admin.save(project, GATE)
        reply = await yard.admin.runs.StartRun(run_pb2.StartRunRequest(project_id=project))
        runs.append(reply.run.id)
    made = [
        run_pb2.DecideGateRequest(run_id=run, node_id="g", decision=pb.GATE_DECISION_APPROVED) for run in runs
    ]
    return made[0], made[1]


def of_run(request_type: Callable[..., Any], *before: Any, **fields: Any) -> Any:
    """An RPC that moves a run: its own, then another one."""

    async def case(yard: GraphYard) -> Pair:
        runs = [await started(yard, name) for name in ("one", "other")]
        for run in runs:
            for step in before:
                name = step.__name__.removesuffix("Request")
                await getattr(yard.admin.runs, name)(step(run_id=run))
        return request_type(run_id=runs[0], **fields), request_type(run_id=runs[1], **fields)

    return case


async def triggered(yard: GraphYard, name: str, *, webhook: bool = False) -> str:
    """A trigger that does not fire by itself before next year."""
    wanted = trigger_pb2.RunTrigger(name=name, project_id=await saved(yard, name))
    if webhook:
        wanted.webhook.SetInParent()
    else:
        wanted.cron.expression = "0 0 1 1 *"
    answer = await yard.admin.triggers.CreateTrigger(trigger_pb2.CreateTriggerRequest(trigger=wanted))
    return str(answer.trigger.id)


async def create_trigger(yard: GraphYard) -> Pair:
    wanted = trigger_pb2.RunTrigger(project_id=await saved(yard), webhook=trigger_pb2.WebhookSource())
    made = [trigger_pb2.CreateTriggerRequest(trigger=wanted) for _ in range(2)]
    for request, name in zip(made, ("one", "other"), strict=True):
        request.trigger.name = name
    return made[0], made[1]


def of_trigger(request_type: Callable[..., Any], *, webhook: bool = False, **fields: Any) -> Any:
    """An RPC about a trigger: one, then another."""

    async def case(yard: GraphYard) -> Pair:
        first, second = [await triggered(yard, name, webhook=webhook) for name in ("one", "other")]
        return request_type(trigger=first, **fields), request_type(trigger=second, **fields)

    return case


def _of_2020(trigger: str) -> Any:
    request = trigger_pb2.CreateBackfillRequest(trigger=trigger)
    request.from_time.FromJsonString("2020-01-01T00:00:00Z")
    request.to_time.FromJsonString("2020-06-01T00:00:00Z")
    return request


async def backfill(yard: GraphYard) -> Pair:
    first, second = [await triggered(yard, name) for name in ("one", "other")]
    return _of_2020(first), _of_2020(second)


async def cancel_backfill(yard: GraphYard) -> Pair:
    made = []
    for request in await backfill(yard):
        answer = await yard.admin.triggers.CreateBackfill(request)
        made.append(trigger_pb2.CancelBackfillRequest(backfill_id=answer.backfill.id, cancel_runs=True))
    return made[0], made[1]


CASES: dict[str, Callable[[GraphYard], Awaitable[Pair]]] = {
    "CreateProject": create,
    "DeleteProject": delete,
    "SetProjectAccess": share,
    "SaveCanvas": save,
    "ImportCanvas": import_,
    "StartRun": start,
    "CancelRun": of_run(run_pb2.CancelRunRequest),
    "PauseRun": of_run(run_pb2.PauseRunRequest),
    "ResumeRun": of_run(run_pb2.ResumeRunRequest, run_pb2.PauseRunRequest),
    "DeleteRun": of_run(run_pb2.DeleteRunRequest, run_pb2.CancelRunRequest),
    "ContinueRun": of_run(run_pb2.ContinueRunRequest, run_pb2.CancelRunRequest),
    "ModifyRunNode": of_run(run_pb2.ModifyRunNodeRequest, node_id="b", params_json='{"w": 1}'),
    "DecideGate": decide,
    "CreateTrigger": create_trigger,
    "UpdateTrigger": of_trigger(
        trigger_pb2.UpdateTriggerRequest, changes=trigger_pb2.RunTrigger(paused=True, comment="for now")
    ),
    "DeleteTrigger": of_trigger(trigger_pb2.DeleteTriggerRequest),
    "RotateTriggerSecret": of_trigger(trigger_pb2.RotateTriggerSecretRequest, webhook=True),
    "FireTrigger": of_trigger(trigger_pb2.FireTriggerRequest),
    "CreateBackfill": backfill,
    "CancelBackfill": cancel_backfill,
}
