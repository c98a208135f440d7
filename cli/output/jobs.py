"""Training jobs and their instances in words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cli import exit_codes
from cli.output.nouns import age
from modelyard.quantities import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cli.output.render import Columns
    from modelyard.v1 import job_pb2


def state_of(job: job_pb2.Job) -> str:
    """One word."""
    from modelyard.v1 import job_pb2

    return job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower()


def instance_state(one: job_pb2.Instance) -> str:
    """One word."""
    from modelyard.v1 import job_pb2

    return job_pb2.InstanceState.Name(one.state).removeprefix("INSTANCE_STATE_").lower()


def _roles(job: job_pb2.Job) -> str:
    return " ".join(f"{role.name}={role.count}" for role in job.roles)


def _told(job: job_pb2.Job) -> str:
    return job.message or job.reason


def _progress(job: job_pb2.Job) -> str:
    """How far it is and what remains; empty: it tells nothing."""
    found = job.progress
    words = [f"{found.ratio:.0%}"] if found.HasField("ratio") else []
    words += [f"step {found.step}"] if found.HasField("step") else []
    if found.HasField("remaining_s") and found.ratio < 1:
        words.append(f"{format_duration(found.remaining_s)} left")
    return ", ".join(words)


JOB_COLUMNS: Columns = [
    ("JOB", lambda job: job.id),
    ("NAME", lambda job: job.name),
    ("FRAMEWORK", lambda job: job.framework_id),
    ("STATE", state_of),
    ("ROLES", _roles),
    ("AGE", lambda job: age(job.create_time)),
    ("WHY", _told),
]

INSTANCE_COLUMNS: Columns = [
    ("INSTANCE", lambda one: f"{one.role}-{one.index}"),
    ("STATE", instance_state),
    ("NODE", lambda one: one.address.node or one.exit.node),
    ("EPOCH", lambda one: str(one.epoch) if one.epoch else ""),
    ("RESTARTS", lambda one: str(one.restart_count) if one.restart_count else ""),
    ("TASK", lambda one: one.task_id),
    ("PROGRESS", lambda one: f"{one.progress.ratio:.0%}" if one.progress.HasField("ratio") else ""),
    ("WHY", lambda one: one.message or one.exit.message or one.reason),
]

JOB_FIELDS: Columns = [
    ("job", lambda job: job.id),
    ("name", lambda job: job.name),
    ("framework", lambda job: job.framework_id),
    ("state", state_of),
    ("why", _told),
    ("queue", lambda job: job.queue),
    ("roles", _roles),
    ("progress", _progress),
]


def line_of(one: job_pb2.Instance) -> str:
    """What became of an instance, for who watches."""
    where = f" on {one.address.node}" if one.address.node else ""
    why = one.message or (one.exit.message if one.exit.cause else "") or progress_of(one)
    return f"{one.role}-{one.index} {instance_state(one)}{where}" + (f": {why}" if why else "")


def failed_lines(instances: Iterable[job_pb2.Instance]) -> list[str]:
    """What the first instance that failed wrote last."""
    from modelyard.v1 import job_pb2

    for one in instances:
        if one.state == job_pb2.INSTANCE_STATE_FAILED and one.exit.last_lines:
            return [f"{one.role}-{one.index} wrote last:", *(f"  {line}" for line in one.exit.last_lines)]
    return []


def progress_of(one: job_pb2.Instance) -> str:
    """How far it is: "step 3 of 6, loss 0.333"."""
    found = one.progress
    words = []
    if found.HasField("step"):
        words.append(
            f"step {found.step}" + (f" of {found.total_steps}" if found.HasField("total_steps") else "")
        )
    elif found.HasField("ratio"):
        words.append(f"{found.ratio:.0%}")
    told = sorted(found.metrics.items(), key=lambda item: (item[0] != "loss", item[0]))
    words += [f"{name} {value:.4g}" for name, value in told]
    return ", ".join(words)


def write_waits(waits: Iterable[job_pb2.InstanceWait]) -> None:
    """What each instance waits for."""
    for wait in waits:
        unmet = ", ".join(
            f"{one.role}-{one.index}" + (f" at {one.host}" if one.host else "") for one in wait.unmet
        )
        tail = f" ({unmet})" if unmet else ""
        since = age(wait.since_time)
        sys.stdout.write(f"{wait.role}-{wait.index}\t{wait.reason}\t{since}\t{wait.message}{tail}\n")


def write_stacks(found: Iterable[job_pb2.InstanceStacks]) -> None:
    """Where instances stood when one of them hung."""
    for one in found:
        where = f" on {one.node}" if one.node else ""
        sys.stdout.write(
            f"stacks of {one.role}-{one.index}{where}, epoch {one.epoch}, {age(one.time)} ago:\n"
        )
        for line in one.text.splitlines():
            sys.stdout.write(f"  {line}\n")


def exit_code(job: job_pb2.Job) -> int:
    """Of a job that has ended."""
    from modelyard.v1 import job_pb2

    return exit_codes.DONE if job.state == job_pb2.JOB_STATE_SUCCEEDED else exit_codes.WORK_FAILED
