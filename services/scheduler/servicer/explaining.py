"""Explanations and plans as messages."""

from collections.abc import Iterable

import msgspec

from modelyard.v1 import task_pb2 as pb
from services.scheduler.placement.placement import score_of
from services.scheduler.reading.views import timestamp_of
from services.scheduler.scheduling.explain import Explanation, Verdict
from services.scheduler.scheduling.gates import Gate
from services.scheduler.scheduling.suggestions import Suggestion
from services.scheduler.state.task import Task


def explanation(found: Explanation, task: Task) -> pb.ExplainTaskResponse:
    """Why a task waits, or why it is where it is."""
    response = pb.ExplainTaskResponse(
        summary=found.summary,
        queue_position=found.position,
        nodes=_nodes(found.nodes),
        next_step=found.next_step,
        gates=_gates(found.gates),
        suggestions=_suggestions(found.suggestions),
        estimated_start_time=timestamp_of(found.start_ms),
    )
    if task.node:
        response.placement.CopyFrom(_decision(task))
    return response


def plan(found: Explanation) -> pb.PlanTaskResponse:
    """What would become of a specification."""
    best = min((v for v in found.nodes if v.fits), key=lambda v: v.score, default=None)
    return pb.PlanTaskResponse(
        summary="it would start at once" if found.starts_now else found.summary,
        starts_now=found.starts_now,
        node=best.node if best is not None and found.starts_now else "",
        queue_position=0 if found.starts_now else found.position,
        nodes=_nodes(found.nodes),
        gates=_gates(found.gates),
        suggestions=_suggestions(found.suggestions),
        estimated_start_time=timestamp_of(found.start_ms),
    )


def _nodes(verdicts: Iterable[Verdict]) -> list[pb.NodeVerdict]:
    return [
        pb.NodeVerdict(node=v.node, fits=v.fits, reason=v.reason, message=v.message, occupancy_ratio=v.score)
        for v in verdicts
    ]


def _gates(gates: Iterable[Gate]) -> list[pb.Gate]:
    return [pb.Gate(reason=gate.reason, message=gate.message) for gate in gates]


def _suggestions(suggestions: Iterable[Suggestion]) -> list[pb.Suggestion]:
    return [
        pb.Suggestion(
            field=s.field,
            value_json=msgspec.json.encode(s.value).decode() if s.field else "",
            message=s.message,
        )
        for s in suggestions
    ]


def _decision(task: Task) -> pb.PlacementDecision:
    """Empty of candidates where the choice was not among nodes, or was made before the last start."""
    policy = task.spec.shape.policy
    decision = pb.PlacementDecision(node=task.node, policy=pb.PlacementPolicy.ValueType(policy))
    decision.decide_time.FromMilliseconds(task.assign_ms)
    for entry in task.considered:
        occupancy_ratio, count = score_of(entry, policy)
        decision.candidates.add(node=entry[-1], occupancy_ratio=occupancy_ratio, running_count=count)
    return decision
