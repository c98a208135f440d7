"""What leaves for the scheduler and what comes back: seats as tasks, ends of tasks as ends of seats (the edge)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf import duration_pb2

from modelyard.training import PlannedRole
from modelyard.training.policies.restarts import Cause
from modelyard.v1 import task_pb2 as pb
from services.trainer.model import Exit
from services.trainer.records.store import Part
from services.trainer.state.effects import InsertBatch
from services.trainer.state.jobs import LiveJob

DEADLINE_MARGIN_S = 60.0
"""Beyond the job's own deadline: then nothing lives, also where no trainer is left to see to it."""
IMPORTS_MOST = 32
"""Of one seat, as the scheduler takes them."""
_POLICIES = {
    "": pb.PLACEMENT_POLICY_UNSPECIFIED,
    "least-loaded": pb.PLACEMENT_POLICY_LEAST_LOADED,
    "binpack": pb.PLACEMENT_POLICY_BINPACK,
    "spread": pb.PLACEMENT_POLICY_SPREAD,
}
_CAUSES = {
    pb.TASK_CAUSE_NODE_LOST: Cause.NODE_LOST,
    pb.TASK_CAUSE_PREEMPTED: Cause.PREEMPTED,
    pb.TASK_CAUSE_SETUP: Cause.SETUP,
    pb.TASK_CAUSE_OUT_OF_MEMORY: Cause.OUT_OF_MEMORY,
    # The process that kept the seat was killed: the seat is lost, whatever its machine.
    pb.TASK_CAUSE_SIGNAL: Cause.NODE_LOST,
}


def request_of(
    live: LiveJob, row: InsertBatch, endpoint: str
) -> tuple[tuple[Part, ...], pb.SubmitTasksRequest]:
    """The submission without its id, and what each of its specifications is for."""
    request, parts = pb.SubmitTasksRequest(), list[Part]()
    for role in live.plan.roles:
        least = row.gang_least.get(role.name, 0)
        for first, count in _runs(row.seats.get(role.name, ())):
            parts.append((role.name, first, count))
            _fill(request.specs.add(), live, role, row, endpoint, (first, count))
            request.specs[-1].gang.min_count = max(1, min(least, count))
            least -= min(least, count)
    return tuple(parts), request


def _fill(
    spec: pb.TaskSpec,
    live: LiveJob,
    role: PlannedRole,
    row: InsertBatch,
    endpoint: str,
    indexes: tuple[int, int],
) -> None:
    job, plan = live.job, live.plan
    name, (first, count) = f"j-{job.number}", indexes
    spec.seat.job_id, spec.seat.role, spec.seat.index, spec.seat.endpoint = name, role.name, first, endpoint
    for port in role.role.address():
        spec.seat.ports.add(name=port.name, low=port.low, high=port.high)
    spec.seat.forward = bool(plan.forwarded)
    # So that what they take to import has begun when the seat opens.
    if not role.image:
        spec.seat.imports.extend(role.role.creation.imports[:IMPORTS_MOST])
    if rules := plan.job.checkpoints.directory and plan.job.checkpoints:
        spec.seat.checkpoints.directory, spec.seat.checkpoints.match = rules.directory, rules.match
        spec.seat.checkpoints.marker = rules.marker
        spec.seat.checkpoints.settle_ms = round(1000 * rules.settle_s)
    spec.name = f"{job.name or name}-{role.name}"
    spec.array_size = count
    spec.queue, spec.priority = job.queue, job.priority
    spec.gang.name = f"{name}-{row.batch}"
    spec.delivery = pb.DELIVERY_AT_MOST_ONCE
    spec.notification.silent = True
    spec.labels.update(dict(plan.job.labels) | {"job": name, "role": role.name})
    spec.bundle_digest = job.bundle_digest
    for one in job.attachments:
        spec.attachments.add(path=one.path, digest=one.digest, is_directory=one.is_directory)
    if job.environment:
        spec.environment.ParseFromString(job.environment)
    if role.image:
        spec.environment.Clear()
        spec.environment.image = role.image
    elif plan.job.requirements:
        spec.environment.requirements = plan.job.requirements
    _place(spec, role, row.avoid)
    if plan.job.gang.wait_s:
        spec.timeouts.queue_timeout.CopyFrom(_duration(plan.job.gang.wait_s))
    if plan.job.deadline_s:
        spec.timeouts.run_timeout.CopyFrom(_duration(plan.job.deadline_s + DEADLINE_MARGIN_S))


def _place(spec: pb.TaskSpec, role: PlannedRole, avoid: Iterable[str]) -> None:
    resources, placement = role.resources, role.placement
    spec.resources.cpu, spec.resources.gpu = resources.cpu, resources.gpu
    spec.resources.memory_bytes = resources.memory_bytes
    spec.resources.custom.update(dict(resources.custom))
    spec.placement.node, spec.placement.pool = placement.node, placement.pool
    spec.placement.labels.update(dict(placement.labels))
    spec.placement.policy = _POLICIES[placement.policy]
    spec.placement.distinct_nodes = placement.distinct_nodes
    spec.placement.avoid_nodes.extend(avoid)


def _runs(indexes: Sequence[int]) -> list[tuple[int, int]]:
    """Indexes without gaps between them: the first and how many."""
    runs: list[tuple[int, int]] = []
    for index in sorted(indexes):
        if runs and sum(runs[-1]) == index:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((index, 1))
    return runs


def _duration(seconds: float) -> duration_pb2.Duration:
    whole = int(seconds)
    return duration_pb2.Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))


def exit_of(outcome: pb.TaskOutcome, now_ms: int) -> Exit:
    """How a seat ended that nobody closed."""
    error = outcome.error
    cause = _CAUSES.get(error.cause, Cause.STOPPED)
    message = error.message or pb.TaskState.Name(outcome.state).removeprefix("TASK_STATE_").lower()
    return Exit(epoch=0, cause=cause, message=message, end_ms=now_ms, node=outcome.node)


def waited_too_long(outcome: pb.TaskOutcome) -> bool:
    """Whether its gang was not placed in its time."""
    is_over = outcome.error.cause in (pb.TASK_CAUSE_TIMEOUT, pb.TASK_CAUSE_GANG)
    return is_over and not outcome.attempt
