"""What a job has kept, as messages: outputs and checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from modelyard.v1 import job_pb2, task_pb2
from services.trainer.model import Checkpoint
from services.trainer.state.jobs import Instance


def output_messages(outputs: Iterable[tuple[str, str, int]]) -> list[task_pb2.Output]:
    """Name, digest and size of each."""
    return [task_pb2.Output(name=name, digest=digest, size_bytes=size) for name, digest, size in outputs]


def checkpoint_messages(
    found: Iterable[Checkpoint], instances: Sequence[Instance]
) -> list[job_pb2.JobCheckpoint]:
    """By role and index, oldest first."""
    users: dict[int, list[str]] = {}
    for instance in instances:
        users.setdefault(instance.resume, []).append(f"{instance.role}-{instance.index}")
    in_order = sorted(found, key=lambda one: (one.role, one.index, one.seat, one.time_ms, one.number))
    return [_message(one, users.get(one.number, [])) for one in in_order]


def _message(one: Checkpoint, users: list[str]) -> job_pb2.JobCheckpoint:
    message = job_pb2.JobCheckpoint(
        role=one.role, index=one.index, name=one.name, step=one.step, metric=one.metric, size_bytes=one.size_bytes,
        epoch=one.epoch, is_stored=one.is_stored, files=output_messages(one.files), resumed_by=users,
    )  # fmt: skip
    message.time.FromMilliseconds(one.time_ms)
    return message
