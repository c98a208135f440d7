"""Why a job, and each of its instances, is not further than it is (`yard train why`)."""

from __future__ import annotations

import datetime

import grpc.aio

from modelyard.quantities import format_duration
from modelyard.training_messages import dependency_message
from modelyard.v1 import job_pb2 as pb
from modelyard.v1 import task_pb2, task_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.peers.sessions import on_behalf_of
from services.trainer.convert.addresses import address_of
from services.trainer.convert.job import stacks_message
from services.trainer.engine import Engine
from services.trainer.jobs import launching, preempting, turns
from services.trainer.jobs.acts import Act
from services.trainer.model import InstanceState, JobState
from services.trainer.state.effects import Effects
from services.trainer.state.jobs import Instance, Job, LiveJob
from services.trainer.state.state import State

CALL_S = 5.0


class Explaining:
    """Asks the state, and of a job without places the scheduler."""

    def __init__(self, engine: Engine, scheduler: grpc.aio.Channel, clock: Clock) -> None:
        self._engine = engine
        self._tasks = task_pb2_grpc.TaskServiceStub(scheduler)
        self._clock = clock

    async def explain(self, number: int) -> pb.ExplainJobResponse:
        """What it waits for, instance by instance, and where they stood when one of them hung."""
        response = await self._explained(number)
        response.stacks.extend(map(stacks_message, await self._engine.store.stacks(number)))
        return response

    async def _explained(self, number: int) -> pb.ExplainJobResponse:
        live = self._engine.state.jobs.get(number)
        if live is None or live.job.state.has_ended:
            job = live.job if live is not None else await self._engine.store.job(number)
            assert job is not None
            return pb.ExplainJobResponse(
                summary=ended_summary(job, self._clock.now_ms()), next_step=_after(job)
            )
        act = Act(self._engine.state, live, Effects(), self._clock.now_ms())
        response = pb.ExplainJobResponse(summary=self._summary(live))
        if room := _making_room(self._engine.state, live, act.now):
            response.summary += f"; {room}"
        response.queue_position = turns.position(self._engine.state, live)
        for _, instance in sorted(live.instances.items()):
            wait = _wait(act, instance)
            if wait is not None:
                response.waits.append(wait)
        task = next((one.task for one in live.instances.values() if one.task and one.address is None), "")
        if task:
            await self._placement(live.job.account, task, response)
        return response

    def _summary(self, live: LiveJob) -> str:
        job = live.job
        words = {
            JobState.QUEUED: "it waits for its turn",
            JobState.RESERVING: "it waits for places for all who must start together",
            JobState.STARTING: "it has its places; not every role runs yet",
            JobState.RUNNING: "every role runs",
            JobState.RESTARTING: "instances are started again",
            JobState.SUSPENDED: "it is suspended" + ("" if job.yields_to else "; yard train resume"),
            JobState.DRAINING: "its outcome is decided, what is left of it ends",
        }
        return words[job.state] + (f": {job.message}" if job.message else "")

    async def _placement(self, account: str, task: str, response: pb.ExplainJobResponse) -> None:
        """What the scheduler says of the first that has no place."""
        try:
            found = await self._tasks.ExplainTask(
                task_pb2.ExplainTaskRequest(task_id=task), metadata=on_behalf_of(account), timeout=CALL_S
            )
        except grpc.aio.AioRpcError as error:
            response.next_step = f"the scheduler does not say why {task} waits: {error.code().name}"
            return
        response.placement.CopyFrom(found)


def ended_summary(job: Job, now_ms: int) -> str:
    """What has come of it, when, and that nothing is waited for any more."""
    words = {
        JobState.SUCCEEDED: "it has succeeded",
        JobState.FAILED: "it has failed",
        JobState.STOPPED: "it was stopped",
    }
    ended = datetime.datetime.fromtimestamp(job.end_ms // 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    when = f", {format_duration((now_ms - job.end_ms) / 1000)} ago ({ended})"
    why = f": {job.message or job.reason}" if job.message or job.reason else ""
    return f"{words[job.state]}{when}{why}; there is nothing to wait for"


def _after(job: Job) -> str:
    """What may be wanted of it now."""
    if job.state is JobState.SUCCEEDED:
        return f"yard train get j-{job.number} shows what it has kept"
    return f"yard train logs j-{job.number}; yard train get j-{job.number}"


def _making_room(state: State, live: LiveJob, now: int) -> str:
    """Who makes room for it, or why nobody does."""
    if live.job.state is not JobState.RESERVING:
        return ""
    makers = [
        f"j-{one.job.number} ({one.job.state.value})" for one in preempting.makers(state, live.job.number)
    ]
    if makers:
        return f"{', '.join(makers)} make{'s' * (len(makers) == 1)} room for it"
    others = [wish.candidates for wish in preempting.wishes(state, now) if wish.job == live.job.number]
    if others:
        names = ", ".join(f"j-{number}" for number in others[0])
        return f"{names} may be interrupted for it, which would not be enough as far as the scheduler can say now"
    return ""


def _wait(act: Act, instance: Instance) -> pb.InstanceWait | None:
    reason = {
        InstanceState.PENDING: "PLACE",
        InstanceState.SEATED: "DEPENDENCY",
        InstanceState.BACKING_OFF: "BACK_OFF",
        InstanceState.STARTING: "READINESS",
        InstanceState.STOPPING: "STOPPING",
    }.get(instance.state)
    if reason is None:
        return None
    wait = pb.InstanceWait(role=instance.role, index=instance.index, reason=reason, message=instance.message)
    wait.since_time.FromMilliseconds(instance.since_ms)
    if reason != "DEPENDENCY":
        return wait
    if act.live.check is not None:
        wait.reason = "REACHABILITY"
        wait.message = act.live.check.message or "it is found out whether its peers can be reached"
        return wait
    edge = next((one for one in act.plan.edges(instance.role) if not launching.edge_is_met(act, one)), None)
    if edge is None:
        wait.message = wait.message or "others of its gang have no place yet"
        return wait
    wait.dependency.CopyFrom(dependency_message(edge, act.plan.framework))
    wait.unmet.extend(address_of(act.live, (edge.role, index)) for index in launching.missing(act, edge))
    if edge.timeout_s:
        wait.give_up_time.FromMilliseconds(instance.since_ms + round(1000 * edge.timeout_s))
    return wait
