"""What contacts are told of a job's end (S0.8): how it ended, the key figures, what failed, what was kept.

The same job gives the same words each time: a repetition of an event is a repetition of what it says.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict

from modelyard.quantities import format_duration, format_size
from modelyard.v1 import contact_pb2, job_pb2, task_pb2
from services.chassis.peers import notice
from services.chassis.peers.notice import ENTRIES_MOST, WORDS_CHARACTERS_MOST

METRICS_MOST = 20
"""Of one instance."""
LINES_MOST = 10
"""Of the last ones that a failed instance wrote."""

EVENTS = {
    job_pb2.JOB_STATE_SUCCEEDED: task_pb2.NOTIFICATION_EVENT_SUCCEEDED,
    job_pb2.JOB_STATE_FAILED: task_pb2.NOTIFICATION_EVENT_FAILED,
    job_pb2.JOB_STATE_STOPPED: task_pb2.NOTIFICATION_EVENT_FAILED,
}


def end_request(job: job_pb2.Job, instances: Sequence[job_pb2.Instance]) -> contact_pb2.NotifyRequest:
    """How a job ended."""
    word = _word(job)
    title = f"{' '.join(job.name.split())[:80] or job.framework_id} ({job.id}) {word}"
    made = notice.request_of(job.id, job.create_time.ToMilliseconds(), word, kind=f"job.{word}", title=title)
    made.event = EVENTS[job.state]
    if job.HasField("notification"):
        made.notification.CopyFrom(job.notification)
    made.text = notice.text_of([*_head(job), *_figures(instances), *_failure(job), *_outputs(job)])
    made.facts_json = notice.facts_of(_facts(job, instances), "instances")
    files = [notice.file_of(one.name, one.digest, one.size_bytes) for one in job.outputs if one.digest]
    made.outputs.extend(files[:ENTRIES_MOST])
    return made


def _head(job: job_pb2.Job) -> Iterator[tuple[str, str]]:
    yield "job", job.id
    yield "name", job.name
    yield "framework", job.framework_id
    yield "state", _word(job)
    yield "account", job.account
    yield "why", job.message[:WORDS_CHARACTERS_MOST] or job.reason
    yield "ran", format_duration(_ran_s(job)) if _ran_s(job) else ""
    yield "roles", ", ".join(f"{role.count} {role.name}" for role in job.roles)
    yield "restarts", str(restarts) if (restarts := _restarts(job)) else ""


def _figures(instances: Sequence[job_pb2.Instance]) -> Iterator[tuple[str, str]]:
    """The latest that instances said of themselves."""
    shown = [one for one in instances if _said(one)]
    for one in shown[:ENTRIES_MOST]:
        yield f"{one.role}-{one.index}", _said(one)
    if len(shown) > ENTRIES_MOST:
        yield "", f"… and {len(shown) - ENTRIES_MOST} more"


def _said(one: job_pb2.Instance) -> str:
    found, words = one.progress, list[str]()
    if found.HasField("step"):
        total = f" of {found.total_steps}" if found.HasField("total_steps") else ""
        words.append(f"step {found.step}{total}")
    elif found.HasField("ratio"):
        words.append(f"{found.ratio:.0%}")
    words += [f"{name} {value:.6g}" for name, value in sorted(found.metrics.items())[:METRICS_MOST]]
    return ", ".join(words)


def _failure(job: job_pb2.Job) -> Iterator[tuple[str, str]]:
    if not job.HasField("failure"):
        return
    exit_ = job.failure
    name, node = f"{exit_.role}-{exit_.index}" if exit_.role else "", f"on {exit_.node}" if exit_.node else ""
    yield (
        "failure",
        " ".join(filter(None, (name, node, _cause(exit_), exit_.message[:WORDS_CHARACTERS_MOST]))),
    )
    for line in exit_.last_lines[-LINES_MOST:]:
        yield "", f"  {line[:WORDS_CHARACTERS_MOST]}"
    yield "next", f"yard train get {job.id}"


def _outputs(job: job_pb2.Job) -> Iterator[tuple[str, str]]:
    for one in job.outputs[:ENTRIES_MOST]:
        yield one.name, f"{format_size(one.size_bytes)}, sha256:{one.digest}"
    if len(job.outputs) > ENTRIES_MOST:
        yield "", f"… and {len(job.outputs) - ENTRIES_MOST} more: yard train get {job.id}"


def _facts(job: job_pb2.Job, instances: Sequence[job_pb2.Instance]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "id": job.id,
        "name": job.name,
        "framework": job.framework_id,
        "state": _word(job),
        "reason": job.reason,
        "message": job.message[:WORDS_CHARACTERS_MOST],
        "create_time": notice.time_of(job.create_time),
        "start_time": notice.time_of(job.start_time),
        "end_time": notice.time_of(job.end_time),
        "duration_s": _ran_s(job),
        "roles": {role.name: role.count for role in job.roles},
        "restarts": _restarts(job),
        "progress": MessageToDict(job.progress, preserving_proto_field_name=True),
        "instances": [_instance(one) for one in instances[:ENTRIES_MOST]],
        "outputs": [
            {"name": one.name, "sha256": one.digest, "size_bytes": one.size_bytes}
            for one in job.outputs[:ENTRIES_MOST]
        ],
    }
    if job.HasField("failure"):
        facts["failure"] = _exit(job.failure)
    return facts


def _instance(one: job_pb2.Instance) -> dict[str, Any]:
    state = job_pb2.InstanceState.Name(one.state).removeprefix("INSTANCE_STATE_").lower()
    return {
        "role": one.role, "index": one.index, "state": state, "node": one.exit.node, "restarts": one.restart_count,
        "progress": MessageToDict(one.progress, preserving_proto_field_name=True),
    }  # fmt: skip


def _exit(exit_: job_pb2.InstanceExit) -> dict[str, Any]:
    return {
        "role": exit_.role, "index": exit_.index, "node": exit_.node, "cause": _cause(exit_),
        "exit_code": exit_.exit_code, "signal": exit_.signal, "message": exit_.message[:WORDS_CHARACTERS_MOST],
        "last_lines": [line[:WORDS_CHARACTERS_MOST] for line in exit_.last_lines[-LINES_MOST:]],
    }  # fmt: skip


def _cause(exit_: job_pb2.InstanceExit) -> str:
    return job_pb2.ExitCause.Name(exit_.cause).removeprefix("EXIT_CAUSE_").lower()


def _restarts(job: job_pb2.Job) -> int:
    return sum(budget.used + budget.uncounted for budget in job.budgets)


def _word(job: job_pb2.Job) -> str:
    return job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower()


def _ran_s(job: job_pb2.Job) -> float:
    if not (job.HasField("end_time") and job.HasField("start_time")):
        return 0.0
    return max((job.end_time.ToMilliseconds() - job.start_time.ToMilliseconds()) / 1000, 0.0)
